"""The output columns as Spark types."""

from collections.abc import Sequence

from pyspark.sql.types import (
    ArrayType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from .annotations import KINDS
from .finished import FINISHED

ANNOTATION = StructType(
    [
        StructField("annotatorType", StringType(), False),
        StructField("begin", IntegerType(), False),
        StructField("end", IntegerType(), False),
        StructField("result", StringType(), False),
        StructField("metadata", MapType(StringType(), StringType()), False),
        StructField("embeddings", ArrayType(FloatType(), False), False),
    ]
)
PLAIN: dict[str, DataType] = {
    "string": StringType(),
    "array<string>": ArrayType(StringType()),
    "array<int>": ArrayType(IntegerType()),
    "array<array<float>>": ArrayType(ArrayType(FloatType())),
    "map<string,double>": MapType(StringType(), DoubleType()),
}


def output_fields(
    kinds: Sequence[str], columns: Sequence[str], error_column: str, *, finish: bool
) -> list[StructField]:
    """Columns of annotations, whose metadata names their type under `annotatorType`, or plain ones; then the errors."""
    fields = []
    for kind, name in zip(kinds, columns, strict=True):
        if finish:
            for column in FINISHED[kind]:
                fields.append(StructField(name + column.suffix, PLAIN[column.type]))
        else:
            metadata = {"annotatorType": KINDS[kind].annotator_type}
            fields.append(StructField(name, ArrayType(ANNOTATION, False), True, metadata))
    return [*fields, StructField(error_column, StringType())]
