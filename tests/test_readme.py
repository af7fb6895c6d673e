"""The README's code runs as it stands there."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.cli.init_config import fill_config
from spacy.tokens import DocBin, Span
from spacy.util import load_config

from .pipeline.helpers import make_nlp
from .spark.conftest import environment, need_spark

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf8")
PROJECT_README = (ROOT / "project" / "README.md").read_text("utf8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_python_example_runs_with_the_config_excerpt(tmp_path: Path) -> None:
    config, code = blocks("ini")[0], blocks("python")[1]
    (tmp_path / "config.cfg").write_text(config, "utf8")
    (tmp_path / "example.py").write_text(code, "utf8")
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "example.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "(4, 384)" in result.stdout
    assert "NNP" in result.stdout
    assert (tmp_path / "pipeline" / "shared_transformer" / "model" / "manifest.json").is_file()


def test_the_user_s_balancer_trains(tmp_path: Path) -> None:
    config, code = "\n".join(blocks("ini")[:1]), blocks("python")[0]
    config += '\n[components.shared_transformer.balancer]\n@balancers = "mine.Loudest.v1"\n'
    (tmp_path / "config.cfg").write_text(config, "utf8")
    example = blocks("python")[1].replace("range(20)", "range(2)")
    (tmp_path / "example.py").write_text(code + example, "utf8")
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "example.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "Loudest" in (tmp_path / "pipeline" / "shared_transformer" / "balancer.json").read_text()


@pytest.mark.slow
def test_the_spark_example_runs(tmp_path: Path, family_dir: Callable[[str], Path]) -> None:
    need_spark()
    make_nlp(family_dir("bert")).to_disk(tmp_path / "pipeline")
    code = blocks("python", PROJECT_README)[0] + "spark.stop()\n"
    (tmp_path / "example.py").write_text(code, "utf8")
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "example.py"]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment()
    )
    assert result.returncode == 0, result.stderr
    assert "|[Anna, likes, Riga, 😀, .]|" in result.stdout
    assert "|the text is null|" in result.stdout
    assert "names|" in result.stdout
    assert "Annotation(annotatorType='token', begin=0, end=3, result='Anna'" in result.stdout
    assert list((tmp_path / "annotator" / "stages").glob("*/model/config.cfg"))


def test_the_corpora_excerpt_is_read_by_the_debug_command(tmp_path: Path) -> None:
    (tmp_path / "config.cfg").write_text("\n".join(blocks("ini")), "utf8")
    nlp = spacy.blank("en")
    doc = nlp.make_doc("Anna likes Riga.")
    doc.set_ents([Span(doc, 0, 1, "PERSON")], default="outside")
    tagged = nlp.make_doc("So good.")
    tagged[0].tag_, tagged[1].tag_, tagged[2].tag_ = "RB", "JJ", "."
    tagged.cats = {"good": 1.0, "bad": 0.0}
    for name, docs in {"news": [doc], "mails": [tagged], "dev": [doc, tagged]}.items():
        DocBin(docs=docs).to_disk(tmp_path / f"{name}.spacy")
    srsly.write_jsonl(
        tmp_path / "reviews.jsonl", [{"text": "So good.", "cats": {"good": 1.0, "bad": 0.0}}]
    )
    command = [sys.executable, "-m", "spacy", "mtl", "debug", "config.cfg"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "ner in news: 1 labels: `PERSON`" in result.stdout, result.stdout + result.stderr
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_config_excerpt_can_be_filled_for_spacy_train(tmp_path: Path) -> None:
    config = blocks("ini")[0] + blocks("ini")[-1]
    (tmp_path / "config.cfg").write_text(config, "utf8")
    fill_config(tmp_path / "filled.cfg", tmp_path / "config.cfg", silent=True)
    filled = load_config(tmp_path / "filled.cfg")
    assert filled["components"]["shared_transformer"]["model"]["pooling"] == "mean"
    assert filled["components"]["shared_transformer"]["optimizer"]["weight_decay"] == 0.01
    assert filled["components"]["shared_transformer"]["balancer"]["weights"] is None


@pytest.mark.parametrize("command", [c for block in blocks("bash") for c in block.split("&&")])
def test_every_command_of_the_readme_is_run_by_ci(command: str) -> None:
    assert re.sub(r"^pip ", "pip ", command.strip()).split()[0] in ("pip", "python")
    script = (ROOT / ".ci" / "run").read_text("utf8").replace("--quiet ", "")
    assert command.strip() in script


@pytest.mark.parametrize("folder", [".", "project"])
def test_links_to_files_lead_somewhere(folder: str) -> None:
    text = (ROOT / folder / "README.md").read_text("utf8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    assert targets
    for target in targets:
        assert (ROOT / folder / target).exists(), target
