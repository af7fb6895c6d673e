"""An encoder on disk loads back as it was, here and in Hugging Face."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load as load_safetensors

from spacy_mtl.encoder.checkpoint import (
    from_files,
    make_manifest,
    read_folder,
    read_weights,
    to_files,
    weights_to_bytes,
    write_folder,
)
from spacy_mtl.encoder.huggingface import HuggingFaceEncoder, load_pretrained
from spacy_mtl.errors import CheckpointError, ConfigError

from ..families import FAMILIES, make_encoder

TEXT = "The quick brown fox doesn't mind: naïve café, 東京 😀!"


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def encoder(family: str, family_dir: Callable[[str], Path]) -> HuggingFaceEncoder:
    return load_pretrained(str(family_dir(family)), transformer_config={}, tokenizer_config={})


def load(path: Path) -> HuggingFaceEncoder:
    return load_pretrained(str(path), transformer_config={}, tokenizer_config={})


def resealed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with a manifest that fits them."""
    files = {name: content for name, content in files.items() if name != "manifest.json"}
    return files | {"manifest.json": make_manifest(files)}


def outputs(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        hidden: torch.Tensor = model(input_ids=torch.tensor([ids])).last_hidden_state
    return hidden


def assert_same_encoder(a: HuggingFaceEncoder, b: HuggingFaceEncoder) -> None:
    """Exactly: same class, config, weights, ids and outputs."""
    assert type(a.model) is type(b.model)
    assert a.affixes == b.affixes
    assert (a.width, a.max_window) == (b.width, b.max_window)
    assert a.tokenizer_files == b.tokenizer_files
    assert a.tokenizer.to_str() == b.tokenizer.to_str()
    theirs = b.model.state_dict()
    for name, tensor in a.model.state_dict().items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name]), name
    ids = a.tokenizer.encode(TEXT).ids
    assert torch.equal(outputs(a.model.eval(), ids), outputs(b.model.eval(), ids))


def test_an_encoder_comes_back_exactly_from_its_files(encoder: HuggingFaceEncoder) -> None:
    files = to_files(encoder)
    loaded = from_files(files)
    assert_same_encoder(encoder, loaded)
    assert not loaded.model.training
    assert all(p.requires_grad for p in loaded.model.parameters())
    assert to_files(loaded) == files


def test_an_encoder_comes_back_exactly_from_a_folder(
    encoder: HuggingFaceEncoder, tmp_path: Path
) -> None:
    write_folder(to_files(encoder), tmp_path / "a" / "model")
    assert_same_encoder(encoder, from_files(read_folder(tmp_path / "a" / "model")))


def test_changed_weights_are_what_is_saved(encoder: HuggingFaceEncoder) -> None:
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert_same_encoder(encoder, from_files(to_files(encoder)))


@pytest.mark.parametrize(("storage", "error"), [("bf16", 2**-8), ("fp16", 2**-11)])
def test_weights_stored_in_half_precision_come_back_as_fp32_and_close(
    encoder: HuggingFaceEncoder, storage: str, error: float
) -> None:
    full, half = to_files(encoder), to_files(encoder, storage=storage)
    assert 0.45 < len(half["model.safetensors"]) / len(full["model.safetensors"]) < 0.65
    loaded = from_files(half)
    own = encoder.model.state_dict()
    for name, tensor in loaded.model.state_dict().items():
        assert tensor.dtype == own[name].dtype
        torch.testing.assert_close(tensor, own[name], rtol=error, atol=1e-7)
    ids = encoder.tokenizer.encode(TEXT).ids
    torch.testing.assert_close(
        outputs(loaded.model, ids), outputs(encoder.model, ids), rtol=0.1, atol=0.05
    )


def test_an_unknown_storage_is_refused_with_the_choices(family_dir: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"`storage = 'int8'`.*`fp32`, `bf16`, `fp16`"):
        to_files(load(family_dir("bert")), storage="int8")


def test_tied_weights_are_written_once_and_tied_again(family_dir: Callable[[str], Path]) -> None:
    encoder = load(family_dir("t5"))
    stored = load_safetensors(to_files(encoder)["model.safetensors"])
    assert len({"shared.weight", "encoder.embed_tokens.weight"} & set(stored)) == 1
    model = from_files(to_files(encoder)).model
    table = model.shared.weight
    assert model.encoder.embed_tokens.weight is table
    assert torch.equal(table, encoder.model.shared.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_in_half_precision_becomes_an_fp32_encoder(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    original = transformers.AutoModel.from_pretrained(make_encoder("bert", tmp_path / "full"))
    make_encoder("bert", tmp_path / "half")
    original.to(dtype).save_pretrained(tmp_path / "half")
    encoder = load(tmp_path / "half")
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32}
    write_folder(to_files(encoder), tmp_path / "saved")
    assert_same_encoder(encoder, from_files(read_folder(tmp_path / "saved")))
    again = transformers.AutoModel.from_pretrained(tmp_path / "saved")
    assert {p.dtype for p in again.parameters()} == {torch.float32}


def test_hugging_face_loads_the_folder_with_the_same_ids_and_outputs(
    family: str, encoder: HuggingFaceEncoder, tmp_path: Path
) -> None:
    write_folder(to_files(encoder), tmp_path)
    auto = transformers.T5EncoderModel if family == "t5" else transformers.AutoModel
    model = auto.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = encoder.tokenizer.encode(TEXT).ids
    assert tokenizer(TEXT)["input_ids"] == ids
    assert tokenizer.pad_token_id == encoder.affixes.pad_id
    assert tokenizer.decode(ids) == encoder.tokenizer.decode(ids, skip_special_tokens=False)
    torch.testing.assert_close(outputs(model, ids), outputs(encoder.model.eval(), ids))


def test_its_ids_are_those_of_the_original_tokenizer(
    family: str, encoder: HuggingFaceEncoder, family_dir: Callable[[str], Path]
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(family_dir(family))
    assert encoder.tokenizer.encode(TEXT).ids == tokenizer(TEXT)["input_ids"]
    assert from_files(to_files(encoder)).tokenizer.encode(TEXT).ids == tokenizer(TEXT)["input_ids"]


def test_no_file_tells_where_it_was_written(
    encoder: HuggingFaceEncoder, family: str, family_dir: Callable[[str], Path]
) -> None:
    folder = str(family_dir(family)).encode()
    for name, content in to_files(encoder).items():
        assert folder not in content, name
        assert b"_name_or_path" not in content, name


def test_a_second_save_removes_only_what_the_first_one_wrote(
    family_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    files = to_files(load(family_dir("bert")))
    write_folder(resealed({**files, "old.json": b"{}"}), tmp_path)
    assert (tmp_path / "old.json").is_file()
    (tmp_path / "mine.txt").write_text("notes")
    write_folder(files, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*files, "mine.txt"}


def test_tensors_come_back_from_bytes_whatever_their_layout() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"plain": base.clone(), "transposed": base.clone().T, "part": base.clone()[:, 1:3]}
    tensors |= {"empty": torch.zeros(0, 4), "empty too": torch.zeros(0), "scalar": torch.tensor(3)}
    loaded = read_weights(weights_to_bytes(tensors), file="x")
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("change", ["drop", "rename", "reshape"])
def test_weights_that_do_not_fit_the_config_are_named(
    family_dir: Callable[[str], Path], change: str
) -> None:
    files = to_files(load(family_dir("bert")))
    name = "encoder.layer.0.output.dense.bias"
    weights = load_safetensors(files["model.safetensors"])
    tensor = weights.pop(name)
    if change != "drop":
        weights[name if change == "reshape" else "stranger"] = tensor[:-1]
    files["model.safetensors"] = weights_to_bytes(weights)
    with pytest.raises(CheckpointError) as caught:
        from_files(resealed(files), where="here/")
    assert "`here/model.safetensors`" in str(caught.value)
    assert ("stranger" if change == "rename" else name) in str(caught.value)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_mapped_weights_are_those_of_the_file_and_no_copy(tmp_path: Path) -> None:
    encoder = load_pretrained_tiny(tmp_path / "source")
    write_folder(to_files(encoder), tmp_path / "saved")
    files = read_folder(tmp_path / "saved", mapped=True)
    assert files["model.safetensors"] == tmp_path / "saved" / "model.safetensors"
    loaded = from_files(files)
    assert_same_encoder(encoder, loaded)
    path = tmp_path / "saved" / "model.safetensors"
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    mapped = [line[0].split("-") for line in maps if line[-1] == str(path)]
    ranges = [range(int(start, 16), int(stop, 16)) for start, stop in mapped]
    assert all(any(p.data_ptr() in r for r in ranges) for p in loaded.model.parameters())


def test_a_mapped_encoder_survives_its_file_being_replaced_and_its_own_training(
    tmp_path: Path,
) -> None:
    encoder = load_pretrained_tiny(tmp_path / "source")
    write_folder(to_files(encoder), tmp_path / "saved")
    loaded = from_files(read_folder(tmp_path / "saved", mapped=True))
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.zero_()
    write_folder(to_files(encoder), tmp_path / "saved")  # shorter than the file before, or not
    original = load_pretrained_tiny(tmp_path / "source")
    assert_same_encoder(original, loaded)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.add_(1.0)
    write_folder(to_files(loaded), tmp_path / "saved")
    again = from_files(read_folder(tmp_path / "saved", mapped=True))
    assert_same_encoder(loaded, again)
    assert not list((tmp_path / "saved").glob("*.unfinished"))


def load_pretrained_tiny(path: Path) -> HuggingFaceEncoder:
    if not path.exists():
        make_encoder("bert", path)
    return load_pretrained(str(path), transformer_config={}, tokenizer_config={})
