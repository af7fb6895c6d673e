"""Token vectors as anyone would compute them: Hugging Face's model and tokenizer, and plain loops."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import spacy
import torch
import transformers
from torch import Tensor

from spacy_mtl.encoder.attention import reads_flat
from spacy_mtl.encoder.huggingface import HuggingFaceEncoder, load_pretrained
from spacy_mtl.pipeline.shim import token_spans
from spacy_mtl.text.packing import pack
from spacy_mtl.text.windows import make_windows
from spacy_mtl.text.wordpieces import make_wordpieces
from spacy_mtl.types import EncoderInput, TokenSpans, Windows, Wordpieces

NLP = spacy.blank("en")


def make_spans(texts: Sequence[str]) -> list[TokenSpans]:
    """spaCy's tokens."""
    return [token_spans(NLP.make_doc(text)) for text in texts]


@dataclass(frozen=True)
class Prepared:
    """A batch of texts on its way through our own code."""

    pieces: Wordpieces
    windows: Windows
    inputs: EncoderInput


def prepare(
    encoder: HuggingFaceEncoder,
    texts: Sequence[str],
    *,
    window: int = 120,
    stride: int = 100,
    max_batch_wordpieces: int = 100_000,
    flat: bool = True,
) -> Prepared:
    """flat: whether an encoder that can read without padding does."""
    pieces = make_wordpieces(encoder.tokenizer, texts, make_spans(texts))
    windows = make_windows(pieces.doc_lengths, window=window, stride=stride)
    inputs = pack(
        pieces,
        windows,
        encoder.affixes,
        max_batch_wordpieces=max_batch_wordpieces,
        call_cost=10**6,  # as much padding as the budget allows
        flat=flat and reads_flat(encoder.model),
    )
    return Prepared(pieces, windows, inputs)


def load_ours(path: Path, **settings: object) -> HuggingFaceEncoder:
    return load_pretrained(str(path), transformer_config=dict(settings), tokenizer_config={})


def load_theirs(path: Path, *, attention: str) -> transformers.PreTrainedModel:
    """The model as Hugging Face loads it by itself."""
    family = transformers.AutoConfig.from_pretrained(path).model_type
    auto = transformers.T5EncoderModel if family == "t5" else transformers.AutoModel
    return auto.from_pretrained(path, attn_implementation=attention)


def tokens_by_offsets(
    model: transformers.PreTrainedModel, path: Path, texts: Sequence[str]
) -> Tensor:
    """Mean of each token's wordpieces, for texts that fit into one window each: [T, width].

    Hugging Face pads, masks and finds the offsets.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    batch = tokenizer(
        list(texts),
        padding=True,
        return_tensors="pt",
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    offsets = batch.pop("offset_mapping").tolist()
    special = batch.pop("special_tokens_mask").tolist()
    hidden = model(**batch).last_hidden_state
    vectors = []
    for row, spans in enumerate(make_spans(texts)):
        for start, end, skip in zip(spans.starts, spans.ends, spans.skip, strict=True):
            own = [
                hidden[row, i]
                for i, (a, b) in enumerate(offsets[row])
                if max(a, start) < min(b, end) and not special[row][i] and not skip
            ]
            vectors.append(torch.stack(own).mean(0) if own else hidden.new_zeros(hidden.shape[2]))
    return torch.stack(vectors)


def tokens_by_windows(
    model: transformers.PreTrainedModel, encoder: HuggingFaceEncoder, prepared: Prepared
) -> Tensor:
    """Mean of each token's wordpieces, every window read on its own, without padding: [T, width]."""
    pieces, windows = prepared.pieces, prepared.windows
    prefix, suffix = list(encoder.affixes.prefix), list(encoder.affixes.suffix)
    hidden = []
    for start, length in zip(windows.starts.tolist(), windows.lengths.tolist(), strict=True):
        ids = torch.tensor([prefix + pieces.ids[start : start + length].tolist() + suffix])
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        hidden.append(output[0, len(prefix) : len(prefix) + length])
    vectors = []
    for first, length in zip(pieces.token_starts, pieces.token_lengths, strict=True):
        own = []
        for piece in range(first, first + length):
            window = windows.served_by[piece]
            own.append(hidden[window][piece - windows.starts[window]])
        vectors.append(torch.stack(own).mean(0) if own else torch.zeros(encoder.width))
    return torch.stack(vectors)


def gradients(model: torch.nn.Module, Y: Tensor, *, seed: int = 0) -> dict[str, Tensor]:
    """Parameter gradients of `sum(dY * Y)` for a random dY; zeros are left out."""
    generator = torch.Generator().manual_seed(seed)
    model.zero_grad(set_to_none=True)
    (Y * torch.randn(Y.shape, generator=generator)).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: grad.clone() for name, grad in grads.items() if bool(grad.ne(0).any())}


def assert_close(ours: Tensor, theirs: Tensor, *, tolerance: float) -> None:
    """Equal but for `tolerance` times the largest value."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == torch.float32
    assert bool(torch.isfinite(ours).all())
    scale = float(theirs.detach().abs().max())
    assert scale > 0
    error = float((ours - theirs).detach().abs().max())
    assert error <= tolerance * scale, f"differs by {error / scale:.2g} of the largest value"


def assert_close_gradients(
    ours: dict[str, Tensor], theirs: dict[str, Tensor], *, tolerance: float
) -> None:
    """Each parameter's gradient is close, but one that is only rounding error may differ.

    (The bias of attention keys has no gradient in exact arithmetic: softmax ignores it.)
    """
    largest = max(float(grad.abs().max()) for grad in theirs.values())
    zero = torch.zeros(1)
    for name in ours.keys() | theirs.keys():
        a, b = ours.get(name, zero), theirs.get(name, zero)
        assert bool(torch.isfinite(a).all()), name
        scale = max(float(b.abs().max()), largest * 1e-3)
        error = float((a - b).abs().max())
        assert error <= tolerance * scale, f"{name} differs by {error / scale:.2g}"
