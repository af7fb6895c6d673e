"""Every parameter of every family has a depth, and freezing goes by it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.encoder.layers import checkpoint_layers, depths, find_layers, freeze
from spacy_mtl.errors import ConfigError

from ..families import FAMILIES

N_LAYERS = dict.fromkeys(FAMILIES, 2) | {"minilm": 3, "modernbert": 3}
LAYERS_ARE_CALLED = dict.fromkeys(FAMILIES, "encoder.layer.") | {
    "distilbert": "transformer.layer.",
    "modernbert": "layers.",
    "t5": "encoder.block.",
}
# what is neither an embedding nor inside a layer
AROUND_THE_LAYERS = {
    "deberta-v2": ("encoder.rel_embeddings", "encoder.LayerNorm", "encoder.conv"),
    "deberta-v3": ("encoder.rel_embeddings", "encoder.LayerNorm"),
    "modernbert": ("final_norm",),
    "t5": ("encoder.final_layer_norm",),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def model(family: str, family_dir: Callable[[str], Path]) -> PreTrainedModel:
    path = str(family_dir(family))
    return load_pretrained(path, transformer_config={}, tokenizer_config={}).model


@pytest.fixture
def bert(family_dir: Callable[[str], Path]) -> PreTrainedModel:
    path = str(family_dir("bert"))
    return load_pretrained(path, transformer_config={}, tokenizer_config={}).model


def expected_depth(family: str, name: str) -> int:
    """The depth that the parameter's name tells."""
    prefix = LAYERS_ARE_CALLED[family]
    if name.startswith(prefix):
        return 1 + int(name.removeprefix(prefix).split(".")[0])
    if name.startswith(AROUND_THE_LAYERS.get(family, ())):
        return N_LAYERS[family] + 1
    assert "embed" in name or name == "shared.weight"
    return 0


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_the_stack_of_layers_is_found(family: str, model: PreTrainedModel) -> None:
    layers = find_layers(model)
    assert len(layers) == N_LAYERS[family]
    names = {id(module): name for name, module in model.named_modules()}
    assert names[id(layers)] == LAYERS_ARE_CALLED[family].removesuffix(".")


def test_depths_rise_from_embeddings_through_the_layers(
    family: str, model: PreTrainedModel
) -> None:
    found = depths(model)
    assert list(found) == [name for name, _ in model.named_parameters()]
    assert found == {name: expected_depth(family, name) for name in found}
    assert set(range(N_LAYERS[family] + 1)) <= set(found.values())


def test_a_model_without_a_stack_of_layers_is_named() -> None:
    class Flat(nn.Module):
        config = None

    with pytest.raises(ValueError, match="`Flat` has no list of None layers"):
        find_layers(Flat())


@pytest.mark.parametrize("embeddings", [False, True])
def test_freezing_n_layers_freezes_the_lowest_n(
    family: str, model: PreTrainedModel, embeddings: bool
) -> None:
    depth = depths(model)
    for n in range(N_LAYERS[family] + 1):
        freeze(model, layers=n, embeddings=embeddings)
        frozen = range(0 if embeddings else 1, n + 1)
        assert trained(model) == {name for name in depth if depth[name] not in frozen}


@pytest.mark.parametrize("embeddings", [False, True])
def test_freezing_all_freezes_all(model: PreTrainedModel, embeddings: bool) -> None:
    freeze(model, layers="all", embeddings=embeddings)
    assert trained(model) == set()


def test_freezing_again_replaces_what_was_frozen(model: PreTrainedModel) -> None:
    freeze(model, layers="all", embeddings=True)
    freeze(model, layers=0, embeddings=False)
    assert trained(model) == {name for name, _ in model.named_parameters()}


def test_frozen_parameters_get_no_gradient_and_the_others_do(
    family: str, model: PreTrainedModel
) -> None:
    freeze(model, layers=1, embeddings=True)
    output = model(input_ids=torch.tensor([[5, 6, 7, 8]])).last_hidden_state
    output.square().sum().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == trained(model) != set()


@pytest.mark.parametrize("layers", [3, -1, 1.0, True, "two", "2", None])
def test_a_number_of_layers_that_is_not_there_is_refused(
    bert: PreTrainedModel, layers: int | str
) -> None:
    with pytest.raises(ConfigError) as caught:
        freeze(bert, layers=layers, embeddings=False)
    message = str(caught.value)
    assert f"`model.freeze_layers = {layers!r}`" in message
    assert "`all`" in message
    assert "0 to 2" in message
    assert len(trained(bert)) == len(list(bert.parameters()))


def test_checkpointed_layers_are_computed_again_on_the_way_back(model: PreTrainedModel) -> None:
    runs: list[str] = []
    linear = next(m for m in find_layers(model)[0].modules() if isinstance(m, nn.Linear))
    linear.register_forward_pre_hook(lambda *_: runs.append("run"))
    checkpoint_layers(model)
    model.train()
    output = model(input_ids=torch.tensor([[5, 6, 7, 8]])).last_hidden_state
    once = len(runs)
    output.sum().backward()
    assert len(runs) == 2 * once > 0


def test_checkpointed_layers_keep_a_frozen_encoder_frozen(model: PreTrainedModel) -> None:
    freeze(model, layers="all", embeddings=False)
    checkpoint_layers(model)
    model.train()
    output = model(input_ids=torch.tensor([[5, 6, 7, 8]])).last_hidden_state
    assert not output.requires_grad


def test_checkpointed_layers_predict_in_inference_mode(model: PreTrainedModel) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        before = model(input_ids=ids).last_hidden_state
        checkpoint_layers(model)
        assert torch.equal(model(input_ids=ids).last_hidden_state, before)
