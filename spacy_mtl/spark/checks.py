"""What the stage and the light annotator refuse alike. Pure: no Spark."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from .. import errors
from .annotations import KINDS
from .annotator import BAD_TEXT, OFFSET_UNITS
from .finished import FINISHED


def check_params(params: Mapping[str, Any], names: Mapping[str, str] | None = None) -> None:
    """Raises ConfigError for a value that cannot work with any DataFrame. None is none.

    params: by their names in Spark. names: by which the user knows them, where these differ.
    """
    given = {name: value for name, value in params.items() if value is not None}
    keys = {name: (names or {}).get(name, name) for name in given}
    for name in given.keys() & {"batchSize", "maxLength"}:
        if not is_count(given[name]):
            raise errors.bad_setting(given[name], key=keys[name], need="a whole number, at least 1")
    for name, choices in (("badText", BAD_TEXT), ("offsetUnit", OFFSET_UNITS)):
        if name in given and given[name] not in choices:
            raise errors.not_one_of(given[name], key=keys[name], choices=choices)
    for name in given.keys() & {"annotations", "outputCols", "disable"}:
        if isinstance(given[name], str):
            raise errors.bad_setting(given[name], key=keys[name], need="a list of names")
    kinds = given.get("annotations", ("token",))
    if not len(kinds):
        raise errors.bad_setting([], key=keys["annotations"], need="a list with at least one name")
    for kind in kinds:
        if kind not in KINDS:
            raise errors.not_one_of(kind, key=keys["annotations"], choices=KINDS)


def is_count(value: Any) -> bool:
    """Whether Spark would take a value for a whole number, and it is at least 1.

    >>> is_count(8), is_count(8.0), is_count("8"), is_count(True), is_count(0)
    (True, True, False, False, False)
    """
    return (
        isinstance(value, Real)
        and not isinstance(value, bool)
        and float(value) >= 1
        and float(value).is_integer()
    )


def check_columns(
    kinds: Sequence[str],
    columns: Sequence[str],
    *,
    key: str = "outputCols",
    kinds_key: str = "annotations",
) -> None:
    """Raises SparkError if there is not one name for each kind of annotation."""
    if len(columns) != len(kinds):
        raise errors.columns_do_not_match(
            len(columns), annotations=kinds, key=key, kinds_key=kinds_key
        )


def repeated(names: Sequence[str]) -> list[str]:
    """Names that are there more than once. Spark does not tell cases apart."""
    lower = [name.lower() for name in names]
    return sorted({name for name in names if lower.count(name.lower()) > 1})


def output_names(
    kinds: Sequence[str], columns: Sequence[str], error_column: str, *, finish: bool
) -> list[str]:
    """The names of all output columns, the errors' last."""
    names = []
    for kind, name in zip(kinds, columns, strict=True):
        names += [name + column.suffix for column in FINISHED[kind]] if finish else [name]
    return [*names, error_column]
