"""Sends a pipeline's files to executors on other machines, once for each application."""

from threading import Lock
from typing import TYPE_CHECKING

from .models import LocalPipeline, lasting_folder, write_archive

if TYPE_CHECKING:
    from pyspark import SparkContext

_SENT: set[tuple[str, str]] = set()
_SENDING = Lock()


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
    with lasting_folder("spacy_mtl_ship_") as folder:  # Spark serves the file from there
        path = folder / f"{name}.zip"
        write_archive(pipeline, path)
        context.addArchive(f"{path.as_uri()}#{name}")


def is_local(master: str) -> bool:
    """Whether executors are threads of the driver.

    >>> is_local("local[2]"), is_local("local-cluster[2,1,1024]"), is_local("yarn")
    (True, False, False)
    """
    return master == "local" or master.startswith("local[")
