"""`python -m spacy mtl debug CONFIG`: what the corpora hold, and what will go wrong, before any training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import srsly
import typer
from spacy import util
from spacy.cli._util import import_code, parse_config_overrides, show_validation_error
from spacy.language import Language
from spacy.schemas import ConfigSchemaInit, ConfigSchemaTraining
from thinc.api import Config
from wasabi import Printer

from . import app
from .options import OVERRIDES, CodePath, ConfigPath, prepare_file

if TYPE_CHECKING:
    from ..corpora.findings import Finding


@app.command("debug", context_settings=OVERRIDES)
def debug_command(
    ctx: typer.Context,
    config_path: ConfigPath,
    code_path: CodePath = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the same as JSON to this file.")
    ] = None,
) -> None:
    """Print what each source annotates and what will go wrong; settings can be overridden as in `spacy train`.

    Exits with 1 if the training cannot do what the config asks.
    """
    overrides = parse_config_overrides(ctx.args)
    if output is not None:
        prepare_file(output)
    import_code(code_path)
    from ..errors import ConfigError, CorpusError
    from .settings import find_ignored

    printer = Printer()
    try:
        with show_validation_error(config_path):
            config = util.load_config(config_path, overrides=overrides, interpolate=False)
            nlp = util.load_model_from_config(config, auto_fill=True)
            report = make_report(nlp, find_ignored(config, nlp.config))
    except (ConfigError, CorpusError) as error:
        printer.fail(str(error), exits=1)
    except (ValueError, ImportError) as error:  # of spaCy's, which training would end with too
        printer.fail(f"The training cannot begin: {error}", exits=1)
    print_report(report, printer)
    if output is not None:
        srsly.write_json(output, report)
    if any(finding["level"] == "error" for finding in report["findings"]):
        raise typer.Exit(1)


def make_report(nlp: Language, ignored: "Sequence[Finding]" = ()) -> dict[str, Any]:
    """All that the command tells, as plain data. ignored: findings from before the pipeline was made.

    Raises ConfigError or CorpusError for settings that cannot work and files that cannot be read.
    """
    from ..annotation import heads_of
    from ..corpora import survey as surveys
    from ..corpora.findings import find_problems
    from ..corpora.readers import MultiCorpus
    from ..pipeline.shared_transformer import shared_transformers
    from .settings import check_before_loading, find_in_settings

    config = nlp.config.interpolate()
    training = util.registry.resolve(config["training"], schema=ConfigSchemaTraining)
    names = [_corpus_name(config, key) for key in ("train_corpus", "dev_corpus")]
    corpora = util.resolve_dot_names(config, names)
    train_corpus, dev_corpus = corpora
    nlp._link_components()
    check_before_loading(nlp, training["frozen_components"])
    for pipe in shared_transformers(nlp):  # batches need its tokenizer, listeners its width
        pipe.initialize(list, nlp=nlp)
    heads = heads_of(nlp)
    for name, corpus in zip(names, corpora, strict=True):
        if isinstance(corpus, MultiCorpus):
            with _named(name):
                corpus.check(nlp)
    train, n_batches = _survey(train_corpus, nlp, heads, training["batcher"], key=names[0])
    dev, _ = _survey(dev_corpus, nlp, heads, iter, key=names[1])  # there are no batches
    exposures, batches = surveys.exposure(
        train_corpus,
        train,
        n_batches=n_batches,
        max_steps=training["max_steps"],
        max_epochs=training["max_epochs"],
    )
    findings = find_problems(
        train,
        dev,
        exposures,
        factories={name: nlp.get_pipe_meta(name).factory for name in heads},
        frozen=set(training["frozen_components"]),
        known_labels=_labels_to_come(config, heads),
        streams=isinstance(train_corpus, MultiCorpus) and train_corpus.stream,
        samples=isinstance(train_corpus, MultiCorpus),
    )
    findings += [*ignored, *find_in_settings(nlp, training, batches=batches)]
    findings.sort(key=lambda finding: finding.level != "error")
    return {
        "batches_per_epoch": batches,
        "max_steps": training["max_steps"],
        "train": _as_data(train, exposures),
        "dev": _as_data(dev, None),
        "findings": [{"level": f.level, "text": f.text} for f in findings],
    }


def _corpus_name(config: Config, key: str) -> str:
    """The block that `[training]` names as a corpus. Raises ConfigError if there is none of that name."""
    from .. import errors

    name = config["training"][key]
    try:
        util.dot_to_object(config, name)
    except (KeyError, TypeError):
        need = "the name of a block of the config, such as corpora.train"
        raise errors.bad_setting(name, key=f"training.{key}", need=need) from None
    return str(name)


def _survey(corpus: Any, nlp: Language, heads: dict[str, Any], batcher: Any, *, key: str) -> Any:
    """What a corpus holds, and how many batches it makes. Raises CorpusError if it cannot be read, whoever reads it."""
    from ..corpora.survey import survey

    with _named(key):
        return survey(corpus, nlp, heads, batcher)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Errors say which corpus they are of."""
    from ..errors import ConfigError, CorpusError

    try:
        yield
    except (ConfigError, CorpusError) as error:
        raise type(error)(f"In `[{key}]`: {error}") from error
    except (OSError, ValueError) as error:
        raise CorpusError(f"`[{key}]` cannot be read: {error}") from error


def _labels_to_come(config: Any, heads: dict[str, Any]) -> dict[str, set[str]]:
    """Labels that `[initialize.components.*.labels]` gives to heads; classifiers may share documents."""
    from spacy.pipeline.textcat import TextCategorizer

    from ..annotation import has_own_labels

    settings = util.registry.resolve(config["initialize"], schema=ConfigSchemaInit)["components"]
    found = {}
    for name, values in settings.items():
        labels = values.get("labels") if isinstance(values, dict) else None
        if isinstance(labels, list | tuple) and name in heads and has_own_labels(heads[name]):
            found[name] = set(labels)
    classifiers = [name for name in found if isinstance(heads[name], TextCategorizer)]
    every = {label for name in classifiers for label in found[name]}
    return {name: every if name in classifiers else labels for name, labels in found.items()}


def _as_data(found: Any, exposures: Any) -> dict[str, Any]:
    sources = {}
    for name, source in found.sources.items():
        tasks = {
            task: {
                "documents": count.documents,
                "units": count.units,
                "unit": found.units[task],
                "labels": dict(count.labels.most_common()),
            }
            for task, count in source.tasks.items()
        }
        sources[name] = {"documents": source.documents, "words": source.words, "tasks": tasks}
        if exposures is not None:
            sources[name]["share"] = exposures[name].share
            sources[name]["epochs"] = exposures[name].epochs
    return sources


def print_report(report: dict[str, Any], printer: Printer) -> None:
    """Tables of sources, labels and findings."""
    from ..corpora.survey import few

    tasks = list(next(iter(report["train"].values()))["tasks"])
    for part in ("train", "dev"):
        printer.divider(f"{part}: what each source annotates")
        header = ["source", "documents", "words", *tasks]
        if part == "train":
            header += ["share of a batch", "times seen"]
        rows = [_row(name, source, tasks) for name, source in report[part].items()]
        aligns = ["l", *["r"] * (len(header) - 1)]
        printer.table(rows, header=header, divider=True, aligns=aligns)
    steps, batches = report["max_steps"], report["batches_per_epoch"]
    ends = f"the training ends after {steps} steps" if steps else "no limit of steps"
    printer.text(f"An epoch has {batches} batches; {ends}.")
    printer.divider("labels")
    for task in tasks:
        for name, source in report["train"].items():
            labels = source["tasks"][task]["labels"]
            if labels:
                printer.text(f"{task} in {name}: {len(labels)} labels: {few(labels, 12)}")
    printer.divider("findings")
    if not report["findings"]:
        printer.good("Nothing to be seen that will go wrong.")
    for finding in report["findings"]:
        if finding["level"] == "error":
            printer.fail(finding["text"])
        else:
            printer.warn(finding["text"])


def _row(name: str, source: dict[str, Any], tasks: list[str]) -> list[str]:
    cells = [name, f"{source['documents']:,}", f"{source['words']:,}"]
    for task in tasks:
        count = source["tasks"][task]
        cells.append(f"{count['units']:,} {count['unit']}" if count["units"] else "-")
    if "share" in source:
        epochs = source["epochs"]
        cells += [f"{source['share']:.1%}", "?" if epochs is None else f"{epochs:.2f}"]
    return cells
