"""Small sources on disk, and a pipeline to read them with."""

import json
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import DocBin

from ..pipeline.helpers import head, make_nlp
from ..pipeline.sentences import SENTENCES, make_doc


def make_pipeline(encoder_path: Path, **training: Any) -> Language:
    """An initialized pipeline whose config has a `[training]` block."""
    nlp = make_nlp(encoder_path, {name: head(name) for name in ("tagger", "ner")})
    nlp.config["training"].update(training)
    return nlp


def write_docbin(path: Path, nlp: Language, *, repeat: int = 1) -> Path:
    """All sentences with all their annotation, `repeat` times over."""
    docs = [make_doc(nlp.vocab, sentence) for sentence in SENTENCES * repeat]
    path.parent.mkdir(parents=True, exist_ok=True)
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path
