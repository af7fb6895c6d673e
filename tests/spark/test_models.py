"""A pipeline is found by name, folder and wheel; its files are known by their hashes; what it writes by its config."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import spacy
from spacy.cli import package

from spacy_mtl.encoder import checkpoint
from spacy_mtl.errors import CheckpointError, SparkError
from spacy_mtl.spark import LightAnnotator
from spacy_mtl.spark.models import (
    LocalPipeline,
    check_factories,
    check_kinds,
    check_manifest,
    copy_files,
    default_kinds,
    find_pipeline,
    manifest_of,
    snapshot,
    write_archive,
)

OWN_CODE = """
from spacy.language import Language


@Language.component("en_own_code_parts")
def parts(doc):
    return doc
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small pipeline: a sentencizer, and rules for entities."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "GPE", "pattern": "Riga"}])  # type: ignore[attr-defined]
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_a_folder_is_found_however_it_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    for name in (str(folder), "pipeline", f"file://{folder}"):
        found = find_pipeline(name)
        assert (found.model, found.folder, found.package) == (name, folder, None)


def test_what_is_no_pipeline_is_named(tmp_path: Path) -> None:
    for model in ("no_such_package", str(tmp_path), "json"):
        with pytest.raises(
            SparkError, match=f"`model = '{model}'` is neither|`json` is neither|'json'"
        ):
            find_pipeline(model)
    (tmp_path / "bad.whl").write_bytes(b"not a zip")
    with pytest.raises(SparkError, match="is not the wheel of a spaCy pipeline"):
        find_pipeline(str(tmp_path / "bad.whl"))
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other/__init__.py", "")
    with pytest.raises(SparkError, match="is not the wheel of a spaCy pipeline"):
        find_pipeline(str(tmp_path / "other.whl"))


# `spacy package` leaves the files that it writes for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_package_is_found_by_name_and_in_its_wheel(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(folder, tmp_path, name="of_spark", version="0.0.1", create_sdist=False, silent=True)
    source = tmp_path / "en_of_spark-0.0.1" / "en_of_spark"
    shutil.copy(source.parent / "meta.json", source)  # as its setup.py does
    with zipfile.ZipFile(tmp_path / "en_of_spark-0.0.1-py3-none-any.whl", "w") as archive:
        for path in source.rglob("*"):
            archive.write(path, path.relative_to(source.parent))
    wheel = find_pipeline(str(tmp_path / "en_of_spark-0.0.1-py3-none-any.whl"))
    assert wheel.package is None
    assert [e.text for e in spacy.load(wheel.folder)("I like Riga").ents] == ["Riga"]

    site = tmp_path / "site"
    shutil.copytree(source, site / "en_of_spark")
    info = site / "en_of_spark-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: en-of-spark\nVersion: 0.0.1\n")
    monkeypatch.syspath_prepend(str(site))
    named = find_pipeline("en_of_spark")
    assert named.package == "en_of_spark"
    assert named.digest() == wheel.digest()
    sys.modules.pop("en_of_spark", None)


def test_the_manifest_leaves_out_what_prediction_does_not_need(folder: Path) -> None:
    before = LocalPipeline("p", folder).digest()
    (folder / checkpoint.OPTIMIZER_FILE).write_bytes(b"x")
    (folder / ".meta.json.crc").write_bytes(b"x")
    assert LocalPipeline("p", folder).digest() == before
    (folder / "meta.json").write_text((folder / "meta.json").read_text() + " ")
    assert LocalPipeline("p", folder).digest() != before


def test_a_file_of_the_same_size_and_another_time_is_read_again(folder: Path) -> None:
    before = manifest_of(folder)
    path = folder / "config.cfg"
    text = path.read_text()
    path.write_text(text.replace("Riga", "Roma").replace("en", "de", 1))
    os.utime(path, ns=(1, 1))
    assert manifest_of(folder)["config.cfg"]["sha256"] != before["config.cfg"]["sha256"]


def test_copies_and_archives_have_the_same_files(folder: Path, tmp_path: Path) -> None:
    pipeline = LocalPipeline("p", folder)
    copy_files(pipeline, tmp_path / "copy")
    write_archive(pipeline, tmp_path / "p.zip")
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    for name in ("copy", "unpacked"):
        assert manifest_of(tmp_path / name) == pipeline.manifest()
        check_manifest(tmp_path / name, pipeline.manifest())


def test_linked_folders_belong_to_the_files_and_cycles_end(folder: Path, tmp_path: Path) -> None:
    before = manifest_of(folder)
    (tmp_path / "elsewhere").mkdir()
    (folder / "vocab").rename(tmp_path / "elsewhere" / "vocab")
    (folder / "vocab").symlink_to(tmp_path / "elsewhere" / "vocab")
    assert manifest_of(folder) == before
    (folder / "again").symlink_to(folder / "entity_ruler")  # twice is no cycle
    (folder / "loop").symlink_to(folder)
    (tmp_path / "elsewhere" / "vocab" / "loop").symlink_to(tmp_path / "elsewhere" / "vocab")
    ruler = {name for name in before if name.startswith("entity_ruler/")}
    again = {name.replace("entity_ruler", "again", 1) for name in ruler}
    assert manifest_of(folder).keys() == before.keys() | again


def test_a_file_of_1970_can_be_sent(folder: Path, tmp_path: Path) -> None:
    os.utime(folder / "meta.json", (0, 0))
    write_archive(LocalPipeline("p", folder), tmp_path / "p.zip")
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert archive.read("meta.json") == (folder / "meta.json").read_bytes()


def test_code_that_nobody_has_registered_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check_factories(LocalPipeline("p", folder))
    config = folder / "config.cfg"
    config.write_text(config.read_text().replace('"sentencizer"\n', '"en_own_code_parts"\n'))
    with pytest.raises(SparkError) as error:
        check_factories(LocalPipeline("p", folder))
    assert str(error.value) == (
        "`model = 'p'` has the component `sentencizer` of the factory `en_own_code_parts`, which nobody has registered "
        "in this process; code in a pipeline's folder or wheel is not run. Install the package that registers it, "
        "here and on the executors, and set `model` to its name or import it first."
    )
    with pytest.raises(SparkError, match="`en_own_code_parts`, which nobody has registered"):
        LightAnnotator(str(folder))
    # an installed package registers its own when it is found
    site = tmp_path / "site"
    shutil.copytree(folder, site / "en_own_code" / "en_own_code-0.0.1")
    info = site / "en_own_code-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: en-own-code\nVersion: 0.0.1\n")
    meta = json.loads((folder / "meta.json").read_text())
    meta.update(lang="en", name="own_code", version="0.0.1")
    (site / "en_own_code" / "meta.json").write_text(json.dumps(meta))
    (site / "en_own_code" / "__init__.py").write_text(OWN_CODE)
    monkeypatch.syspath_prepend(str(site))
    try:
        check_factories(find_pipeline("en_own_code"))
    finally:
        sys.modules.pop("en_own_code", None)


@pytest.mark.parametrize("links", [True, False])
def test_a_snapshot_outlives_and_survives_its_original(
    links: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Invalid cross-device link")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    snapshot(folder, tmp_path / "snapshot")
    assert (folder / "meta.json").stat().st_nlink == 1 + links
    before = manifest_of(tmp_path / "snapshot")
    assert before == manifest_of(folder)
    nlp = spacy.blank("de")
    nlp.to_disk(tmp_path / "other")
    copy_files(LocalPipeline("p", tmp_path / "other"), folder)  # not into the files that are shared
    assert manifest_of(tmp_path / "snapshot") == before
    shutil.rmtree(folder)
    assert manifest_of(tmp_path / "snapshot") == before
    assert [e.text for e in spacy.load(tmp_path / "snapshot")("I like Riga").ents] == ["Riga"]


def test_damage_is_named(folder: Path) -> None:
    manifest = dict(manifest_of(folder))
    path = folder / "meta.json"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=r"meta.json` has \d+ bytes instead of"):
        check_manifest(folder, manifest)
    path.write_bytes(content[:-2] + b" }")
    with pytest.raises(CheckpointError, match=r"meta.json` differs from the SHA-256"):
        check_manifest(folder, manifest)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"meta.json` is missing"):
        check_manifest(folder, manifest)
    path.write_bytes(content)
    (folder / "more.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"more.bin` is not listed"):
        check_manifest(folder, manifest)


def test_the_default_is_all_that_the_pipeline_writes(folder: Path, pipeline_path: Path) -> None:
    assert default_kinds(folder, ()) == ("document", "sentence", "token", "entity")
    assert default_kinds(folder, ("entity_ruler",)) == ("document", "sentence", "token")
    assert default_kinds(pipeline_path, ()) == (
        "document", "sentence", "token", "pos", "tag", "lemma", "entity", "category", "dependency",
    )  # fmt: skip


def test_a_process_that_has_loaded_no_pipeline_knows_what_one_writes(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from spacy_mtl.spark.models import default_kinds; "
    )
    code += "print(*default_kinds(Path(sys.argv[1]), ()))"
    command = [sys.executable, "-c", code, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["document", "sentence", "token", "entity"], result.stderr


def test_what_no_component_writes_is_refused(folder: Path, tmp_path: Path) -> None:
    check_kinds(folder, ("token", "entity", "sentence"), ())
    with pytest.raises(SparkError) as error:
        check_kinds(folder, ("token", "tag"), ())
    assert str(error.value) == (
        "`annotations` asks for `tag`, which no component of the pipeline writes. Its components are `sentencizer`, "
        "`entity_ruler`; take `tag` out, or a component out of `disable`."
    )
    with pytest.raises(SparkError, match="`entity`"):
        check_kinds(folder, ("entity",), ("entity_ruler",))


@pytest.mark.parametrize("factory", ["doc_cleaner", "vector_cleaner"])
def test_what_a_cleaner_frees_is_refused(tmp_path: Path, factory: str) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec")
    nlp.add_pipe("attribute_ruler")  # declares nothing
    nlp.add_pipe(factory, name="cleaner")
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    check_kinds(tmp_path / "pipeline", ("embeddings",), ("cleaner",))
    with pytest.raises(SparkError) as error:
        check_kinds(tmp_path / "pipeline", ("token", "embeddings"), ())
    assert str(error.value) == (
        "`annotations` asks for `embeddings`, which the component `cleaner` of the pipeline frees. Add `cleaner` to "
        "`disable`, or take `embeddings` out."
    )


def test_a_component_that_declares_nothing_may_write_anything(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("attribute_ruler")
    nlp.to_disk(tmp_path / "pipeline")
    check_kinds(tmp_path / "pipeline", ("pos", "tag", "lemma"), ())
