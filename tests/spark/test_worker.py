"""A task's process: what it loads, how often, with how many threads and on which GPU. No Java."""

import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from thinc.api import NumpyOps, get_current_ops, set_current_ops

pytest.importorskip("pyspark")
pytest.importorskip("pyarrow")

import pyarrow as pa
from pyspark import TaskContext

from spacy_mtl.errors import SparkError
from spacy_mtl.spark import worker
from spacy_mtl.spark.annotator import AnnotatorSettings
from spacy_mtl.spark.models import find_pipeline
from spacy_mtl.spark.worker import Work, annotate_batches

from .texts import make_texts, oracle, simplified

KINDS = ("token", "tag", "entity")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """A process that has loaded nothing."""
    environment, threads = os.environ.copy(), torch.get_num_threads()
    worker._LOADED.clear()
    yield
    worker._LOADED.clear()
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)


def make_work(path: Path, **settings: Any) -> Work:
    values: dict[str, Any] = {
        "model": str(path), "digest": find_pipeline(str(path)).digest(), "folder": str(path), "archive": None,
        "package": None, "input_column": "text", "names": (*KINDS, "error"),
        "settings": AnnotatorSettings(KINDS, batch_size=16),
    }  # fmt: skip
    return Work(**{**values, **settings})


def record_batches(texts: list[str | None], size: int) -> list[Any]:
    table = pa.table({"id": range(len(texts)), "text": pa.array(texts, pa.string())})
    return table.to_batches(max_chunksize=size)


def in_task(
    monkeypatch: pytest.MonkeyPatch, *, cpus: int = 1, gpus: list[str] | None = None
) -> None:
    """As if a task of Spark's had started in this process."""
    resources = {} if gpus is None else {"gpu": SimpleNamespace(addresses=gpus)}
    context = SimpleNamespace(cpus=lambda: cpus, resources=lambda: resources)
    monkeypatch.setattr(TaskContext, "get", classmethod(lambda cls: context))


def test_rows_come_out_as_they_went_in(pipeline_path: Path, nlp: Language) -> None:
    texts = make_texts(150, seed=2)
    out = list(annotate_batches(make_work(pipeline_path), record_batches(texts, 70)))
    assert max(batch.num_rows for batch in out) <= 16
    rows = [row for batch in out for row in batch.to_pylist()]
    assert [(row["id"], row["text"]) for row in rows] == list(enumerate(texts))
    for row, text in zip(rows, texts, strict=True):
        if not text:
            assert row["error"] == ("the text is null" if text is None else "the text is empty")
            assert row["token"] == (None if text is None else [])
            continue
        expected = oracle(nlp(text))
        for kind in KINDS:
            assert simplified(kind, row[kind]) == expected[kind]


def test_the_pipeline_is_loaded_once_and_not_for_an_empty_partition(
    pipeline_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, calls = spacy.load, []
    monkeypatch.setattr(spacy, "load", lambda *a, **k: calls.append(a) or load(*a, **k))
    work = make_work(pipeline_path)
    empty = record_batches(["a"], 1)[0].slice(0, 0)
    assert list(annotate_batches(work, [])) == list(annotate_batches(work, [empty])) == []
    assert calls == []
    for _ in range(3):
        # each task unpickles it anew
        list(annotate_batches(pickle.loads(pickle.dumps(work)), record_batches(["a", "b"], 1)))
    assert len(calls) == 1


def annotate_one(work: Work) -> None:
    list(annotate_batches(work, record_batches(["a"], 1)))


def test_of_three_pipelines_the_one_not_used_for_longest_is_dropped(pipeline_path: Path) -> None:
    for name in ("tagger", "ner", "tagger", "parser"):
        kinds = AnnotatorSettings(("token",))
        names = ("token", "error")
        annotate_one(make_work(pipeline_path, disable=(name,), settings=kinds, names=names))
    assert [key[1] for key in worker._LOADED] == [("tagger",), ("parser",)]


def test_settings_share_a_pipeline_and_keep_their_limits(pipeline_path: Path) -> None:
    work = make_work(pipeline_path, settings=AnnotatorSettings(KINDS, max_length=2_000_000))
    first = worker.loaded(work)
    list(first.rows(["a"]))
    second = worker.loaded(make_work(pipeline_path))
    assert second.nlp is first.nlp
    assert (first.max_length, second.max_length) == (2_000_000, 1_000_000)


def test_what_travels_is_small(pipeline_path: Path) -> None:
    assert len(pickle.dumps(make_work(pipeline_path))) < 2000


def test_threads_are_those_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    in_task(monkeypatch, cpus=2)
    worker.limit_threads(worker.cpus_of_task())
    assert torch.get_num_threads() == 2
    assert os.environ["OMP_NUM_THREADS"] == os.environ["RAYON_NUM_THREADS"] == "2"
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
    monkeypatch.setattr(TaskContext, "get", classmethod(lambda cls: None))
    assert worker.cpus_of_task() == 1


def test_each_task_computes_on_the_device_that_spark_gives_it(
    pipeline_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int | str] = []
    load = spacy.load
    monkeypatch.setattr(spacy, "require_gpu", used.append)
    monkeypatch.setattr(spacy, "require_cpu", lambda: used.append("cpu"))
    monkeypatch.setattr(spacy, "load", lambda *a, **k: used.append("load") or load(*a, **k))
    for addresses in (["1"], ["0", "1"], ["1"], None, ["1"]):
        in_task(monkeypatch, gpus=addresses)
        annotate_one(make_work(pipeline_path, gpu=addresses is not None))
    assert used == [1, "load", 0, "load", 1, "cpu", "load", 1]


def test_a_task_without_a_gpu_returns_to_the_processor(pipeline_path: Path) -> None:
    ops = get_current_ops()
    set_current_ops(ops_of_an_earlier_task := NumpyOps())
    try:
        annotate_one(make_work(pipeline_path))
        assert get_current_ops() is not ops_of_an_earlier_task
    finally:
        set_current_ops(ops)


def test_a_task_limits_the_threads(pipeline_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = make_work(pipeline_path)
    for cpus in (2, 1):  # also with a pipeline from an earlier task
        torch.set_num_threads(7)
        in_task(monkeypatch, cpus=cpus)
        annotate_one(work)
        assert torch.get_num_threads() == cpus
        assert os.environ["OMP_NUM_THREADS"] == str(cpus)


def test_a_task_without_a_gpu_says_which_settings_are_missing(
    pipeline_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_task(monkeypatch)
    with pytest.raises(SparkError) as error:
        list(annotate_batches(make_work(pipeline_path, gpu=True), record_batches(["a"], 1)))
    assert str(error.value) == (
        "`gpu = True`, and Spark has given this task no GPU. Set `spark.executor.resource.gpu.amount`, "
        "`spark.task.resource.gpu.amount` and a discovery script, as in Spark's page on resource scheduling, or set "
        "`gpu = False`."
    )


def test_a_gpu_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        raise ValueError("No GPU devices detected.")

    monkeypatch.setattr(spacy, "require_gpu", refuse)
    with pytest.raises(SparkError) as error:
        worker.use_device("3")
    assert str(error.value) == (
        "Spark has given this task the GPU `3`, which cannot be used: No GPU devices detected. Install the extra for "
        "your CUDA (`cuda12x`, `cuda13x`) and torch with CUDA on the executors, or set `gpu = False`."
    )


def test_other_files_than_the_driver_s_are_refused(pipeline_path: Path, tmp_path: Path) -> None:
    shutil.copytree(pipeline_path, tmp_path / "pipeline")
    work = make_work(tmp_path / "pipeline")
    with (tmp_path / "pipeline" / "meta.json").open("a") as stream:
        stream.write(" ")
    with pytest.raises(SparkError, match="are not those that the driver has read"):
        list(annotate_batches(work, record_batches(["a"], 1)))
    shutil.rmtree(tmp_path / "pipeline")
    with pytest.raises(SparkError, match="does not exist on this executor"):
        list(annotate_batches(work, record_batches(["a"], 1)))


def test_a_package_that_an_executor_lacks_is_named(pipeline_path: Path) -> None:
    work = replace(make_work(pipeline_path), package="en_not_here", model="en_not_here")
    with pytest.raises(
        SparkError, match="`model = 'en_not_here'` is an installed package on the driver"
    ):
        list(annotate_batches(work, record_batches(["a"], 1)))
