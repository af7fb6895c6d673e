"""`torchrun --nproc-per-node N -m spacy_mtl.train_distributed CONFIG`: `spacy train` in several processes."""

from pathlib import Path
from typing import Annotated

import typer
from spacy.cli._util import parse_config_overrides, show_validation_error
from wasabi import msg

from . import errors
from .cli.options import OVERRIDES, CodePath, ConfigPath

OutputPath = Annotated[
    Path | None,
    typer.Option("--output", "-o", file_okay=False, help="Folder for the trained pipelines."),
]
Gpu = Annotated[bool, typer.Option("--gpu", help="Give each process a GPU of its machine.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output.")]

app = typer.Typer(add_completion=False)


@app.command(context_settings=OVERRIDES)
def main(
    ctx: typer.Context,
    config_path: ConfigPath,
    output_path: OutputPath = None,
    code_path: CodePath = None,
    gpu: Gpu = False,
    resume: Resume = False,
) -> None:
    """Train a pipeline in several processes, each of which takes a part of every batch.

    Settings of the config can follow: `--training.max_steps 100`. A checkpoint is written with every evaluation.
    """
    overrides = parse_config_overrides(ctx.args)
    from .distributed import train

    try:
        with show_validation_error(config_path, hint_fill=False):
            train(
                config_path,
                output_path,
                code_path=code_path,
                overrides=overrides,
                gpu=gpu,
                resume=resume,
            )
    except (errors.DistributedError, errors.ConfigError, errors.CheckpointError) as error:
        msg.fail(str(error), exits=1)


if __name__ == "__main__":
    app()
