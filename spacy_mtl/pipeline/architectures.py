"""The registered builders that a config names. Found through entry points, so torch is imported only when used."""

from collections.abc import Iterable
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model

from ..types import Array
from .listener import SharedTransformerListener


def TransformerEncoder(  # noqa: N802 (named like spaCy's architectures)
    name: str | None = None,
    *,
    precision: str = "auto",
    pooling: str = "mean",
    window: int | None = None,
    stride: int | None = None,
    max_batch_wordpieces: int | None = None,
    freeze_layers: int | str = 0,
    freeze_embeddings: bool = False,
    gradient_checkpointing: bool = False,
    transformer_config: dict[str, Any] | None = None,
    tokenizer_config: dict[str, Any] | None = None,
) -> Model[list[Doc], list[Array]]:
    """Any Hugging Face encoder, as a layer from documents to token vectors (`spacy_mtl.TransformerEncoder.v1`).

    It is the model of a `shared_transformer`, and can be the `tok2vec` of a single head.

    name: a model's folder, its name on a hub, or `package:NAME/FOLDER` for a folder inside an installed Python package.
        Read by `nlp.initialize` only, which needs it: a saved pipeline brings its weights.
    precision: of the matrix products, in training and prediction: `fp32`, `bf16`, `fp16`, or `auto`, which is bf16
        where the device is faster in it (GPUs since Ampere, processors with AMX, AMD's since Zen 4) and fp32 elsewhere
        (fp16 on Volta and Turing; DeBERTa v1 and X-MOD are fp32 everywhere). Weights stay in fp32. `int8` is for
        processors where `auto` is fp32: encoders of the BERT family predict in 8-bit integers, which is faster; vectors
        differ by 3 to 4% of their length
        (project/README.md), and by as much, for one text in ten, with the others in its batch. Where the encoder is
        trained, and on GPUs, it is `auto`; evaluations, and an encoder that only annotates in training, are
        predictions.
    pooling: from a token's wordpieces to its vector: `mean`, `first`, `last` or `max`.
    window: most wordpieces that the encoder reads at once, special tokens not counted. Longer documents are read in
        overlapping windows. Default: 256, or what the encoder can read if that is less.
    stride: how far neighbouring windows are apart at most. Default: 16 wordpieces less than the window, or seven
        eighths of it if that is more.
    max_batch_wordpieces: most wordpieces in one call of the encoder, which bounds what its layers need.
        Default: 4,096 on a GPU and on a processor that computes in bf16 with AMX; else 1,024, as more would be slower.
    freeze_layers: `"all"`, or how many layers to freeze from the bottom (not of ALBERT, whose layers share their
        weights). Default: 0.
    freeze_embeddings: whether to freeze the embeddings. Default: false.
    gradient_checkpointing: save memory in training by computing the forward pass of each layer twice. Begins by itself,
        with a warning, when the device's memory does not hold a batch. Default: false.
    transformer_config: settings that replace those of the encoder's config.json, such as `hidden_dropout_prob`, the
        encoder's dropout (`[training] dropout` is that of heads which have one); and `attn_implementation`, `sdpa` or
        `eager`.
    tokenizer_config: keyword arguments for the encoder's tokenizer.

    Raises ConfigError for a value that cannot work.
    """
    from .encoder_layer import EncoderSettings, make_encoder_layer

    settings = EncoderSettings(
        name=name,
        precision=precision,
        pooling=pooling,
        window=window,
        stride=stride,
        max_batch_wordpieces=max_batch_wordpieces,
        freeze_layers=freeze_layers,
        freeze_embeddings=freeze_embeddings,
        gradient_checkpointing=gradient_checkpointing,
        transformer_config=dict(transformer_config or {}),
        tokenizer_config=dict(tokenizer_config or {}),
    )
    return make_encoder_layer(settings)


def make_listener(
    grad_factor: float | Iterable[float] = 1.0, upstream: str = "*", layers: str = "last"
) -> Model[list[Doc], list[Array]]:
    """A head's tok2vec layer that is served by a `shared_transformer` (`spacy_mtl.SharedTransformerListener.v1`).

    grad_factor: scales the gradient that this head sends to the encoder: a number, or a schedule over the encoder's
        optimizer steps. 0.0 keeps the head from changing the encoder. Default: 1.0.
    upstream: name of the component to listen to. Default: "*", any.
    layers: `last` (default), or `mix`: a mix of the embeddings and all layers that this head learns for itself. It is
        trained by the head's optimizer and saved with the head; `doc._.task_vectors` has the result.

    Raises ConfigError for another value of `layers`, and for a `grad_factor` that is no number or schedule.
    """
    return SharedTransformerListener(upstream, grad_factor, layers)


def make_biluo_tagger(
    tok2vec: Model[list[Doc], list[Array]], nO: int | None = None
) -> Model[list[Doc], list[Array]]:
    """A linear layer from token vectors to the scores of BILUO tags (`spacy_mtl.BiluoTagger.v1`).

    It is the model of a `biluo_ner`. Scores are logits, in training and in prediction. The layer grows when a label is
    added.

    tok2vec: the layer that gives token vectors, such as `spacy_mtl.SharedTransformerListener.v1`.
    nO: number of tags, 1 + 4 for each label. Default: inferred.
    """
    from .heads.biluo_model import build

    return build(tok2vec, nO)
