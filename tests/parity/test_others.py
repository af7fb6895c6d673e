"""Encoders beyond the families that are tested in full: each thing that one of them does in a way of its own."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from spacy_mtl.encoder.huggingface import HuggingFaceEncoder
from spacy_mtl.encoder.layers import checkpoint_layers, depths, freeze
from spacy_mtl.encoder.transformer import encode_layers
from spacy_mtl.errors import ConfigError

from ..pipeline.helpers import make_nlp, shared, train, weights
from .reference import assert_close, assert_close_gradients, gradients, load_ours, prepare

SMALL = {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"intermediate_size": 64, "max_position_embeddings": 128},
    **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}
OTHERS: dict[str, dict[str, Any]] = {
    "convbert": {**SMALL, "embedding_size": 32},
    "fnet": SMALL,
    "funnel": {
        **{"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [1, 1]},
        **{"num_decoder_layers": 1, "hidden_dropout": 0.0, "attention_dropout": 0.0},
        "architectures": ["FunnelModel"],
    },
    "mobilebert": {**SMALL, "embedding_size": 32, "intra_bottleneck_size": 32},
    "nystromformer": SMALL,
    "yoso": SMALL,
}
TEXTS = (
    "Apple is looking at buying a U.K. startup for $1 billion.",
    "The quick brown fox doesn't mind the lazy dog!",
    "Hello world",
    "The rain in Spain",
    "Hello Berlin",
)
MakeOther = Callable[..., Path]


@pytest.fixture
def make_other(family_dir: Callable[[str], Path], tmp_path: Path) -> MakeOther:
    """A tiny random encoder of any type, with BERT's or another family's tokenizer."""

    def make(
        model_type: str, *, tokenizer: str = "bert", dtype: Any = torch.float32, **settings: Any
    ) -> Path:
        path = tmp_path / model_type
        path.mkdir()
        for file in family_dir(tokenizer).iterdir():
            if file.name not in ("config.json", "model.safetensors"):
                shutil.copy(file, path)
        its = AutoConfig.from_pretrained(family_dir(tokenizer))
        ids = {"vocab_size": its.vocab_size, "pad_token_id": its.pad_token_id}
        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model(model_type, **ids, **settings))
        model.to(dtype).save_pretrained(path)
        return path

    return make


def encode(encoder: HuggingFaceEncoder, *texts: str) -> Tensor:
    inputs = prepare(encoder, texts).inputs
    return encode_layers(encoder.model, inputs, pooling="mean", dtype=torch.float32, every=False)[
        -1
    ]


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")  # Funnel, in transformers 4
def test_the_others_are_read_alone_as_they_are_beside_others(make_other: MakeOther) -> None:
    for model_type, settings in OTHERS.items():
        encoder = load_ours(make_other(model_type, **settings))
        freeze(encoder.model, layers=0, embeddings=False)
        together = encode(encoder, *TEXTS)
        alone = torch.cat([encode(encoder, text) for text in TEXTS])
        assert_close(together, alone.detach(), tolerance=1e-5)
        found, expected = (gradients(encoder.model, Y) for Y in (together, alone))
        assert_close_gradients(found, expected, tolerance=1e-4)


TYPED = {
    "xlnet": (
        {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "dropout": 0.0},
        "$A:0 [SEP]:0 [CLS]:2",
    ),
    "xlnet, all of a type": (
        {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "dropout": 0.0},
        "$A:0 [SEP]:0",
    ),
    "bert": ({**SMALL, "type_vocab_size": 3}, "[CLS]:2 $A:1 [SEP]:0"),
}


@pytest.mark.parametrize("case", TYPED)
def test_token_types_are_those_of_the_tokenizer(
    make_other: MakeOther, tmp_path: Path, case: str
) -> None:
    """XLNet's last special token is of another type than a text's wordpieces."""
    settings, template = TYPED[case]
    path = make_other(case.split(",")[0], **settings)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    special = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=special)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    theirs, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("seg_embed", "r_s_bias", "token_type_embeddings.weight")):
            torch.nn.init.normal_(parameter)  # they begin with next to nothing
    model.save_pretrained(path)
    nlp = make_nlp(path, ["tagger"])
    nlp.to_disk(tmp_path / "saved")
    for made in (nlp, spacy.load(tmp_path / "saved")):
        docs = list(made.pipe(TEXTS))  # of several lengths, in one call
        for doc in docs:
            given = theirs(
                doc.text,
                return_tensors="pt",
                return_offsets_mapping=True,
                return_token_type_ids=True,
            )
            offsets = given.pop("offset_mapping")[0].tolist()
            with torch.no_grad():
                hidden = model(**given).last_hidden_state[0]
            first = [i for i, (_, stop) in enumerate(offsets) if 0 < stop <= len(doc[0])]
            np.testing.assert_allclose(doc.tensor[0], hidden[first].mean(dim=0), atol=1e-5)
    served = shared(nlp).model.begin_update([nlp.make_doc(text) for text in TEXTS])[0]
    for doc, vectors in zip(docs, served, strict=True):
        np.testing.assert_allclose(vectors, doc.tensor, atol=1e-5)


def test_special_tokens_in_a_text_may_be_split(
    family_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    """Then a text cannot pass for two, whoever wrote it."""
    text, path = "a [SEP] b", family_dir("bert")
    nlp = make_nlp(path, ["tagger"], model={"tokenizer_config": {"split_special_tokens": True}})
    nlp.to_disk(tmp_path / "saved")
    expected = AutoTokenizer.from_pretrained(path, split_special_tokens=True)(text)["input_ids"]
    for made in (nlp, spacy.load(tmp_path / "saved")):
        tokenizer = shared(made).shim.require().tokenizer
        assert tokenizer.encode(text).ids == expected
    assert shared(make_nlp(path, ["tagger"])).shim.require().tokenizer.encode(text).ids != expected


def test_layers_that_share_their_weights_are_trained_and_saved(
    make_other: MakeOther, tmp_path: Path
) -> None:
    path = make_other("albert", **SMALL, embedding_size=16)
    nlp = make_nlp(path, ["tagger"])
    before = weights(nlp)
    train(nlp, 2)
    after = weights(nlp)
    assert all(not np.array_equal(before[n], after[n]) for n in after if "albert_layers" in n)
    nlp.to_disk(tmp_path / "saved")
    vectors = nlp("Anna Smith likes Riga").tensor
    np.testing.assert_array_equal(
        spacy.load(tmp_path / "saved")("Anna Smith likes Riga").tensor, vectors
    )
    model = shared(nlp).shim.require().model
    freeze(model, layers=0, embeddings=True)
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == {
        n for n in before if n.startswith("embeddings.")
    }
    freeze(model, layers="all", embeddings=False)
    assert not any(p.requires_grad for p in model.parameters())
    with pytest.raises(ConfigError, match=r"AlbertModel` has no list of 2 layers.*freeze_layers"):
        freeze(model, layers=1, embeddings=False)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_the_text_of_padding_stands_where_hugging_face_puts_it(
    family_dir: Callable[[str], Path], family: str
) -> None:
    texts = ("Hello <pad> world is here", "<pad>", "Hello world", "one <pad><pad> two <pad>")
    flat = load_ours(family_dir(family))
    padded = load_ours(family_dir(family), attn_implementation="eager")
    found, expected = (encode(encoder, *texts).detach() for encoder in (flat, padded))
    assert_close(found, expected, tolerance=1e-5)
    assert_close(torch.cat([encode(flat, t).detach() for t in texts]), expected, tolerance=1e-5)


@pytest.mark.parametrize(
    ("model_type", "settings", "frozen"),
    [
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}, ("wte.", "wpe.")),
        ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}, ("word_embedding.",)),
        (
            "xlm",
            {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 128},
            ("embeddings.", "position_embeddings."),
        ),
    ],
)
def test_embeddings_by_any_name_are_frozen(
    make_other: MakeOther, model_type: str, settings: dict[str, Any], frozen: tuple[str, ...]
) -> None:
    model = load_ours(make_other(model_type, **settings)).model
    freeze(model, layers=0, embeddings=True)
    names = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert names == {n for n, _ in model.named_parameters() if n.startswith(frozen)} != set()


@pytest.mark.parametrize(
    ("model_type", "settings", "table"),
    [
        ("roformer", SMALL, "encoder.embed_positions.weight"),
        (
            "distilbert",
            {"dim": 32, "n_layers": 2, "n_heads": 4, "sinusoidal_pos_embds": True},
            "embeddings.position_embeddings.weight",
        ),
        (
            "xlm",
            {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "sinusoidal_embeddings": True},
            "position_embeddings.weight",
        ),
    ],
)
def test_positions_that_are_sines_are_not_trained(
    make_other: MakeOther, model_type: str, settings: dict[str, Any], table: str
) -> None:
    nlp = make_nlp(make_other(model_type, **settings), ["tagger"])
    before = weights(nlp)
    train(nlp, 2)
    same = {name for name, value in weights(nlp).items() if np.array_equal(value, before[name])}
    assert table in same
    assert len(same) < len(before) // 2


def test_a_layer_that_is_in_several_lists_is_frozen_as_a_whole(make_other: MakeOther) -> None:
    settings = {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 128}
    model = load_ours(make_other("xlm", **settings)).model
    freeze(model, layers=1, embeddings=False)
    lists = ("attentions", "layer_norm1", "ffns", "layer_norm2")
    names = {n for n, p in model.named_parameters() if not p.requires_grad}
    lowest = tuple(f"{part}.0." for part in lists)
    assert names == {n for n, _ in model.named_parameters() if n.startswith(lowest)}
    assert {n.split(".")[0] for n in names} == set(lists)
    assert set(depths(model).values()) == {0, 1, 2, 3}


def test_a_checkpoint_in_bf16_is_read_as_it_is_once_saved(
    make_other: MakeOther, tmp_path: Path
) -> None:
    settings = {**SMALL, "hidden_size": 40, "num_key_value_heads": 2, "head_dim": 8}
    path = make_other("gemma3_text", dtype=torch.bfloat16, **settings)
    nlp = make_nlp(path, ["tagger"], model={"precision": "fp32"})
    nlp.to_disk(tmp_path / "saved")
    again = spacy.load(tmp_path / "saved")
    text = "Anna Smith likes Riga"
    np.testing.assert_array_equal(nlp(text).tensor, again(text).tensor)


def test_pruned_heads_stay_pruned(make_other: MakeOther, tmp_path: Path) -> None:
    nlp = make_nlp(make_other("bert", **SMALL), ["tagger"], model={"precision": "fp32"})
    model: Any = shared(nlp).shim.require().model
    if not hasattr(model, "prune_heads"):
        pytest.skip("transformers 5 prunes no heads")
    model.prune_heads({0: [1], 1: [0, 3]})
    nlp.to_disk(tmp_path / "saved")
    again = spacy.load(tmp_path / "saved")
    loaded: Any = shared(again).shim.require().model
    assert loaded.encoder.layer[0].attention.self.query.weight.shape == (24, 32)
    text = "Anna Smith likes Riga"
    np.testing.assert_allclose(nlp(text).tensor, again(text).tensor, atol=1e-6)


def test_a_long_text_is_read_as_before_once_a_short_one_was(make_other: MakeOther) -> None:
    settings = {**SMALL, "block_size": 4, "num_random_blocks": 1, "hidden_act": "gelu"}
    path = make_other("big_bird", attention_type="block_sparse", **settings)
    encoder = load_ours(path)
    encoder.model.eval()
    long = " ".join(TEXTS * 2)
    before = encode(encoder, long).detach()
    assert_close(encode(encoder, long).detach(), before, tolerance=1e-6)
    encode(encoder, "Hello")
    assert_close(encode(encoder, long).detach(), before, tolerance=1e-6)


def test_an_encoder_without_a_table_of_wordpieces_is_refused(make_other: MakeOther) -> None:
    settings = {**SMALL, "num_hash_buckets": 64, "type_vocab_size": 2}
    with pytest.raises(ConfigError, match=r"has no table of wordpieces"):
        load_ours(make_other("canine", **settings))


def test_an_encoder_that_cannot_compute_activations_again_says_so(make_other: MakeOther) -> None:
    settings = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}
    model = load_ours(make_other("xlnet", **settings)).model
    if model.supports_gradient_checkpointing:
        pytest.skip("this transformers can")
    with pytest.raises(ConfigError, match=r"gradient_checkpointing = true`.*`XLNetModel` cannot"):
        checkpoint_layers(model)


def test_an_encoder_that_computes_in_fp32_only_does(make_other: MakeOther) -> None:
    settings = {"relative_attention": True, "pos_att_type": "c2p|p2c", "type_vocab_size": 0}
    path = make_other("deberta", **SMALL, position_biased_input=False, **settings)
    nlp = make_nlp(path, ["tagger"], model={"precision": "auto"})
    assert nlp("Anna likes Riga").tensor.any()
    assert shared(nlp).shim.dtype is torch.float32
    for precision in ("bf16", "fp16"):
        with pytest.raises(ConfigError, match=rf"precision = '{precision}'`.*a `deberta` computes"):
            make_nlp(path, ["tagger"], model={"precision": precision})


@pytest.mark.parametrize(
    ("model_type", "values", "expected"),
    [
        (
            "llama",
            {"rope_type": "default", "rope_theta": 5e5},
            {"rope_theta": 5e5, "rope_scaling": None},
        ),
        (
            "llama",
            {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
            {"rope_theta": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        ),
        (
            "gpt_neox",
            {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5},
            {"rotary_emb_base": 50.0, "rotary_pct": 0.5},
        ),
        (
            "modernbert",
            {
                "full_attention": {"rope_type": "default", "rope_theta": 7e4},
                "sliding_attention": {"rope_type": "default", "rope_theta": 9e3},
            },
            {"global_rope_theta": 7e4, "local_rope_theta": 9e3},
        ),
        (
            "gemma3_text",
            {
                "full_attention": {"rope_type": "linear", "rope_theta": 7e4, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 9e3},
            },
            {
                **{"rope_theta": 7e4, "rope_local_base_freq": 9e3},
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
        ),
        ("modernbert", {"full_attention": {"rope_type": "yarn", "rope_theta": 7e4}}, None),
        ("llama", {"rope_type": "default", "rope_theta": 1e4, "mirrored": True}, None),
    ],
)
def test_rotary_positions_that_transformers_5_wrote_are_read_or_refused(
    model_type: str, values: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    from spacy_mtl.encoder.huggingface import make_config

    written = {"model_type": model_type, "rope_parameters": values}
    if hasattr(AutoConfig.for_model(model_type), "rope_parameters"):
        pytest.skip(f"transformers {transformers.__version__} reads them itself")
    if expected is None:
        with pytest.raises(ValueError, match=rf"`rope_parameters` have .* of a `{model_type}`"):
            make_config(written)
        return
    config = make_config(written)
    for key, value in expected.items():
        assert getattr(config, key) == value
