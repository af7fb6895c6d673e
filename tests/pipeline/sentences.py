"""A handful of sentences with every annotation that a spaCy head learns from."""

from typing import Any, NamedTuple

from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

SPANS_KEY = "sc"
PEOPLE, PLACES = "PERSON", "GPE"
ANNA = {"Anna": "Q1"}


class Sentence(NamedTuple):
    """One word per column. ents, spans: (start, end, label). cat: the exclusive category; "Anna" is asked about twice,
    so `kb` says which of the two candidates is meant."""

    words: str
    tags: str
    lemmas: str
    heads: tuple[int, ...]
    deps: str
    ents: tuple[tuple[int, int, str], ...]
    cat: str
    kb: str = ""
    second: int | None = None  # where a second sentence starts


SENTENCES = (
    Sentence(
        "Anna Smith works in Berlin .",
        "PROPN PROPN VERB ADP PROPN PUNCT",
        "Anna Smith work in Berlin .",
        (1, 2, 2, 2, 3, 2),
        "compound nsubj ROOT prep pobj punct",
        ((0, 2, PEOPLE), (4, 5, PLACES)),
        "NEWS",
        kb="Q1",
    ),
    Sentence(
        "The dog likes Anna . It runs fast .",
        "DET NOUN VERB PROPN PUNCT PRON VERB ADV PUNCT",
        "the dog like Anna . it run fast .",
        (1, 2, 2, 2, 2, 6, 6, 6, 6),
        "det nsubj ROOT dobj punct nsubj ROOT advmod punct",
        ((3, 4, PEOPLE),),
        "TALE",
        kb="Q2",
        second=5,
    ),
    Sentence(
        "London sells sea shells",
        "PROPN VERB NOUN NOUN",
        "London sell sea shell",
        (1, 1, 3, 1),
        "nsubj ROOT compound dobj",
        ((0, 1, PLACES),),
        "NEWS",
    ),
    Sentence(
        "The quick fox jumps . The rain stays .",
        "DET ADJ NOUN VERB PUNCT DET NOUN VERB PUNCT",
        "the quick fox jump . the rain stay .",
        (2, 2, 3, 3, 3, 6, 7, 7, 7),
        "det amod nsubj ROOT punct det nsubj ROOT punct",
        (),
        "TALE",
        second=5,
    ),
)
TEXTS = [sentence.words for sentence in SENTENCES]


def make_doc(vocab: Vocab, sentence: Sentence) -> Doc:
    """The sentence with all its annotation."""
    words, tags = sentence.words.split(), sentence.tags.split()
    biluo = ["O"] * len(words)
    for start, end, label in sentence.ents:
        biluo[start:end] = [f"{'I' if i else 'B'}-{label}" for i in range(end - start)]
    doc = Doc(
        vocab,
        words=words,
        spaces=[True] * (len(words) - 1) + [False],
        tags=tags,
        pos=tags,
        morphs=["Number=Sing" if tag in ("NOUN", "PROPN") else "" for tag in tags],
        lemmas=sentence.lemmas.split(),
        heads=list(sentence.heads),
        deps=sentence.deps.split(),
        ents=biluo,
    )
    doc.cats = {cat: float(cat == sentence.cat) for cat in ("NEWS", "TALE")}
    doc.spans[SPANS_KEY] = [Span(doc, *span) for span in sentence.ents]
    if sentence.kb:
        doc.ents = [
            Span(doc, e.start, e.end, e.label, kb_id=sentence.kb if e.label_ == PEOPLE else "NIL")
            for e in doc.ents
        ]
    return doc


def make_examples(vocab: Vocab, sentences: tuple[Sentence, ...] = SENTENCES) -> list[Example]:
    """One example per sentence; the predicted document has the words only."""
    return [
        Example(
            Doc(vocab, words=gold.text.split(), spaces=[bool(t.whitespace_) for t in gold]), gold
        )
        for gold in (make_doc(vocab, sentence) for sentence in sentences)
    ]


def annotations(doc: Doc) -> dict[str, Any]:
    """All that the heads have written on a document, for comparison. Scores are rounded to 1e-4."""
    return {
        "tags": [t.tag_ for t in doc],
        "pos": [t.pos_ for t in doc],
        "morphs": [str(t.morph) for t in doc],
        "lemmas": [t.lemma_ for t in doc],
        "heads": [t.head.i for t in doc] if doc.has_annotation("DEP") else None,
        "deps": [t.dep_ for t in doc],
        "sents": [t.is_sent_start for t in doc],
        "ents": [(e.start, e.end, e.label_, e.kb_id_) for e in doc.ents],
        "cats": {cat: round(score, 4) for cat, score in doc.cats.items()},
        "spans": sorted((s.start, s.end, s.label_) for s in doc.spans.get(SPANS_KEY, ())),
    }
