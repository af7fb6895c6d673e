"""The commands that start a training in several processes."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import spacy
from thinc.api import Config
from typer.testing import CliRunner

from spacy_mtl.train_distributed import app

from .helpers import heads, make_training, write_corpora

REPOSITORY = Path(__file__).parents[2]


def make(encoder: Path, folder: Path) -> tuple[Config, Path]:
    write_corpora(folder, {"tagger": ("tag",)}, n_docs=8)
    config = make_training(
        encoder, folder, heads(tagger="tagger"), training={"max_steps": 4, "eval_frequency": 2}
    )
    path = folder / "config.cfg"
    config.to_disk(path)
    return config, path


def environment() -> dict[str, str]:
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def torchrun(*arguments: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "spacy_mtl.train_distributed"]
    return [*command, *arguments]


def test_outside_of_torchrun_it_says_how_to_start(tmp_path: Path) -> None:
    (tmp_path / "config.cfg").touch()
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    result = CliRunner(env=dict.fromkeys(names)).invoke(app, [str(tmp_path / "config.cfg")])
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "it has no `RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`" in said
    assert "--nproc-per-node 2 -m spacy_mtl.train_distributed CONFIG`" in said


@pytest.mark.slow
def test_torchrun_trains_with_code_and_overrides(encoder_path: Path, tmp_path: Path) -> None:
    _, path = make(encoder_path, tmp_path)
    code = tmp_path / "code.py"
    code.write_text(f"from pathlib import Path\nPath({str(tmp_path)!r}, 'imported').touch()\n")
    output = tmp_path / "deep" / "out"
    arguments = [
        str(path),
        "--output",
        str(output),
        "--code",
        str(code),
        "--training.max_steps",
        "2",
    ]
    result = subprocess.run(
        torchrun(*arguments), env=environment(), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("Saved pipeline to output directory") == 1
    assert (tmp_path / "imported").exists()
    nlp = spacy.load(output / "model-last")
    assert nlp.get_pipe("shared_transformer").cfg["steps"] == 3  # type: ignore[attr-defined]
    assert nlp.config["training"]["logger"]["@loggers"] == "spacy.ConsoleLogger.v1"


@pytest.mark.slow
def test_torchrun_names_the_process_that_was_killed(encoder_path: Path, tmp_path: Path) -> None:
    """torchrun terminates the others as soon as it sees it."""
    _, path = make(encoder_path, tmp_path)
    arguments = [str(path), "--output", str(tmp_path / "out"), "--training.max_steps", "100000"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        run = subprocess.Popen(
            torchrun(*arguments), env=environment(), stdout=stream, stderr=stream
        )
        try:
            while not (tmp_path / "out" / "checkpoint").exists():
                time.sleep(0.2)
                assert run.poll() is None, log.read_text()
            found = subprocess.run(
                ["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True
            )
            victim = next(pid for pid in found.stdout.split() if rank_of(pid) == "1")
            os.kill(int(victim), 9)
            killed = time.monotonic()
            assert run.wait(timeout=60) != 0
            assert time.monotonic() - killed < 30.0
        finally:
            run.kill()
    said = " ".join(log.read_text().split())
    assert re.search(rf"Rank 0: Rank 1 \(process {victim} on `.+?`\) has died", said)


@pytest.mark.slow
def test_torchrun_starts_a_killed_training_again_where_it_was(
    encoder_path: Path, tmp_path: Path
) -> None:
    config, path = make(encoder_path, tmp_path)
    config["training"]["before_update"] = {"@callbacks": "spacy_mtl_tests.kill_once"}
    config.to_disk(path)
    code = tmp_path / "code.py"
    code.write_text(KILL_ONCE)
    output = tmp_path / "out"
    arguments = [str(path), "--output", str(output), "--code", str(code)]
    command = torchrun(*arguments)
    command[command.index("--standalone")] = "--max-restarts=1"
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "has died without a word" in result.stderr
    nlp = spacy.load(output / "model-last")
    assert nlp.get_pipe("shared_transformer").cfg["steps"] == 5  # type: ignore[attr-defined]
    assert (tmp_path / "steps").read_text().split() == ["0", "1", "2", "3", "0", "1", "2", "3", "4"]


KILL_ONCE = """
import os
import signal
from pathlib import Path

from spacy import registry


@registry.callbacks("spacy_mtl_tests.kill_once")
def make():
    def kill(nlp, args):
        if os.environ["RANK"] == "1":
            with (Path(__file__).parent / "steps").open("a") as stream:
                stream.write(f"{args['step']} ")
            if args["step"] == 3 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                os.kill(os.getpid(), signal.SIGKILL)

    return kill
"""


def rank_of(pid: str) -> str:
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(v.partition("=")[::2] for v in variables).get("RANK", "")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None,
    reason="needs pyspark and Java",
)
@pytest.mark.parametrize("local_mode", [True, False], ids=["on the driver", "in Spark's tasks"])
def test_spark_s_torch_distributor_trains(
    local_mode: bool, encoder_path: Path, tmp_path: Path
) -> None:
    """As the package's docstring says."""
    _, path = make(encoder_path, tmp_path)
    script = tmp_path / "script.py"
    script.write_text(
        f"""
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from spacy_mtl.distributed import train

SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
distributor = TorchDistributor(num_processes=2, local_mode={local_mode}, use_gpu=False)
print("LAST", distributor.run(train, {str(path)!r}, {str(tmp_path / "out")!r}))
"""
    )
    variables = {**environment(), "PYSPARK_PYTHON": sys.executable}
    result = subprocess.run(
        [sys.executable, str(script)], env=variables, capture_output=True, text=True, timeout=400
    )
    last = tmp_path / "out" / "model-last"
    assert f"LAST {last}" in result.stdout, result.stdout + result.stderr
    assert spacy.load(last).pipe_names == ["shared_transformer", "tagger"]
