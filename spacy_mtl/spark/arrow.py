"""Annotated rows as Arrow columns, for `mapInArrow`."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np
import pyarrow as pa

from .annotations import Annotation
from .annotator import AnnotatedRow
from .finished import FINISHED

METADATA = pa.map_(pa.string(), pa.string())
VECTOR = pa.list_(pa.field("element", pa.float32(), nullable=False))
ANNOTATION = pa.struct(
    [
        pa.field("annotatorType", pa.string(), nullable=False),
        pa.field("begin", pa.int32(), nullable=False),
        pa.field("end", pa.int32(), nullable=False),
        pa.field("result", pa.string(), nullable=False),
        pa.field("metadata", METADATA, nullable=False),
        pa.field("embeddings", VECTOR, nullable=False),
    ]
)
ANNOTATIONS = pa.list_(pa.field("element", ANNOTATION, nullable=False))
PLAIN = {
    "string": pa.string(),
    "array<string>": pa.list_(pa.string()),
    "array<int>": pa.list_(pa.int32()),
    "array<array<float>>": pa.list_(pa.list_(pa.float32())),
    "map<string,double>": pa.map_(pa.string(), pa.float64()),
}


def output_arrays(
    rows: Sequence[AnnotatedRow], kinds: Sequence[str], *, finish: bool
) -> list[pa.Array]:
    """The output columns of some rows, the errors last. Null where a row has no annotations."""
    arrays = []
    for i, kind in enumerate(kinds):
        if finish:
            for column in FINISHED[kind]:
                arrays.append(plain_array([column.of(row, i) for row in rows], column.type))
            continue
        lists = [None if row.annotations is None else row.annotations[i] for row in rows]
        arrays.append(annotation_array(lists))
    return [*arrays, pa.array([row.error for row in rows], pa.string())]


def annotation_array(lists: Sequence[Sequence[Annotation] | None]) -> pa.ListArray:
    """Lists of annotations as array<struct>; None becomes null."""
    flat = [annotation for found in lists if found is not None for annotation in found]
    columns: Any = zip(*flat, strict=True) if flat else ([] for _ in Annotation._fields)
    types, begins, ends, results, metadata, vectors = (list(column) for column in columns)
    struct = pa.StructArray.from_arrays(
        [
            pa.array(types, pa.string()),
            pa.array(begins, pa.int32()),
            pa.array(ends, pa.int32()),
            pa.array(results, pa.string()),
            metadata_array(metadata),
            vector_array(vectors),
        ],
        fields=list(ANNOTATION),
    )
    bounds = offsets(0 if found is None else len(found) for found in lists)
    mask = pa.array([found is None for found in lists], pa.bool_())
    return pa.ListArray.from_arrays(
        pa.array(bounds, pa.int32()), struct, type=ANNOTATIONS, mask=mask if len(mask) else None
    )


def metadata_array(metadata: Sequence[dict[str, str]]) -> pa.MapArray:
    """Dictionaries of strings as map<string, string>."""
    keys = pa.array(list(chain.from_iterable(metadata)), pa.string())
    items = pa.array(list(chain.from_iterable(m.values() for m in metadata)), pa.string())
    bounds = pa.array(offsets(len(m) for m in metadata), pa.int32())
    return pa.MapArray.from_arrays(bounds, keys, items)


def vector_array(vectors: Sequence[Sequence[float]]) -> pa.ListArray:
    """Vectors as array<float>, without a Python object for each number."""
    filled = [np.asarray(vector, dtype=np.float32) for vector in vectors if len(vector)]
    values = pa.array(np.concatenate(filled) if filled else [], pa.float32())
    bounds = pa.array(offsets(len(vector) for vector in vectors), pa.int32())
    return pa.ListArray.from_arrays(bounds, values, type=VECTOR)


def plain_array(values: list[Any], type_name: str) -> pa.Array:
    """Plain values as an Arrow column of the type that Spark SQL calls `type_name`."""
    if type_name.startswith("map"):
        values = [None if value is None else list(value.items()) for value in values]
    return pa.array(values, PLAIN[type_name])


def offsets(lengths: Iterable[int]) -> list[int]:
    """Where each list begins in the flat values, and where the last one ends."""
    return [0, *accumulate(lengths)]
