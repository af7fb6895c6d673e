"""Text of any length, and annotated documents, for the benchmarks of speed: no download is needed."""

import math
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import convert
import make_corpora

LENGTHS = {"tweet": 15, "sentence": 25, "paragraph": 120, "document": 1_000, "book": 10_000}
TASKS = ("tagger", "ner", "textcat")


@dataclass(frozen=True)
class Source:
    """Running text, and what the heads are trained on.

    words: each with the white space behind it. gold: task -> documents that are annotated for it.
    """

    name: str
    words: list[str]
    gold: dict[str, list[Doc]]


def read(path: Path | None, *, seed: int) -> Source:
    """The sample corpora, or a `.spacy` or a text file.

    Heads learn from the documents of a `.spacy` file, from the sample corpora what it is not annotated for.
    """
    nlp = spacy.blank("en")
    gold = sample(nlp, seed)
    if path is None:
        docs = [doc for split in gold.values() for doc in split]
        random.Random(seed).shuffle(docs)
        return Source("sample corpora", list(words_of(docs)), gold)
    if path.suffix != ".spacy":
        return Source(path.name, re.findall(r"\S+\s*", path.read_text("utf8")), gold)
    docs = list(DocBin().from_disk(path).get_docs(nlp.vocab))
    own = {
        "tagger": [doc for doc in docs if doc.has_annotation("TAG")],
        "ner": [doc for doc in docs if doc.has_annotation("ENT_IOB")],
        "textcat": [doc for doc in docs if doc.cats],
    }
    return Source(
        path.name, list(words_of(docs)), {task: own[task] or gold[task] for task in TASKS}
    )


def sample(nlp: Language, seed: int) -> dict[str, list[Doc]]:
    """The training parts of the sample corpora, each annotated for one task."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, _, content in make_corpora.corpora(seed):
            source, split = name.split("/")
            if split.startswith("train"):
                paths[source] = Path(folder) / name.replace("/", "_")
                paths[source].write_text(content, "utf8")
        reviews, _ = convert.jsonl_docs(paths["reviews"], nlp)
        news, _ = convert.jsonl_docs(paths["news"], nlp)
        mails = convert.conllu_docs(paths["mails"], nlp)
    return {"tagger": list(mails), "ner": list(news), "textcat": list(reviews)}


def words_of(docs: list[Doc]) -> Iterator[str]:
    """Words with the white space behind them; documents are apart."""
    for doc in docs:
        for token in doc:
            yield token.text_with_ws
        if len(doc) and not doc[-1].whitespace_:
            yield " "


def texts(source: Source, *, length: int, total: int, seed: int) -> list[str]:
    """Stretches of the running text, `total` words in all, with lengths as those of real documents vary.

    length: the mean number of words. Lengths are log-normal with a deviation of 0.4, so most are between half and twice
    the mean; a single document, or a few, have exactly the mean.
    """
    chance = random.Random(seed)
    stream = cycle(source.words)
    few = total < 5 * length
    result, left = [], total
    while left > 0:
        n = length if few else round(length * math.exp(chance.gauss(-0.08, 0.4)))
        n = max(min(n, left), 1)
        result.append("".join(islice(stream, n)).strip() or ".")
        left -= n
    return result
