"""`python -m spacy mtl report RUN`: what a training did, as one HTML page."""

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from spacy.cli._util import import_code, setup_gpu
from wasabi import Printer

from . import app
from .options import CodePath, GpuId, prepare_file


def _file(*names: str, what: str) -> Any:
    return typer.Option(*names, help=what, exists=True, dir_okay=False)


@app.command("report")
def report_command(
    run: Annotated[
        Path, typer.Argument(help="Output folder of `spacy train`.", exists=True, file_okay=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page; default: report.html in the folder."),
    ] = None,
    log: Annotated[
        Path | None, _file("--log", what="`output_file` of the logger; default: as in the config.")
    ] = None,
    steps: Annotated[
        Path | None, _file("--steps", what="`steps_file` of the logger; default: as in the config.")
    ] = None,
    transfer: Annotated[
        Path | None,
        _file(
            "--transfer",
            what="`transfer.json` of `spacy mtl transfer`; default: the one in the folder.",
        ),
    ] = None,
    code_path: CodePath = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Documents of the dev corpus to look for errors in.")
    ] = 300,
    examples: Annotated[
        int, typer.Option(min=0, help="Errors to show of each kind of annotation.")
    ] = 5,
    use_gpu: GpuId = -1,
) -> None:
    """Write one HTML page that needs no network: curves, gradients, sources, transfer, confusions and errors."""
    from ..errors import CheckpointError, ConfigError, ReportError

    page = output or run / "report.html"
    prepare_file(page)
    import_code(code_path)
    setup_gpu(use_gpu, silent=True)
    printer = Printer()
    try:
        warnings = write_report(
            run, page, log=log, steps=steps, transfer=transfer, limit=limit, n_examples=examples
        )
    except (CheckpointError, ConfigError, ReportError) as error:
        printer.fail(str(error), exits=1)
    for warning in warnings:
        printer.warn(warning)
    printer.good(f"Wrote {page}")


def write_report(
    run: Path,
    page: Path,
    *,
    log: Path | None = None,
    steps: Path | None = None,
    transfer: Path | None = None,
    limit: int = 300,
    n_examples: int = 5,
) -> list[str]:
    """Make the page. Returns why it may mislead, if it may.

    Raises ReportError if there is nothing to report on, a file or code is missing, or Matplotlib is; CheckpointError or
    ConfigError for a pipeline that cannot be loaded.
    """
    from .. import errors

    if find_spec("matplotlib") is None:
        raise errors.no_matplotlib()
    from ..report.collect import Files, collect
    from ..report.page import render
    from .debug import make_report

    report = collect(
        run,
        Files(log, steps, transfer),
        limit=limit,
        n_examples=n_examples,
        now=datetime.now().astimezone(),
        survey=make_report,
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(report), "utf8")
    return report.warnings
