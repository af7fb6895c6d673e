"""A saved pipeline that was damaged is refused with the name of the file (law 8)."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.lang.en import English

from spacy_mtl.errors import CheckpointError

from .helpers import NAME, make_nlp, train
from .sentences import TEXTS, annotations

ADAMW = {"@optimizers": "spacy_mtl.AdamW.v1"}
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def intact(encoder_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline on disk, with the state of the encoder's optimizer."""
    nlp = make_nlp(encoder_path, ["tagger"], optimizer=ADAMW)
    train(nlp, 2)
    path = tmp_path_factory.mktemp("intact") / "model"
    nlp.to_disk(path)
    return path


@pytest.fixture
def saved(intact: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(intact, tmp_path / "saved"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: dict[Callable[[Path], None], str] = {
    flip: "differs from the SHA-256",
    cut: r"has \d+ bytes instead of \d+",
    empty: "has 0 bytes instead of",
    Path.unlink: "is missing",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", FILES)
def test_the_file_and_its_damage_are_named(
    file: str, damage: Callable[[Path], None], saved: Path
) -> None:
    path = saved / NAME / "model" / file
    damage(path)
    message = rf"^`{re.escape(str(path))}` {DAMAGES[damage]}.*copy it again"
    with pytest.raises(CheckpointError, match=message):
        spacy.load(saved)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 1, "files": 3}']
)
def test_a_manifest_that_cannot_be_read_is_named(content: bytes, saved: Path) -> None:
    path = saved / NAME / "model" / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        spacy.load(saved)


def test_a_missing_manifest_is_named(saved: Path) -> None:
    path = saved / NAME / "model" / "manifest.json"
    path.unlink()
    with pytest.raises(CheckpointError, match=re.escape(f"`{path}` is missing")):
        spacy.load(saved)


def test_a_manifest_of_a_later_format_asks_for_a_newer_version(saved: Path) -> None:
    path = saved / NAME / "model" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf8")), "format": 99}), "utf8")
    with pytest.raises(CheckpointError, match=r"format 99.*Install a newer spacy-mtl"):
        spacy.load(saved)


@pytest.mark.parametrize("name", ["../config.json", "model/../x", "/x", ".."])
def test_a_manifest_cannot_reach_out_of_its_folder(name: str, saved: Path) -> None:
    path = saved / NAME / "model" / "manifest.json"
    manifest = json.loads(path.read_text("utf8"))
    manifest["files"][name] = {"bytes": 1, "sha256": "00"}
    path.write_text(json.dumps(manifest), "utf8")
    with pytest.raises(CheckpointError, match="is not a file name"):
        spacy.load(saved)


def test_the_optimizer_s_state_may_be_deleted_but_not_changed(saved: Path) -> None:
    path = saved / NAME / "model" / "optimizer.safetensors"
    expected = [annotations(doc) for doc in spacy.load(saved).pipe(TEXTS)]
    content = path.read_bytes()
    flip(path)
    with pytest.raises(CheckpointError, match=re.escape(f"`{path}` differs")):
        spacy.load(saved)
    path.write_bytes(content)
    path.unlink()
    assert [annotations(doc) for doc in spacy.load(saved).pipe(TEXTS)] == expected


def test_bytes_that_were_changed_are_refused_with_the_name_of_the_file(saved: Path) -> None:
    nlp = spacy.load(saved)
    content = nlp.to_bytes()
    weights = (saved / NAME / "model" / "model.safetensors").read_bytes()
    assert weights in content
    changed = content.replace(weights, weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"^`model\.safetensors` differs"):
        English.from_config(nlp.config).from_bytes(changed)


def test_a_pipeline_saved_over_an_older_one_leaves_none_of_its_files(saved: Path) -> None:
    nlp = spacy.load(saved)
    nlp.get_pipe(NAME).save_optimizer = False  # type: ignore[attr-defined]
    nlp.to_disk(saved)
    folder = saved / NAME / "model"
    assert {path.name for path in folder.iterdir()} == {*FILES, "manifest.json"}
    spacy.load(saved)
