"""One source: a corpus that is annotated for some heads, read into reference documents that hold only that."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import srsly
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example
from spacy.training.corpus import walk_corpus

from .. import errors
from ..annotation import (
    TASKS_KEY,
    is_annotated,
    is_head,
    is_initialized,
    keep_layers,
    layers_of,
    unknown_labels,
)
from .records import from_record

if TYPE_CHECKING:
    from .sampling import Mixer

SOURCE_KEY = "spacy_mtl.source"  # in `user_data` of reference documents: the name of their source
FILE_TYPES = (".spacy", ".jsonl")

Reader = Callable[[Language], Iterable[Example]]


class SourcedExample(Example):
    """An example that knows where it comes from: `source`, its place `index` in it, and the `mixer` of its reader."""

    source: str
    index: int
    mixer: "Mixer | None" = None
    # of a reader that streams, in which this is draw number `position`
    stream: "Mixer | None" = None
    position: int = 0

    @classmethod
    def of(cls, example: Example, reference: Doc, source: str, index: int) -> "SourcedExample":
        """The example with another reference document."""
        made = cls(example.predicted, reference)
        made.source, made.index = source, index
        reference.user_data[SOURCE_KEY] = source
        return made


def source_of(doc: Doc) -> str | None:
    """The source that a reference document comes from, if our reader made it."""
    name = doc.user_data.get(SOURCE_KEY)
    return name if isinstance(name, str) else None


@dataclass(frozen=True)
class Source:
    """The settings of one block `[corpora.*.sources.NAME]`.

    path: a `.spacy` or `.jsonl` file, or a folder with such files; or, instead,
    reader: any of spaCy's registered readers.
    tasks: components that the source is annotated for; None: whatever its documents are annotated with.
    weight: factor on the source's probability to be drawn. limit: read no more documents; 0: all.
    ignore_others: whether annotation for heads that are not in `tasks` is missing, even where the file has it.
    max_length: split documents of so many tokens or more into sentences, as `spacy.Corpus.v1` does; 0: never. As there,
        categories and span groups are lost with the split, and a long document without sentences is left out.
    """

    name: str
    path: Path | None = None
    reader: Reader | None = None
    tasks: tuple[str, ...] | None = None
    weight: float = 1.0
    limit: int = 0
    ignore_others: bool = True
    max_length: int = 0

    @classmethod
    def from_config(cls, name: str, settings: Any) -> "Source":
        """Raises ConfigError for a setting that does not exist or cannot work."""
        where = f"sources.{name}"
        known = [field.name for field in fields(cls) if field.name != "name"]
        if not isinstance(settings, dict):
            raise errors.bad_setting(
                settings, key=where, need=f"a block with some of {errors.listed(known)}"
            )
        for key in settings:
            if key not in known:
                raise errors.no_such_source_setting(f"{where}.{key}", known=known)
        path, reader, tasks = (settings.get(key) for key in ("path", "reader", "tasks"))
        if path is not None and reader is not None:
            raise errors.bad_setting(path, key=f"{where}.path", need="left out beside `reader`")
        if reader is not None and not callable(reader):
            need = 'a block with `@readers = "..."`'
            raise errors.bad_setting(reader, key=f"{where}.reader", need=need)
        if path is not None and not isinstance(path, str | Path):
            need = "a `.spacy` or `.jsonl` file, or a folder with such files"
            raise errors.bad_setting(path, key=f"{where}.path", need=need)
        if tasks is not None and (
            isinstance(tasks, str)
            or not isinstance(tasks, Collection)
            or not tasks
            or not all(isinstance(task, str) for task in tasks)
        ):
            raise errors.bad_setting(
                tasks, key=f"{where}.tasks", need='a list of components such as ["tagger"], or null'
            )
        for key in ("limit", "max_length"):
            value = settings.get(key, 0)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                need = "a whole number from 0 up"
                raise errors.bad_setting(value, key=f"{where}.{key}", need=need)
        weight = settings.get("weight", 1.0)
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 < weight < float("inf"):
            raise errors.bad_setting(weight, key=f"{where}.weight", need="a number above 0")
        if not isinstance(settings.get("ignore_others", True), bool):
            value = settings["ignore_others"]
            raise errors.bad_setting(value, key=f"{where}.ignore_others", need="true or false")
        values = {key: value for key, value in settings.items() if value is not None}
        values["path"] = None if path is None else Path(path)
        values["tasks"] = None if tasks is None else tuple(tasks)
        return cls(name, **values)

    def heads(self, nlp: Language) -> list[tuple[str, Any]]:
        """The components in `tasks`. Raises ConfigError for a name that is not in the pipeline or does not learn."""
        found = []
        for task in self.tasks or ():
            if task not in nlp.component_names:
                raise errors.no_such_task(self.name, task, pipeline=nlp.component_names)
            component = nlp.get_pipe(task)
            if not is_head(component):
                raise errors.nothing_to_learn(self.name, task)
            found.append((task, component))
        return found

    def kept_layers(self, nlp: Language) -> frozenset[str] | None:
        """The annotation layers that stay, None for all."""
        heads = self.heads(nlp)
        if self.tasks is None or not self.ignore_others:
            return None
        kept = [layers_of(component) for _, component in heads]
        if all(layers is not None for layers in kept):
            return frozenset(layer for layers in kept for layer in layers or ())
        # It is not known what a component of the user's own learns from: take out only what others own.
        own = [name for name, _ in heads]
        every = {"tag", "pos", "morph", "lemma", "dep", "sents", "ents", "links", "cats"}
        theirs = [layers_of(pipe) or () for name, pipe in nlp.components if name not in own]
        owned = {layer for layers in theirs for layer in layers}
        return frozenset((every - owned) | {"spans:*"} | {x for ls in kept for x in ls or ()})

    def examples(self, nlp: Language, *, check_labels: bool = False) -> Iterator[SourcedExample]:
        """The examples of this source, in the order of its files.

            check_labels: whether a label that a head does not know is an error.

        Raises ConfigError for a setting that does not fit the pipeline, CorpusError for a file that cannot be read, a
        source without documents, or one in which no document is annotated for one of its tasks.
        """
        heads = self.heads(nlp)
        layers = self.kept_layers(nlp)
        examples = self._read(nlp)
        if self.limit:
            examples = islice(examples, self.limit)
        missing = {name for name, _ in heads}
        trained = set(nlp.pipe_names) - set(nlp.config["training"].get("frozen_components", ()))
        ready = [
            (name, head)
            for name, head in heads
            if check_labels and name in trained and is_initialized(head)
        ]
        others = [pipe for _, pipe in nlp.pipeline]
        index = -1
        for index, example in enumerate(examples):
            reference = example.reference
            if layers is not None:
                reference = keep_layers(reference, layers)
                reference.user_data[TASKS_KEY] = self.tasks
            for name, component in heads:
                if name in missing and is_annotated(component, reference):
                    missing.discard(name)
            for name, component in ready:
                unknown = unknown_labels(component, reference, others=others)
                if unknown:
                    raise errors.unknown_label(
                        self.name,
                        name,
                        labels=unknown,
                        number=index + 1,
                        text=reference.text,
                        streamed=nlp.config["training"].get("max_epochs") == -1,
                    )
            yield SourcedExample.of(example, reference, self.name, index)
        if index < 0:
            where = str(self.path or "its reader")
            raise errors.empty_source(self.name, where, max_length=self.max_length)
        if missing:
            raise errors.not_annotated(self.name, sorted(missing), n_docs=index + 1)

    def _read(self, nlp: Language) -> Iterator[Example]:
        if self.reader is not None:
            yield from self.reader(nlp)
            return
        if self.path is None:
            raise errors.bad_setting(
                None, key=f"sources.{self.name}.path", need="a file or folder, or a `reader`"
            )
        if not self.path.exists():
            raise errors.no_such_file(self.name, str(self.path))
        # What spaCy makes of references (predicted documents, splitting at `max_length`) is left to it.
        corpus = Corpus(self.path, max_length=self.max_length)
        yield from corpus.make_examples(nlp, _documents(self.name, self.path, nlp))


def _documents(name: str, path: Path, nlp: Language) -> Iterator[Doc]:
    """All reference documents of a file or folder, file after file in the order of their names."""
    files = [path] if path.is_file() else []
    if not files:
        files = sorted(file for kind in FILE_TYPES for file in walk_quietly(path, kind))
    if not files:
        raise errors.no_files(name, str(path), kinds=FILE_TYPES)
    for number, file in enumerate(files, start=1):
        place = f"{file}" if len(files) == 1 else f"{file} (file {number} of {len(files)})"
        if file.suffix == ".spacy":
            yield from _from_docbin(name, file, place, nlp)
        elif file.suffix == ".jsonl":
            yield from _from_jsonl(name, file, place, nlp)
        else:
            raise errors.no_files(name, str(file), kinds=FILE_TYPES)


def walk_quietly(path: Path, kind: str) -> list[Path]:
    """Files of one kind in a folder and the folders in it; spaCy's own function warns where there are none."""
    return walk_corpus(path, kind) if any(path.rglob(f"*{kind}")) else []


def _from_docbin(name: str, file: Path, place: str, nlp: Language) -> Iterator[Doc]:
    try:
        docs = DocBin().from_disk(file)
    except Exception as error:  # zlib, msgpack and spaCy raise whatever they like here
        raise errors.unreadable(name, place, reason=error) from error
    made = docs.get_docs(nlp.vocab)
    number = 0
    while True:
        number += 1
        try:
            doc = next(made)
        except StopIteration:
            return
        except Exception as error:
            raise errors.unreadable(name, f"{place}, document {number}", reason=error) from error
        yield doc


def _from_jsonl(name: str, file: Path, place: str, nlp: Language) -> Iterator[Doc]:
    try:
        stream = file.open("rb")
    except OSError as error:
        raise errors.unreadable(name, place, reason=error) from error
    with stream:
        for number, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            try:
                record = srsly.json_loads(raw.decode("utf-8-sig" if number == 1 else "utf8"))
                doc = from_record(record, nlp)
            except Exception as error:  # bad UTF-8, bad JSON, annotation that does not fit the text
                raise errors.unreadable(name, f"{place}, line {number}", reason=error) from error
            yield doc
