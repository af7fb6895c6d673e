"""Corpora and their sources."""

from collections.abc import Iterable

from .base import ConfigError, listed


def only_for_temperature(key: str, *, value: object, scheme: str) -> ConfigError:
    return ConfigError(
        f'`{key} = {value!r}` would change nothing with `sampling = "{scheme}"`. Set `sampling = "temperature"`, or '
        f"take `{key}` out."
    )


def other_sources(*, then: object, now: object) -> ConfigError:
    return ConfigError(
        f"The stream cannot be resumed: its sources had {then} examples and have {now} now. Resume with the same "
        "corpora and limits, or start anew."
    )


class CorpusError(ValueError):
    """A corpus cannot be read. Names the source, the file and the place in it."""


def no_such_source_setting(key: str, *, known: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`{key}` is not a setting of a source. Take it out, or use one of {listed(known)}."
    )


def no_sources() -> ConfigError:
    return ConfigError(
        "`spacy_mtl.MultiCorpus.v1` has no sources. Below `[corpora.train.sources]` add one block for each corpus, "
        'such as `[corpora.train.sources.news]` with `path = "news.spacy"` and `tasks = ["ner"]`.'
    )


def no_such_task(source: str, task: str, *, pipeline: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`{task}` in `sources.{source}.tasks` is not a component of the pipeline. Its components are "
        f"{listed(pipeline)}; correct the name, or add the component to `[nlp] pipeline`."
    )


def nothing_to_learn(source: str, task: str) -> ConfigError:
    return ConfigError(
        f"`{task}` in `sources.{source}.tasks` learns nothing from annotation by itself. Name the heads that the "
        "source is annotated for."
    )


def no_such_file(source: str, path: str) -> CorpusError:
    return CorpusError(
        f"`sources.{source}.path = {path!r}` does not exist. Set it to a `.spacy` or `.jsonl` file, or to a folder "
        "with such files."
    )


def no_files(source: str, path: str, *, kinds: Iterable[str]) -> CorpusError:
    return CorpusError(
        f"`sources.{source}.path = {path!r}` has no file of a type that can be read: {listed(kinds)}."
    )


def unreadable(source: str, place: str, *, reason: object) -> CorpusError:
    return CorpusError(
        f"Source `{source}` cannot be read at {place}: {str(reason).rstrip('.')}. Correct or replace the file, or take "
        "it out."
    )


def empty_source(source: str, path: str, *, max_length: int = 0) -> CorpusError:
    if max_length:
        return CorpusError(
            f"Source `{source}` (`{path}`) holds no documents with text, or `sources.{source}.max_length = "
            f"{max_length}` leaves out all of them: those without sentence boundaries, and sentences, of so many "
            f"tokens. Raise it, or correct `sources.{source}.path`."
        )
    return CorpusError(
        f"Source `{source}` (`{path}`) holds no documents with text. Correct `sources.{source}.path`, or take the "
        "source out."
    )


def not_annotated(source: str, tasks: Iterable[str], *, n_docs: int) -> CorpusError:
    return CorpusError(
        f"None of the {n_docs} documents of source `{source}` is annotated for {listed(tasks)}. Correct "
        f"`sources.{source}.tasks`, or the corpus."
    )


def unknown_label(
    source: str, task: str, *, labels: Iterable[str], number: int, text: str, streamed: bool
) -> CorpusError:
    start = text[:60].replace("\n", " ")
    why = ""
    if streamed:
        why = " With `max_epochs = -1` spaCy looks for labels in the first 100 examples only."
    return CorpusError(
        f"Document {number} of source `{source}` has labels that `{task}` does not know: {listed(labels)} (it starts "
        f"`{start}`).{why} Correct them, add them to `[initialize.components.{task}.labels]`, or take `{task}` out of "
        f"`sources.{source}.tasks`."
    )


def sampling_needs_batcher(sampling: str) -> ConfigError:
    return ConfigError(
        f"{sampling} needs a batcher that mixes anew in every epoch; with spaCy's own each example would be seen once "
        'an epoch. Set `[training.batcher]` to `@batchers = "spacy_mtl.BatchByWordpieces.v1"`, or read with '
        "`stream = true` and `max_epochs = -1`."
    )


def stream_needs_epochs(max_epochs: object) -> ConfigError:
    return ConfigError(
        f"`stream = true` cannot be used with `training.max_epochs = {max_epochs!r}`, which reads the whole corpus "
        "into memory once. Set `max_epochs = -1`, or `stream = false`."
    )


def epochs_need_stream() -> ConfigError:
    return ConfigError(
        "With `training.max_epochs = -1` spaCy does not shuffle: without `stream = true` one source would come after "
        "the other. Set `stream = true` in `[corpora.train]`, or `max_epochs = 0`, which has no limit either."
    )


def no_encoder_for_batches() -> ConfigError:
    return ConfigError(
        "`spacy_mtl.BatchByWordpieces.v1` counts wordpieces with the tokenizer of the pipeline's shared_transformer, "
        "and the pipeline has none that is loaded. Add one, or use `spacy.batch_by_words.v1`."
    )


def several_corpora() -> ConfigError:
    return ConfigError(
        "`spacy_mtl.BatchByWordpieces.v1` got examples of several readers, and can mix those of one only. Name all "
        "corpora as sources of one `spacy_mtl.MultiCorpus.v1`; any reader can be a source."
    )


def shares_annotation(source: str, head: str, *, tasks: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`{head}` would be trained on source `{source}`, which is annotated for {listed(tasks)}: both learn from the "
        f"same kind of annotation. Set `[components.{head}] factory` to the `masked_` one, which keeps to its own "
        f"sources, or add `{head}` to `sources.{source}.tasks`."
    )
