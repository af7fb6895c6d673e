"""Sends a pipeline's files to executors on other machines, once for each application."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from .models import LocalPipeline, write_archive

if TYPE_CHECKING:
    from pyspark import SparkContext

_SENT: set[tuple[str, str]] = set()
_SENDING = Lock()
_FOLDERS: list[
    ExitStack
] = []  # Spark serves the files from where they are, as long as this process lives


def ship(pipeline: LocalPipeline, context: "SparkContext") -> str | None:
    """The name under which executors find the unpacked files; None where they are on the driver's machine."""
    if is_local(str(context.master)):
        return None
    digest = pipeline.digest()
    name = f"spacy_mtl_{digest[:16]}"
    with _SENDING:
        if (context.applicationId, digest) not in _SENT:
            send(pipeline, name, context)
            _SENT.add((context.applicationId, digest))
    return name


def send(pipeline: LocalPipeline, name: str, context: "SparkContext") -> None:
    """Write the files into an archive, and let executors fetch and unpack it under a name."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="spacy_mtl_ship_"))
        path = Path(folder) / f"{name}.zip"
        write_archive(pipeline, path)
        context.addArchive(f"{path.as_uri()}#{name}")
        _FOLDERS.append(stack.pop_all())


def is_local(master: str) -> bool:
    """Whether executors are threads of the driver.

    >>> is_local("local[2]"), is_local("local-cluster[2,1,1024]"), is_local("yarn")
    (True, False, False)
    """
    return master == "local" or master.startswith("local[")
