"""What the commands have in common on their command lines."""

import os
from pathlib import Path
from typing import Annotated

import typer

# settings of a config can follow, as in `spacy train`: `--training.max_steps 100`
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}

ConfigPath = Annotated[
    Path, typer.Argument(help="Path to the config file.", exists=True, dir_okay=False)
]
CodePath = Annotated[
    Path | None, typer.Option("--code", "-c", help="Python file to import before.")
]
GpuId = Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1.")]


def prepare_file(path: Path) -> None:
    """Make the folder of a file that will be written, before any work is done for it.

    Raises typer.BadParameter, which names `--output`, if the file could not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(0, "writing is not permitted")
    except OSError as error:
        reason = f"`{path}` cannot be written ({error.strerror})"
        raise typer.BadParameter(f"{reason}: name another place", param_hint="--output") from None
