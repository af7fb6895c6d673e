"""Rows survive as Arrow columns, nulls and empty lists apart."""

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from spacy_mtl.spark.annotations import Annotation
from spacy_mtl.spark.annotator import AnnotatedRow
from spacy_mtl.spark.arrow import annotation_array, output_arrays

ONE = Annotation("token", 0, 2, "one", {"sentence": "0"})
VECTOR = Annotation("word_embeddings", 4, 6, "zwö", {}, np.array([0.5, -1.0], dtype="f"))


def test_null_and_empty_stay_apart() -> None:
    array = annotation_array([[ONE, VECTOR], None, [], [ONE]])
    array.validate(full=True)
    found = array.to_pylist()
    assert found[1] is None
    assert found[2] == []
    assert found[0][0] == {**ONE._asdict(), "metadata": [("sentence", "0")], "embeddings": []}
    assert found[0][1]["embeddings"] == [0.5, -1.0]
    assert found[3] == found[0][:1]


@pytest.mark.parametrize("lists", [[], [None], [[]], [None, None]])
def test_columns_without_annotations(lists: list[list[Annotation] | None]) -> None:
    array = annotation_array(lists)
    array.validate(full=True)
    assert array.to_pylist() == lists


def test_plain_columns() -> None:
    entity = Annotation("chunk", 3, 5, "abc", {"entity": "GPE", "sentence": "0", "chunk": "0"})
    good = Annotation("category", 0, 9, "good", {"sentence": "0", "good": "0.75", "bad": "0.25"})
    rows = [
        AnnotatedRow([[entity], [good], [VECTOR]], None, {"good": 0.75, "bad": 0.25}),
        AnnotatedRow(None, "bad"),
        AnnotatedRow([[], [], []], "empty"),
    ]
    columns = output_arrays(rows, ("entity", "category", "embeddings"), finish=True)
    for column in columns:
        column.validate(full=True)
    assert [column.to_pylist() for column in columns] == [
        [["abc"], None, []],
        [["GPE"], None, []],
        [[3], None, []],
        [[5], None, []],
        [["good"], None, []],
        [[("good", 0.75), ("bad", 0.25)], None, []],
        [[[0.5, -1.0]], None, []],
        [None, "bad", "empty"],
    ]
