"""Texts to annotated rows, each text to its own row, whatever is wrong with it. Pure: no Spark."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from spacy.language import Language
from spacy.tokens import Doc

from .. import errors
from .annotations import KINDS, Annotation, Reading, categories_of

BAD_TEXT = ("error", "skip", "truncate")
OFFSET_UNITS = ("codepoint", "utf16")
# So many characters at most go through the pipeline together, unless one text has more: it bounds the memory for
# vectors and annotations of a batch of long texts.
BATCH_CHARACTERS = 200_000
# What a RuntimeError says when a device or its memory fails: another try may do, another text would not.
DEVICE_WORDS = ("cuda", "cudnn", "defaultcpuallocator")


@dataclass(frozen=True)
class AnnotatorSettings:
    """What to annotate and how; small, because it travels to each task.

    kinds: of annotation, names in `KINDS`. batch_size: texts that go through the pipeline together.
    bad_text: what to do with a null, empty or too long text, and with one on which the pipeline fails: `error`, `skip`
        or `truncate`. max_length: in characters; None: the pipeline's own limit, `nlp.max_length`.
    """

    kinds: tuple[str, ...]
    batch_size: int = 64
    bad_text: str = "skip"
    max_length: int | None = None
    offset_unit: str = "codepoint"


class AnnotatedRow(NamedTuple):
    """annotations: a list for each kind; None if there was no text to annotate. error: what was wrong, or None.

    scores: of all labels of all text classifiers, chosen or not.
    """

    annotations: list[list[Annotation]] | None
    error: str | None
    scores: Mapping[str, float] = {}


class TextAnnotator:
    """Annotates texts with a pipeline. Threads may share it: one computes at a time.

    nlp: its `max_length` is that of the settings while a batch is computed. Raises SparkError for a bad text if the
    settings say so, and what a device raises that fails or is out of memory.
    """

    def __init__(self, nlp: Language, settings: AnnotatorSettings) -> None:
        self.nlp = nlp
        self.settings = settings
        self.max_length = settings.max_length or nlp.max_length
        self.kinds = [KINDS[kind] for kind in settings.kinds]
        self.classifiers = categories_of(nlp)
        self.lock = Lock()

    def rows(self, texts: Sequence[str | None]) -> Iterator[list[AnnotatedRow]]:
        """A row for each text, in their order, in batches."""
        for batch in batches(texts, self.settings.batch_size):
            # What the vocabulary learns from these texts is forgotten with them: a worker may run for months.
            # A vocabulary has one such zone at a time.
            with self.lock, self.nlp.memory_zone(), limit_of(self.nlp, self.max_length):
                rows = self._batch(batch)
            yield rows

    def _batch(self, texts: Sequence[str | None]) -> list[AnnotatedRow]:
        checked = [self._check(text) for text in texts]
        whole = [text for text, _ in checked if text]
        annotated = iter(self._annotate(whole))
        rows = []
        for text, error in checked:
            if text is None:
                rows.append(AnnotatedRow(None, error))
            elif not text:
                rows.append(AnnotatedRow([[] for _ in self.settings.kinds], error))
            else:
                row = next(annotated)
                rows.append(row._replace(error=row.error or error))
        return rows

    def _check(self, text: str | None) -> tuple[str | None, str | None]:
        """The text to annotate, None for none, and what is wrong with it."""
        if text is None:
            return self._refuse(None, "the text is null")
        if not text:
            return self._refuse("", "the text is empty")
        if len(text) > self.max_length:
            error = f"the text has {len(text)} characters, and `maxLength` is {self.max_length}"
            if self.settings.bad_text == "truncate":
                return text[: self.max_length], f"truncated: {error}"
            return self._refuse(None, error, text)
        return text, None

    def _refuse(
        self, kept: str | None, error: str, text: str | None = None
    ) -> tuple[str | None, str]:
        if self.settings.bad_text == "error":
            raise errors.bad_text(error, text=text)
        return kept, error

    def _annotate(self, texts: Sequence[str]) -> list[AnnotatedRow]:
        """All texts in one batch; one by one if the pipeline fails on some."""
        try:
            docs = list(self.nlp.pipe(texts, batch_size=self.settings.batch_size))
            return [self._row(doc) for doc in docs]
        except Exception as error:
            if is_of_device(error):
                raise
        return [self._alone(text) for text in texts]

    def _alone(self, text: str) -> AnnotatedRow:
        try:
            return self._row(self.nlp(text))
        except Exception as error:  # whatever a component raises is this row's alone
            if is_of_device(error):
                raise
            reason = f"{type(error).__name__}: {error}"
            if self.settings.bad_text == "error":
                raise errors.bad_text(reason, text=text) from error
            return AnnotatedRow(None, reason)

    def _row(self, doc: Doc) -> AnnotatedRow:
        reading = Reading(doc, self.classifiers, utf16=self.settings.offset_unit == "utf16")
        scores = {label: float(score) for label, score in doc.cats.items()}
        return AnnotatedRow([kind.read(reading) for kind in self.kinds], None, scores)


@contextmanager
def limit_of(nlp: Language, max_length: int) -> Iterator[None]:
    """Lets a pipeline take texts of some length at least, for a while: others may share it."""
    own = nlp.max_length
    nlp.max_length = max(own, max_length)
    try:
        yield
    finally:
        nlp.max_length = own


def is_of_device(error: Exception) -> bool:
    """Whether memory or a device has failed, and not a component on a text.

    >>> is_of_device(RuntimeError("CUDA error: device-side assert triggered")), is_of_device(ValueError("CUDA"))
    (True, False)
    """
    torch = sys.modules.get("torch")  # whoever raises an error of torch's has imported it
    kinds = [getattr(torch, name, None) for name in ("OutOfMemoryError", "AcceleratorError")]
    if isinstance(error, (MemoryError, *(kind for kind in kinds if kind is not None))):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in said for word in DEVICE_WORDS)


def batches(texts: Iterable[str | None], size: int) -> Iterator[list[str | None]]:
    """Runs of at most `size` texts and `BATCH_CHARACTERS` characters; a longer text is alone."""
    batch: list[str | None] = []
    characters = 0
    for text in texts:
        length = len(text or "")
        if batch and (len(batch) == size or characters + length > BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += length
    if batch:
        yield batch
