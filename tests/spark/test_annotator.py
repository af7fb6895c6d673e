"""Every text gets its row, in its place, whatever is wrong with it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc

from spacy_mtl.errors import SparkError
from spacy_mtl.spark import annotator
from spacy_mtl.spark.annotator import AnnotatedRow, AnnotatorSettings, TextAnnotator, batches

BAD = "bad apple"
FAILURES: dict[str, Exception] = {BAD: OSError("rotten")}


@Language.component("spacy_mtl_test_picky")
def picky(doc: Doc) -> Doc:
    """Fails on one text."""
    if doc.text in FAILURES:
        raise FAILURES[doc.text]
    return doc


def annotate(texts: list[str | None], *components: str, **settings: Any) -> list[AnnotatedRow]:
    nlp = spacy.blank("en")
    for component in components:
        nlp.add_pipe(component)
    worker = TextAnnotator(nlp, AnnotatorSettings(("token",), **settings))
    return [row for rows in worker.rows(texts) for row in rows]


def words(row: AnnotatedRow) -> list[str] | None:
    return None if row.annotations is None else [a.result for a in row.annotations[0]]


TEXTS = ["one two", None, "", " ", "one two three four", "five"]


def test_null_empty_and_long_texts_keep_their_rows() -> None:
    rows = annotate(TEXTS, max_length=10, batch_size=2)
    assert [words(row) for row in rows] == [["one", "two"], None, [], [" "], None, ["five"]]
    assert [row.error for row in rows] == [
        None,
        "the text is null",
        "the text is empty",
        None,
        "the text has 18 characters, and `maxLength` is 10",
        None,
    ]


def test_truncating_annotates_the_beginning_of_a_long_text() -> None:
    rows = annotate(TEXTS, max_length=9, bad_text="truncate")
    assert words(rows[4]) == ["one", "two", "t"]
    assert rows[4].error == "truncated: the text has 18 characters, and `maxLength` is 9"
    assert words(rows[1]) is None


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], "the text is null"),
        (["a", ""], "the text is empty"),
        (["a", "bcd"], "the text has 3 characters, and `maxLength` is 2 (it starts `bcd`)"),
    ],
)
def test_the_strict_policy_says_what_is_wrong(texts: list[str | None], message: str) -> None:
    with pytest.raises(SparkError) as error:
        annotate(texts, max_length=2, bad_text="error")
    assert str(error.value) == (
        f"A text cannot be annotated: {message}. Set `badText` to `skip`, which keeps the row and says so in "
        "`errorCol`, or to `truncate`, or take such rows out."
    )


def test_a_failing_component_costs_one_row() -> None:
    rows = annotate(["one", BAD, "two"], "spacy_mtl_test_picky")
    assert [words(row) for row in rows] == [["one"], None, ["two"]]
    assert rows[1].error == "OSError: rotten"
    with pytest.raises(SparkError) as error:
        annotate(["one", BAD, "two"], "spacy_mtl_test_picky", bad_text="error")
    assert str(error.value) == (
        "A text cannot be annotated: OSError: rotten (it starts `bad apple`). Set `badText` to `skip`, which keeps the "
        "row and says so in `errorCol`, or to `truncate`, or take such rows out."
    )
    assert isinstance(error.value.__cause__, OSError)


@pytest.mark.parametrize("bad_text", ["skip", "error"])
@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        torch.OutOfMemoryError("out of memory"),
        torch.AcceleratorError("the device is lost"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9"
        ),
    ],
)
def test_what_fails_for_want_of_memory_or_a_device_fails_the_task(
    failure: Exception, bad_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAILURES, BAD, failure)
    with pytest.raises(type(failure)) as error:
        annotate(["one", BAD], "spacy_mtl_test_picky", bad_text=bad_text)
    assert error.value is failure


def test_a_fault_of_ours_is_no_row_s() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        TextAnnotator(spacy.blank("en"), AnnotatorSettings(("nonsense",)))


def test_threads_take_turns() -> None:
    nlp = spacy.blank("en")
    worker = TextAnnotator(nlp, AnnotatorSettings(("token",), batch_size=4))
    texts = [f"word{i} other{i}" for i in range(200)]

    def run(start: int) -> list[list[str] | None]:
        return [words(row) for rows in worker.rows(texts[start:]) for row in rows]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(8)))
    assert found == [[text.split() for text in texts[start:]] for start in range(8)]
    first = worker.rows(texts)
    next(first)  # one that stops in between keeps nobody waiting
    assert run(0) == found[0]


def test_the_limit_may_be_above_spacy_s_own() -> None:
    nlp = spacy.blank("en")
    nlp.max_length = 5
    worker = TextAnnotator(nlp, AnnotatorSettings(("token",), max_length=20))
    [[row]] = worker.rows(["one two three"])
    assert words(row) == ["one", "two", "three"]


def test_batches_are_bounded_in_texts_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotator, "BATCH_CHARACTERS", 10)
    texts = ["a" * 4, "b" * 4, "c" * 4, None, "d" * 30, "", "e", "f", "g"]
    found = list(batches(texts, 3))
    assert [text for batch in found for text in batch] == texts
    assert [len(batch) for batch in found] == [2, 2, 1, 3, 1]


def test_the_vocabulary_does_not_grow_with_the_texts() -> None:
    nlp = spacy.blank("en")
    worker = TextAnnotator(nlp, AnnotatorSettings(("token",)))
    list(worker.rows(["warm up"]))
    before = len(nlp.vocab.strings)
    for i in range(20):
        list(worker.rows([f"word{i}x other{i}y"]))
    assert len(nlp.vocab.strings) == before
