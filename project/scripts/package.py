"""Build a wheel of a trained pipeline, without the optimizer's state, and install it."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from spacy.cli import package


def main(
    model: Annotated[Path, typer.Argument(help="Folder of the trained pipeline.")],
    out: Annotated[Path, typer.Argument(help="Folder for the packages.")],
    name: Annotated[str, typer.Option(help="Name of the package, without the language.")],
    version: Annotated[str, typer.Option(help="Version of the package.")],
    install: Annotated[bool, typer.Option(help="Install the wheel here.")] = False,
) -> None:
    """Package MODEL as a wheel below OUT."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        slim = Path(folder) / "model"
        shutil.copytree(model, slim, ignore=shutil.ignore_patterns("optimizer.safetensors"))
        package(
            slim, out, name=name, version=version, create_wheel=True, create_sdist=False, force=True
        )
    [wheel] = sorted(out.glob(f"*_{name}-{version}/dist/*.whl"))
    typer.echo(f"Wheel: {wheel} ({wheel.stat().st_size / 1e6:.1f} MB)")
    if install:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--force-reinstall",
            "--no-deps",
            str(wheel),
        ]
        raise typer.Exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    typer.run(main)
