"""Where a pipeline is: an installed package, a folder or a wheel; what its files are; and what it writes. No Spark."""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import srsly
from spacy import util
from spacy.language import Language

from .. import errors
from .annotations import KINDS

CONFIG, META = "config.cfg", "meta.json"
MANIFEST = "manifest.json"
FORMAT = 1
OPTIMIZER_FILE = "optimizer.safetensors"  # as in encoder/checkpoint.py, which would import torch
CLEANER, VECTOR_CLEANER = "doc_cleaner", "vector_cleaner"
HARMLESS = (
    CLEANER,
    VECTOR_CLEANER,
    "token_splitter",
    "merge_entities",
    "merge_noun_chunks",
    "merge_subtokens",
)
Manifest = dict[str, dict[str, Any]]
_MANIFESTS: dict[Path, tuple[Any, Manifest]] = {}


@dataclass(frozen=True)
class LocalPipeline:
    """A pipeline on this machine. model: as the user named it. package: its name if it is an installed one."""

    model: str
    folder: Path
    package: str | None = None

    def manifest(self) -> Manifest:
        """Size and SHA-256 of each file."""
        return manifest_of(self.folder)

    def digest(self) -> str:
        """One hash for all files and their names."""
        return digest_of(self.manifest())


def find_pipeline(model: str) -> LocalPipeline:
    """A pipeline by the name of its package, its folder, or its wheel. Raises SparkError if there is none."""
    path = Path(model.removeprefix("file://")).expanduser()
    if path.suffix == ".whl" and path.is_file():
        folder = unpacked(str(path.resolve()), path.stat().st_mtime_ns)
        return LocalPipeline(model, folder)
    if (path / CONFIG).is_file():
        return LocalPipeline(model, path.resolve())
    if util.is_package(model):
        return LocalPipeline(model, folder_in_package(util.get_package_path(model)), model)
    raise errors.no_such_pipeline(model)


def folder_in_package(package: Path) -> Path:
    """The pipeline's files in a package that `spacy package` wrote."""
    if not (package / META).is_file():
        raise errors.no_such_pipeline(package.name)
    meta = srsly.read_json(package / META)
    return package / f"{meta['lang']}_{meta['name']}-{meta['version']}"


@cache
def unpacked(wheel: str, _changed: int) -> Path:
    """The pipeline in a wheel, in a temporary folder that lives as long as this process."""
    with lasting_folder("spacy_mtl_wheel_") as folder:
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        except zipfile.BadZipFile as error:
            raise errors.no_pipeline_in_wheel(wheel) from error
        found = [path.parent for path in folder.glob(f"*/*/{CONFIG}")]
        if len(found) != 1:
            raise errors.no_pipeline_in_wheel(wheel)
        return found[0]


@contextmanager
def lasting_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder that lives as long as this process, unless filling it fails."""
    with ExitStack() as stack:
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        _LASTING.append(stack.pop_all())


_LASTING: list[ExitStack] = []


def manifest_of(folder: Path) -> Manifest:
    """Size and SHA-256 of each file of a pipeline that it needs to predict, by its path in the folder.

    The state of an optimizer is left out. Files are read again only if their size or time has changed.
    """
    stats = [(path, path.stat()) for path in files_below(folder)]
    state = [(path, s.st_size, s.st_mtime_ns) for path, s in stats]
    known, manifest = _MANIFESTS.get(folder, (None, {}))
    if known != state:
        manifest = {
            path.relative_to(folder).as_posix(): {"bytes": s.st_size, "sha256": hash_of(path)}
            for path, s in stats
        }
        _MANIFESTS[folder] = (state, manifest)
    return manifest


def files_below(folder: Path) -> list[Path]:
    """The files of a pipeline that it needs to predict, also those in folders that it links to."""
    found = []
    above: dict[str, tuple[Path, ...]] = {
        str(folder): (folder.resolve(),)
    }  # for each folder, itself and those that it is in
    for name, inner, files in os.walk(folder, followlinks=True):
        way = above.pop(name)
        real = {other: (Path(name) / other).resolve() for other in inner}
        inner[:] = [other for other in inner if real[other] not in way]  # a link may lead back
        above.update((os.path.join(name, other), (*way, real[other])) for other in inner)
        found += [Path(name) / file for file in files]
    return sorted(path for path in found if path.is_file() and is_needed(path))


def is_needed(path: Path) -> bool:
    """Whether a file belongs to a pipeline: not an optimizer's state, nor Hadoop's checksums."""
    return path.name != OPTIMIZER_FILE and not (path.name[0] == "." and path.suffix == ".crc")


def hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_of(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode("utf8")).hexdigest()


def read_manifest(path: Path) -> Manifest:
    """The files that should be there. Raises CheckpointError if it cannot be read."""
    try:
        content = json.loads(path.read_text("utf8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r} is not {FORMAT}")
        return dict(content["files"])
    except FileNotFoundError:
        raise errors.damaged(str(path), "is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise errors.damaged(str(path), f"cannot be read ({error})") from error


def check_manifest(folder: Path, expected: Manifest, *, place: str | None = None) -> None:
    """Raises CheckpointError, with the file's name, if a file is missing, changed or not listed.

    place: where the folder is a copy from; errors name the files there.
    """
    found = manifest_of(folder)
    place = place or str(folder)
    for name, entry in expected.items():
        if name not in found:
            raise errors.damaged(f"{place}/{name}", "is missing")
        if found[name]["bytes"] != entry["bytes"]:
            reason = f"has {found[name]['bytes']} bytes instead of {entry['bytes']}"
            raise errors.damaged(f"{place}/{name}", reason)
        if found[name] != entry:
            raise errors.damaged(f"{place}/{name}", "differs from the SHA-256 in its manifest")
    for name in found.keys() - expected.keys():
        raise errors.damaged(f"{place}/{name}", f"is not listed in {MANIFEST}")


def copy_files(pipeline: LocalPipeline, target: Path) -> None:
    """Copy the files of the manifest. A file that is there is replaced and not written into: others may share it."""
    for name in pipeline.manifest():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        shutil.copyfile(pipeline.folder / name, part)
        part.replace(path)


def snapshot(folder: Path, target: Path) -> None:
    """The files of a pipeline under second names, which keep them when the first are deleted; else copies."""
    for path in files_below(folder):
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path.resolve(), copy)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, copy)


def write_archive(pipeline: LocalPipeline, path: Path) -> None:
    """The files of the manifest as a zip, not compressed: weights hardly shrink. Times before 1980 become 1980."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for name in pipeline.manifest():
            archive.write(pipeline.folder / name, name)


def check_factories(pipeline: LocalPipeline) -> None:
    """Raises SparkError if a component needs code that nobody has registered: only the pipeline's files travel.

    An installed package has registered its own: finding its folder imports it.
    """
    config = util.load_config(pipeline.folder / CONFIG)
    language = language_of(config["nlp"]["lang"])
    for name in config["nlp"]["pipeline"]:
        factory = config["components"][name].get("factory")
        if factory and not language.has_factory(factory):
            raise errors.unknown_factory(factory, component=name, model=pipeline.model)


def check_kinds(
    folder: Path, kinds: Sequence[str], disable: Collection[str], *, key: str = "annotations"
) -> None:
    """Raises SparkError if no component writes one of the kinds, or if one frees it. key: what the user has set."""
    found = declared(folder, disable)
    for kind in kinds:
        wanted = KINDS[kind].written_as
        if not wanted or wanted & found.written:
            continue
        for attribute in sorted(wanted & found.freed.keys()):
            raise errors.freed(kind, key=key, cleaner=found.freed[attribute])
        if found.is_known:
            raise errors.nobody_writes(kind, key=key, components=found.names)


def default_kinds(folder: Path, disable: Collection[str]) -> tuple[str, ...]:
    """All that the pipeline declares to write, but the embeddings, which are large."""
    written = declared(folder, disable).written
    return tuple(
        name
        for name, kind in KINDS.items()
        if name != "embeddings" and (not kind.written_as or kind.written_as & written)
    )


@dataclass(frozen=True)
class Declared:
    """What a pipeline's components say that they write.

    names: of the components. written: attributes such as `doc.ents`. freed: of attributes that a cleaner empties,
    its name. is_known: whether each component says something.
    """

    names: list[str]
    written: set[str]
    freed: dict[str, str]
    is_known: bool


def declared(folder: Path, disable: Collection[str]) -> Declared:
    """What the components of a saved pipeline write, from its config, without the weights."""
    config = util.load_config(folder / CONFIG)
    language = language_of(config["nlp"]["lang"])
    off = {*disable, *config["nlp"].get("disabled", ())}
    names = [name for name in config["nlp"]["pipeline"] if name not in off]
    found = Declared(names, set(), {}, True)
    for name in names:
        factory = config["components"][name].get("factory", "")
        if factory in (CLEANER, VECTOR_CLEANER):
            attributes = config["components"][name].get("attrs", ("tensor",))
            cleaned = {f"doc.{attr}" for attr in attributes}
            found.freed.update(dict.fromkeys(cleaned & found.written, name))
            found.written.difference_update(cleaned)
        if factory in HARMLESS:
            continue
        assigns = (
            language.get_factory_meta(factory).assigns if language.has_factory(factory) else ()
        )
        found.written.update(assigns)
        found = replace(found, is_known=found.is_known and bool(assigns))
    return found


@cache
def language_of(code: str) -> type[Language]:
    """The class of a language, with all factories known: spaCy registers them when it makes the first pipeline."""
    language = util.get_lang_class(code)
    language()
    return language
