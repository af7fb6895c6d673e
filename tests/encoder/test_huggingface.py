"""Encoders of every family are loaded with the windows that they can read."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from spacy_mtl.encoder.checkpoint import from_files, to_files
from spacy_mtl.encoder.huggingface import HuggingFaceEncoder, check_window, load_pretrained
from spacy_mtl.errors import ConfigError

from ..families import FAMILIES, MAX_POSITIONS, make_encoder


def load(name: str | Path, **settings: Any) -> HuggingFaceEncoder:
    return load_pretrained(
        str(name), **({"transformer_config": {}, "tokenizer_config": {}} | settings)
    )


@pytest.fixture
def folder(family_dir: Callable[[str], Path], tmp_path: Path) -> Path:
    """A BERT of one's own, to be damaged."""
    return Path(shutil.copytree(family_dir("bert"), tmp_path / "model"))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_for_fp32_with_the_window_that_it_can_read(
    family: str, family_dir: Callable[[str], Path]
) -> None:
    encoder = load(family_dir(family))
    assert encoder.width == 32
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32}
    n_special = len(encoder.affixes)
    assert encoder.max_window == (None if family == "t5" else MAX_POSITIONS - n_special)
    assert encoder.affixes.pad_id == encoder.model.config.pad_token_id
    assert not any("pooler" in name for name, _ in encoder.model.named_parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_longest_window_fits(family: str, family_dir: Callable[[str], Path]) -> None:
    encoder = load(family_dir(family))
    length = (encoder.max_window or 200) + len(encoder.affixes)
    with torch.inference_mode():
        output = encoder.model(input_ids=torch.full((1, length), 7)).last_hidden_state
    assert output.shape == (1, length, 32)
    assert bool(torch.isfinite(output).all())


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "electra", "distilbert"])
def test_a_longer_one_would_not(family: str, family_dir: Callable[[str], Path]) -> None:
    encoder = load(family_dir(family))
    length = (encoder.max_window or 0) + len(encoder.affixes) + 1
    with pytest.raises((IndexError, RuntimeError)), torch.inference_mode():
        encoder.model(input_ids=torch.full((1, length), 7))


@pytest.mark.parametrize(("family", "saved_as"), [("t5", "T5Model"), ("bert", "BertForMaskedLM")])
def test_the_encoder_is_taken_out_of_a_larger_model(
    tmp_path: Path, family: str, saved_as: str
) -> None:
    make_encoder(family, tmp_path, architectures=[saved_as])
    whole = getattr(transformers, saved_as).from_pretrained(tmp_path)
    expected = (whole.encoder if family == "t5" else whole.bert).state_dict()
    own = load(tmp_path).model
    own = own.encoder if family == "t5" else own
    for name, tensor in own.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_settings_replace_those_of_the_config(family_dir: Callable[[str], Path]) -> None:
    settings = {"hidden_dropout_prob": 0.37, "attn_implementation": "eager"}
    model = load(family_dir("bert"), transformer_config=settings).model
    assert model.embeddings.dropout.p == 0.37
    assert model.config._attn_implementation == "eager"
    assert settings == {"hidden_dropout_prob": 0.37, "attn_implementation": "eager"}


def test_a_tokenizer_that_truncates_and_pads_is_told_not_to(folder: Path) -> None:
    plain = load(folder).tokenizer
    limited = Tokenizer.from_file(str(folder / "tokenizer.json"))
    limited.enable_truncation(8)  # as sentence-transformers publishes them
    limited.enable_padding(length=8)
    limited.save(str(folder / "tokenizer.json"))
    encoder = load(folder)
    for loaded in (encoder, from_files(to_files(encoder))):
        for text in ("", "Hello world", "Hello world " * 300):
            assert loaded.tokenizer.encode(text).ids == plain.encode(text).ids
        assert loaded.affixes == encoder.affixes


def test_a_folder_inside_a_package_is_found_without_importing_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "bert_in_a_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    shutil.copytree(folder, package / "data" / "model")
    monkeypatch.syspath_prepend(tmp_path)
    assert load("package:bert_in_a_package/data/model").width == 32
    assert "bert_in_a_package" not in sys.modules


def test_the_global_random_state_and_the_verbosity_are_left_alone(
    family_dir: Callable[[str], Path],
) -> None:
    log = transformers.utils.logging
    before = torch.get_rng_state(), log.get_verbosity(), log.is_progress_bar_enabled()
    load(family_dir("bert"))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == before[1:]


@pytest.mark.parametrize(
    ("window", "stride", "limit", "expected"),
    [
        (None, None, None, (256, 240)),
        (None, None, 510, (256, 240)),
        (None, None, 126, (126, 111)),
        (None, 100, 126, (126, 100)),
        (510, None, 510, (510, 494)),
        (1000, None, None, (1000, 984)),
        (1, None, None, (1, 1)),
        (7, None, 7, (7, 7)),
        (8, 8, 8, (8, 8)),
        (8, 1, 8, (8, 1)),
    ],
)
def test_windows_and_strides_have_defaults(
    window: int | None, stride: int | None, limit: int | None, expected: tuple[int, int]
) -> None:
    assert check_window(window, stride, limit=limit) == expected


@pytest.mark.parametrize(
    ("window", "limit", "need"),
    [
        (0, None, "at least 1"),
        (-3, 8, "at least 1"),
        (9, 8, "at most 8"),
        (1024, 510, "at most 510"),
    ],
)
def test_a_window_that_cannot_be_read_is_refused(window: int, limit: int | None, need: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_window(window, None, limit=limit)
    assert f"`model.window = {window}`" in str(caught.value)
    assert need in str(caught.value)


@pytest.mark.parametrize(("window", "stride"), [(8, 0), (8, -1), (8, 9), (None, 257)])
def test_a_stride_that_would_leave_gaps_is_refused(window: int | None, stride: int) -> None:
    with pytest.raises(ConfigError) as caught:
        check_window(window, stride, limit=None)
    assert f"`model.stride = {stride}`" in str(caught.value)
    assert f"from 1 to the window, {window or 256}" in str(caught.value)
