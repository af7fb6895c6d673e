"""The rooms of the package: who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import spacy_mtl

PACKAGE = Path(spacy_mtl.__file__).parent
FORBIDDEN = {
    "text": {"spacy", "thinc", "torch", "transformers"}
    | {f"spacy_mtl.{room}" for room in ("pipeline", "cli", "encoder", "balancing")},
    "encoder": {"spacy", "thinc", "spacy_transformers"}
    | {f"spacy_mtl.{room}" for room in ("pipeline", "cli", "balancing")},
    "balancing": {"spacy", "spacy_transformers", "transformers"}
    | {f"spacy_mtl.{room}" for room in ("pipeline", "cli", "encoder", "text")},
}


def imports(path: Path, *, only_top_level: bool = False) -> Iterator[str]:
    """Full names of the modules that a file imports."""
    package = ("spacy_mtl", *path.relative_to(PACKAGE).parent.parts)
    tree = ast.parse(path.read_text("utf8"))
    for node in tree.body if only_top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_under(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_nothing_that_it_may_not_know(room: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for module in imports(path)
        if any(is_under(module, forbidden) for forbidden in FORBIDDEN[room])
    ]
    assert found == []


SHARED = [
    "types.py",
    "__init__.py",
    *(f"errors/{p.name}" for p in (PACKAGE / "errors").glob("*.py")),
]


@pytest.mark.parametrize("file", sorted(SHARED))
def test_what_every_room_shares_imports_no_heavy_package(file: str) -> None:
    heavy = ("torch", "transformers", "spacy", "thinc", "spacy_mtl.pipeline", "spacy_mtl.encoder")
    assert [m for m in imports(PACKAGE / file) if any(is_under(m, h) for h in heavy)] == []


def entry_point_modules() -> set[str]:
    from importlib.metadata import distribution

    return {entry.module for entry in distribution("spacy-mtl").entry_points}


@pytest.mark.parametrize("module", sorted(entry_point_modules()))
def test_a_module_behind_an_entry_point_imports_torch_only_when_it_is_used(module: str) -> None:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    heavy = ("torch", "transformers")
    found = [m for m in imports(path, only_top_level=True) if any(is_under(m, h) for h in heavy)]
    assert found == []
