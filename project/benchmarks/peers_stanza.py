"""Stanza's tagger and NER on a local encoder: made with Stanza's own training commands, nothing is downloaded.

Two steps each: enough for the files to exist. The layers (a biLSTM each, a CRF for names) cost the same untrained.
"""

import json
import subprocess
from pathlib import Path

from corpus import Source
from spacy.tokens import Doc

STEPS = 2


def make_models(python: str, source: Source, encoder: str, folder: Path) -> Path:
    """Train in Stanza's environment. Returns the folder with pos.pt and ner.pt; if they are there they stay."""
    if (folder / "ner.pt").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for split, start, stop in (("train", 0, 60), ("dev", 60, 70)):
        tagged, named = source.gold["tagger"][start:stop], source.gold["ner"][start:stop]
        (folder / f"{split}.conllu").write_text("".join(map(conllu, tagged)), "utf8")
        (folder / f"{split}.json").write_text(json.dumps([names(doc) for doc in named]), "utf8")
    (folder / "resources.json").write_text("{}")
    shared = [
        "--mode",
        "train",
        "--no_pretrain",
        "--bert_model",
        encoder,
        "--save_dir",
        str(folder),
    ]
    shared += ["--max_steps", str(STEPS), "--eval_interval", str(STEPS), "--shorthand", "en_x"]
    for module, kind, name, own in (
        ("tagger", "conllu", "pos.pt", ["--lang", "en", "--batch_size", "100"]),
        ("ner_tagger", "json", "ner.pt", ["--batch_size", "4"]),
    ):
        files = ["--train_file", f"train.{kind}", "--eval_file", f"dev.{kind}", "--save_name", name]
        command = [python, "-m", f"stanza.models.{module}", *shared, *files, *own]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return folder


def conllu(doc: Doc) -> str:
    """A document as one sentence of CoNLL-U. Its tree is invented: Stanza's scorer wants one."""
    lines = []
    words = [token for token in doc if not token.is_space]
    for i, token in enumerate(words, 1):
        head, relation = ("0", "root") if i == 1 else ("1", "dep")
        columns = [str(i), token.text, "_", token.pos_ or "X", token.tag_ or "X", "_"]
        lines.append("\t".join([*columns, head, relation, "_", "_"]))
    return "\n".join(lines) + "\n\n"


def names(doc: Doc) -> list[dict[str, str]]:
    """A document as one sentence of Stanza's format for names."""
    return [
        {"text": t.text, "ner": f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else "O"}
        for t in doc
        if not t.is_space
    ]
