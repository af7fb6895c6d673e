"""Annotations as plain flat values: what `finish=True` puts into columns. Pure: no Spark."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .annotations import Annotation
from .annotator import AnnotatedRow

Annotations = Sequence[Annotation]


class Finished(NamedTuple):
    """One plain column. suffix: behind the output column's name. type: as Spark SQL writes it.

    value: of a kind's annotations; None: the scores of the row, because labels that are not chosen have no annotation.
    """

    suffix: str
    type: str
    value: Callable[[Annotations], Any] | None

    def of(self, row: AnnotatedRow, i: int) -> Any:
        """The value for the `i`-th kind of a row; None if the row has no annotations."""
        if row.annotations is None:
            return None
        return dict(row.scores) if self.value is None else self.value(row.annotations[i])


def results(annotations: Annotations) -> list[str]:
    return [a.result for a in annotations]


def text(annotations: Annotations) -> str | None:
    return annotations[0].result if annotations else None


def metadata(key: str) -> Callable[[Annotations], list[str]]:
    return lambda annotations: [a.metadata[key] for a in annotations]


def heads(annotations: Annotations) -> list[int]:
    return [int(a.metadata["head"]) for a in annotations]


RESULTS = Finished("", "array<string>", results)
FINISHED: dict[str, tuple[Finished, ...]] = {
    "document": (Finished("", "string", text),),
    "sentence": (RESULTS,),
    "token": (RESULTS,),
    "pos": (RESULTS,),
    "tag": (RESULTS,),
    "lemma": (RESULTS,),
    "entity": (
        RESULTS,
        Finished("_label", "array<string>", metadata("entity")),
        Finished("_begin", "array<int>", lambda annotations: [a.begin for a in annotations]),
        Finished("_end", "array<int>", lambda annotations: [a.end for a in annotations]),
    ),
    "category": (RESULTS, Finished("_score", "map<string,double>", None)),
    "dependency": (
        Finished("", "array<string>", metadata("relation")),
        Finished("_head", "array<int>", heads),
    ),
    "embeddings": (
        Finished(
            "", "array<array<float>>", lambda annotations: [a.embeddings for a in annotations]
        ),
    ),
}
