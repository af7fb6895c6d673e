"""What runs in the executors' Python processes: one pipeline per process, loaded once."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from .. import errors

_LOADED: dict[tuple[Any, ...], Any] = {}  # the one used last at the end
# Two streams may share the processes; a third pipeline takes the place of the one that was not used for longest.
MOST_PIPELINES = 2


@dataclass(frozen=True)
class Work:
    """What a task needs to know. It is sent with each task, so it names the pipeline and does not hold it.

    model: as the user named it. digest: of the pipeline's files. folder: where the driver has it. archive: name under
        which Spark has sent it along, or None. package: name of an installed package, or None.
    settings: `AnnotatorSettings`. names: of the output columns, the errors' last.
    """

    model: str
    digest: str
    folder: str
    archive: str | None
    package: str | None
    input_column: str
    names: tuple[str, ...]
    settings: Any
    disable: tuple[str, ...] = ()
    finish: bool = False
    gpu: bool = False


def annotate_batches(work: Work, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows of a partition with the output columns behind theirs, in their order.

    Nothing is loaded for an empty partition. Batches come out smaller than they go in.
    """
    from .arrow import output_arrays

    for batch in batches:
        if batch.num_rows == 0:
            continue
        annotator = loaded(work)
        texts = batch.column(work.input_column).to_pylist()
        start = 0
        for rows in annotator.rows(texts):
            columns = output_arrays(rows, work.settings.kinds, finish=work.finish)
            given = batch.slice(start, len(rows))
            yield pa.RecordBatch.from_arrays(
                [*given.columns, *columns], names=[*given.schema.names, *work.names]
            )
            start += len(rows)


def loaded(work: Work) -> Any:
    """A `TextAnnotator` for some work, with this process's pipeline, from an earlier task if there was one.

    The pipeline depends on what is loaded and where; settings differ between annotators, which cost nothing.
    """
    from .annotator import TextAnnotator

    limit_threads(cpus_of_task())
    address = gpu_of_task() if work.gpu else None
    use_device(address)  # each time: an earlier task of this process may have used another one
    key = (work.digest, work.disable, address)
    nlp = _LOADED.pop(key, None)
    if nlp is None:
        while len(_LOADED) >= MOST_PIPELINES:
            del _LOADED[next(iter(_LOADED))]
        nlp = load(work)
    _LOADED[key] = nlp
    return TextAnnotator(nlp, work.settings)


def load(work: Work) -> Any:
    """Load the pipeline on the present device. Raises SparkError where it is not what the driver has."""
    import spacy

    from .models import find_pipeline

    where = place(work)
    try:
        found = find_pipeline(where)
    except errors.SparkError:
        raise (
            errors.package_missing_on_executor(work.model)
            if work.package
            else errors.pipeline_not_here(where)
        ) from None
    if found.digest() != work.digest:
        raise errors.pipeline_changed(work.model)
    # The name of a package also imports the code that it brings.
    return spacy.load(work.package or found.folder, disable=list(work.disable))


def place(work: Work) -> str:
    """Where this executor has the pipeline."""
    if work.package:
        return work.package
    if work.archive:
        from pyspark import SparkFiles

        return SparkFiles.get(work.archive)
    return work.folder


def limit_threads(n: int) -> None:
    """Let torch and the libraries below it use as many threads as Spark has given the task cores.

    Each of a machine's tasks would otherwise start as many threads as it has cores. Spark sets `OMP_NUM_THREADS` for
    what reads it before us.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(n)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    if torch.get_num_threads() != n:
        torch.set_num_threads(n)


def cpus_of_task() -> int:
    """`spark.task.cpus`; 1 outside of a task."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return max(context.cpus(), 1) if context is not None else 1


def gpu_of_task() -> str:
    """The address of the first GPU that Spark has given this task. Raises SparkError if there is none."""
    from pyspark import TaskContext

    context = TaskContext.get()
    resources = context.resources() if context is not None else {}
    addresses = resources["gpu"].addresses if "gpu" in resources else []
    if not addresses:
        raise errors.no_gpu_for_task()
    return str(addresses[0])


def use_device(address: str | None) -> None:
    """Let thinc and torch compute on a GPU, or on the processor. Raises SparkError if they cannot use the GPU."""
    import spacy

    if address is None:
        spacy.require_cpu()
        return
    try:
        spacy.require_gpu(int(address))
    except Exception as error:  # CuPy and torch raise of their own, a UUID is no number
        raise errors.gpu_not_usable(address, reason=error) from error
