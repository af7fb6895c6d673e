"""A trained pipeline's wheel works in a fresh environment with what it declares, without a network."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import spacy
from spacy.cli import package
from spacy.training import Example
from spacy.util import load_model_from_config
from thinc.api import Config

from ..families import make_encoder

# `spacy package` leaves the files that it writes for the garbage collector to close.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ROOT = Path(__file__).parents[2]
TEXTS = ["Anna likes Riga .", "", "  two  spaces \n", "It broke on day 2 😀 , and nobody cared ."]
CONFIG = """
[nlp]
lang = "en"
pipeline = ["shared_transformer","tagger","textcat"]

[components]

[components.shared_transformer]
factory = "shared_transformer"

[components.shared_transformer.model]
@architectures = "spacy_mtl.TransformerEncoder.v1"
name = "ENCODER"
precision = "fp32"

[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "spacy.Tagger.v2"

[components.tagger.model.tok2vec]
@architectures = "spacy_mtl.SharedTransformerListener.v1"

[components.textcat]
factory = "masked_textcat"

[components.textcat.model]
@architectures = "spacy.TextCatReduce.v1"
exclusive_classes = true
use_reduce_first = false
use_reduce_last = false
use_reduce_max = false
use_reduce_mean = true

[components.textcat.model.tok2vec]
@architectures = "spacy_mtl.SharedTransformerListener.v1"
"""
CHILD = """
import json, socket, sys, warnings

def refuse(*args, **kwargs):
    raise AssertionError(f"the network was used: {args}")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import spacy
nlp = spacy.load("en_tiny_mtl")
docs = list(nlp.pipe(json.loads(sys.argv[1])))
print(json.dumps([[[t.tag_ for t in d], d.cats, d.tensor.tolist()] for d in docs]))
"""


def make_pipeline(encoder: Path) -> spacy.Language:
    config = Config().from_str(CONFIG.replace("ENCODER", str(encoder)))
    nlp = load_model_from_config(config, auto_fill=True)
    values = {"tags": ["N", "V", "N", "."], "cats": {"good": 1.0, "bad": 0.0}}
    examples = [Example.from_dict(nlp.make_doc(TEXTS[0]), values)]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(3):
        nlp.update(examples, sgd=optimizer)
    return nlp


def test_the_package_requires_this_one_without_an_upper_limit(tmp_path: Path) -> None:
    nlp = make_pipeline(make_encoder("bert", tmp_path / "encoder"))
    nlp.to_disk(tmp_path / "model")
    package(
        tmp_path / "model",
        tmp_path,
        name="tiny_mtl",
        version="0.0.1",
        create_sdist=False,
        silent=True,
    )
    meta = json.loads((tmp_path / "en_tiny_mtl-0.0.1" / "meta.json").read_text("utf8"))
    assert meta["requirements"] == ["spacy-mtl>=0.1.0"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_wheel_predicts_the_same_in_a_fresh_environment(tmp_path: Path) -> None:
    nlp = make_pipeline(make_encoder("bert", tmp_path / "encoder"))
    nlp.to_disk(tmp_path / "model")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    package(
        tmp_path / "model", wheels, name="tiny_mtl", version="0.0.1", create_sdist=False,
        create_wheel=True, silent=True,
    )  # fmt: skip
    [wheel] = wheels.glob("*/dist/*.whl")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(wheels),
    ]
    subprocess.run([*build, str(ROOT)], check=True)
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--find-links", str(wheels)]
    subprocess.run([*install, str(wheel)], check=True)
    child = tmp_path / "child.py"
    child.write_text(CHILD, "utf8")
    result = subprocess.run(
        [str(python), str(child), json.dumps(TEXTS)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    docs = list(nlp.pipe(TEXTS))
    assert [f[0] for f in found] == [[t.tag_ for t in d] for d in docs]
    for (_, cats, tensor), doc in zip(found, docs, strict=True):
        assert cats == pytest.approx(doc.cats, abs=1e-6)
        assert len(tensor) == len(doc)
        assert all(
            row == pytest.approx(own, abs=1e-5)
            for row, own in zip(tensor, doc.tensor.tolist(), strict=True)
        )
