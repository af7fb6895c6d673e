"""The Hugging Face encoder inside a thinc model: forward, backward, optimizer step, bytes."""

import contextlib
import copy
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar, cast

import srsly
import torch
from spacy.attrs import IDX, IS_SPACE, LENGTH, ORTH, SPACY
from spacy.tokens import Doc
from thinc.api import Optimizer, get_torch_default_device, torch2xp, xp2torch
from thinc.backends import context_pools
from thinc.compat import cupy, has_cupy
from thinc.shims import Shim
from transformers import PreTrainedModel

from .. import errors
from ..encoder import checkpoint
from ..encoder.attention import avoid_cudnn, reads_flat
from ..encoder.direct import DirectReader
from ..encoder.huggingface import (
    HuggingFaceEncoder,
    check_attention,
    check_window,
    load_pretrained,
)
from ..encoder.layers import check_freeze_layers, checkpoint_layers, freeze, is_checkpointed
from ..encoder.precision import LossScale, autocast, cpu_has_amx, resolve_precision
from ..encoder.spare import SpareGradients
from ..encoder.transformer import count_layers, encode_layers
from ..text.cache import WordpieceCache
from ..text.chunks import ChunkedTokenizer
from ..text.packing import pack
from ..text.windows import make_windows
from ..text.wordpieces import TextPieces, gather, split
from ..types import POOLINGS, PRECISIONS, Array, EncoderInput, Pooling, TokenSpans
from .ahead import PreparedDocs
from .forking import guard_forks

_T = TypeVar("_T")


@dataclass(frozen=True)
class Costs:
    """How to lay out micro-batches, see `pack`. If the encoder reads flat, only attention pays for padding."""

    max_batch_wordpieces: int
    call_cost: int
    copy_cost: float
    flat: bool


# By device, and whether the encoder reads flat. A processor computes few wordpieces in the time of a call
# (project/benchmarks/packing.py), and large matrices fall out of its cache. In bf16 with AMX it computes so fast that
# threads wait for each other longer, unless matrices are large (project/benchmarks/NOTES.md). For a GPU these are
# estimates: milliseconds of launches, some 10^6 wordpieces a second.
COSTS = {
    ("cpu", False): Costs(1024, 32, 0.0, flat=False),
    ("cpu", True): Costs(1024, 16, 0.5, flat=True),
    ("amx", False): Costs(4096, 32, 0.0, flat=False),
    ("amx", True): Costs(4096, 64, 0.5, flat=True),
    ("gpu", False): Costs(4096, 2048, 0.0, flat=False),
    ("gpu", True): Costs(4096, 2048, 0.0, flat=True),
}
# Attention with dropout is some 25 operators, backward pass included, and oneDNN compiles the products among them for
# each new number and length of windows.
TRAINING_COSTS = COSTS | {("amx", True): Costs(4096, 256, 0.5, flat=True)}


@dataclass(frozen=True)
class EncoderSettings:
    """The arguments of `spacy_mtl.TransformerEncoder.v1`, checked as far as they can be without the encoder."""

    name: str | None
    precision: str = "auto"
    pooling: str = "mean"
    window: int | None = None
    stride: int | None = None
    max_batch_wordpieces: int | None = None
    freeze_layers: int | str = 0
    freeze_embeddings: bool = False
    gradient_checkpointing: bool = False
    transformer_config: dict[str, Any] = field(default_factory=dict)
    tokenizer_config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise errors.not_one_of(self.precision, key="model.precision", choices=PRECISIONS)
        if self.pooling not in POOLINGS:
            raise errors.not_one_of(self.pooling, key="model.pooling", choices=POOLINGS)
        check_window(self.window, self.stride, limit=None)
        check_freeze_layers(self.freeze_layers)
        check_attention(self.transformer_config.get("attn_implementation"))
        if self.max_batch_wordpieces is not None and self.max_batch_wordpieces < 1:
            need = "at least 1"
            raise errors.bad_setting(
                self.max_batch_wordpieces, key="model.max_batch_wordpieces", need=need
            )


class EncoderShim(Shim):
    """Holds the encoder, which is there once `load` or `from_files` has run.

    Its id names the encoder's parameters for thinc's optimizer.

    budget: most wordpieces in a call of the encoder, once the device's memory has set a lower one than the settings.
    every_layer: whether somebody wants the token vectors of all layers, which `take_layers` hands out then.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__(None)
        self.settings = settings
        self.encoder: HuggingFaceEncoder | None = None
        self.window = self.stride = 0
        self.loss_scale = LossScale()
        self.budget: int | None = None
        self.every_layer = False
        self._layers: dict[int, list[Array]] = {}  # of the last batch of each thread
        self._pieces = WordpieceCache()  # of training, for other tokenizers
        self._chunks: ChunkedTokenizer | None = None
        self._spare = SpareGradients()
        self._direct = DirectReader(int8=settings.precision == "int8")
        self._wants_int8 = False
        self._graph: list[torch.Tensor] | None = None  # what the next backward pass begins with

    # ---- loading

    def load(self) -> None:
        """Load the pretrained weights that `name` points to."""
        s = self.settings
        if not s.name:
            raise errors.no_encoder_named()
        # weights of a caller's inference mode could not be trained
        with torch.inference_mode(False):
            encoder = load_pretrained(
                s.name,
                transformer_config=s.transformer_config,
                tokenizer_config=s.tokenizer_config,
            )
            self._set(encoder)

    def from_files(self, files: dict[str, checkpoint.Content], *, where: str = "") -> None:
        """Load what `to_files` gave. `where` stands before file names in errors."""
        overrides = dict(self.settings.transformer_config)
        attention = overrides.pop("attn_implementation", None)
        with torch.inference_mode(False):
            encoder = checkpoint.from_files(
                files, where=where, attention=attention, overrides=overrides
            )
            self._set(encoder)

    def to_files(
        self, *, storage: str = "fp32", extra: dict[str, bytes] | None = None
    ) -> dict[str, bytes]:
        """The encoder as Hugging Face files, and extra ones; nothing if it has not been loaded."""
        if self.encoder is None:
            return {}
        return checkpoint.to_files(self.encoder, storage=storage, extra=extra)

    def _set(self, encoder: HuggingFaceEncoder) -> None:
        s = self.settings
        guard_forks()
        self.window, self.stride = check_window(s.window, s.stride, limit=encoder.max_window)
        freeze(encoder.model, layers=s.freeze_layers, embeddings=s.freeze_embeddings)
        if s.gradient_checkpointing:
            checkpoint_layers(encoder.model)
        device = get_torch_default_device()
        self.dtype = resolve_precision(s.precision, device, encoder.model.config.model_type)
        avoid_cudnn(device)
        encoder.model.to(device).eval()
        self.encoder = encoder
        self._model = encoder.model
        self._pieces = WordpieceCache()
        self._chunks = ChunkedTokenizer.of(encoder.tokenizer)
        self._spare.drop()
        self._want_int8(device)

    def require(self) -> HuggingFaceEncoder:
        """The encoder. Raises ConfigError if it has not been loaded."""
        if self.encoder is None:
            raise errors.not_loaded()
        return self.encoder

    @property
    def is_frozen(self) -> bool:
        """True if no parameter of the encoder is trained."""
        return not any(p.requires_grad for p in self.require().model.parameters())

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return next(self.require().model.parameters()).device

    @property
    def n_layers(self) -> int:
        """How many vectors there are for each token, if `every_layer`."""
        return count_layers(self.require().model)

    # ---- forward and backward

    def prepare(self, docs: list[Doc], *, again: bool = False) -> EncoderInput:
        """Docs to padded micro-batches of wordpieces. again: for training, where they are likely to come again."""
        encoder = self.require()

        def split_some(places: Iterable[int]) -> list[TextPieces]:
            some = [docs[i] for i in places]
            spans = [token_spans(doc) for doc in some]
            return split(encoder.tokenizer, [doc.text for doc in some], spans)

        if self._chunks is not None:
            spans = [token_spans(doc) for doc in docs]
            pieces = self._chunks.make_wordpieces([doc.text for doc in docs], spans)
        elif again:
            pieces = gather(self._pieces.get([_words(doc) for doc in docs], split_some))
        else:
            pieces = gather(split_some(range(len(docs))))
        windows = make_windows(pieces.doc_lengths, window=self.window, stride=self.stride)
        processor = "amx" if self.dtype is torch.bfloat16 and cpu_has_amx() else "cpu"
        kind = processor if self.device.type == "cpu" else "gpu"
        table = TRAINING_COSTS if again else COSTS
        flat = reads_flat(encoder.model, train=again) and encoder.affixes.types is None
        costs = table[kind, flat]
        budget = self.budget or self.settings.max_batch_wordpieces or costs.max_batch_wordpieces
        costs = replace(costs, max_batch_wordpieces=budget)
        return pack(pieces, windows, encoder.affixes, **vars(costs))

    def count_wordpieces(self, texts: list[str]) -> list[int]:
        """How many wordpieces each text has, special tokens left out."""
        encodings = self.require().tokenizer.encode_batch(texts, add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def predict(self, fwd_args: EncoderInput) -> Array:
        """Token vectors [T, width], without dropout and without a graph."""
        self._spare.rest()
        with torch.inference_mode():
            layers = self._encode(fwd_args, train=False)
            self._keep_layers(layers)
            Y = torch2xp(layers[-1])
        if fwd_args.micro_batches:
            self._check_int8()
        return Y

    def _check_int8(self) -> None:
        """Say, once, if predictions are not in int8 although they were to be."""
        if self._wants_int8 and not self._direct.is_int8:
            self._wants_int8 = False
            reason = self._direct.why_not_int8(self.require().model)
            warnings.warn(errors.not_int8(reason), stacklevel=2)

    def _want_int8(self, device: torch.device) -> None:
        """On a new device, or for a new encoder."""
        self._direct.drop()
        self._wants_int8 = self.settings.precision == "int8" and device.type == "cpu"
        if self._wants_int8:
            model = self._switch(train=False)
            if reads_flat(model, train=False):
                with torch.inference_mode():
                    self._direct.of(model)
            self._check_int8()

    def predict_docs(self, docs: list[Doc]) -> tuple[EncoderInput, Array]:
        """Prepare and predict, with a lower budget if the device's memory does not hold this one.

        Raises torch's OutOfMemoryError if a single window is too large.
        """
        inputs = docs.inputs.result() if isinstance(docs, PreparedDocs) else self.prepare(docs)
        return self._with_less_memory(docs, inputs, self.predict, train=False)

    def begin_update_docs(
        self, docs: list[Doc]
    ) -> tuple[EncoderInput, tuple[Array, Callable[[Array], Any]]]:
        """Prepare and `begin_update`, with checkpointed layers if the device's memory does not hold all activations.

        If that is not enough, or there already, with a lower budget. Raises torch's OutOfMemoryError if a single window
        is too large. If it is the backward pass that does not fit, the documents are encoded once more with
        checkpointed layers, and other dropout than the heads have seen; unless the parameters hold gradients of earlier
        batches, which half a backward pass has been added to.
        """
        inputs = self.prepare(docs, again=True)
        inputs, (Y, own) = self._with_less_memory(docs, inputs, self.begin_update, train=True)
        held = [own]

        def backprop(dY: Array) -> Any:
            begins = all(p.grad is None for p in self._trained())
            try:
                return held.pop()(dY)
            except torch.OutOfMemoryError:
                if not (begins and self._checkpoint()):
                    raise
            self.drop_gradients()
            give_memory_back()
            _, (_, once_more) = self.begin_update_docs(docs)
            return once_more(dY)

        return inputs, (Y, backprop)

    def _with_less_memory(
        self,
        docs: list[Doc],
        inputs: EncoderInput,
        call: Callable[[EncoderInput], _T],
        *,
        train: bool,
    ) -> tuple[EncoderInput, _T]:
        """What `call` gives, and for which inputs. What had to be changed stays so, and a warning says it."""
        before = self.budget
        while True:
            try:
                found = call(inputs)
                break
            except torch.OutOfMemoryError:
                # behind this block what the error holds of the device's memory is free
                if not (train and self._checkpoint()):
                    self.budget = inputs.budget // 2
                    if self.budget < max(int(b.lengths.max()) for b in inputs.micro_batches):
                        self.budget = before
                        raise
            give_memory_back()
            inputs = self.prepare(docs, again=train)
        if self.budget != before:
            warnings.warn(errors.lower_budget(inputs.budget), stacklevel=2)
        return inputs, found

    def _checkpoint(self) -> bool:
        """Keep no more activations than those between layers, from here on. False if that would change nothing."""
        model = self.require().model
        if self.is_frozen or is_checkpointed(model) or not model.supports_gradient_checkpointing:
            return False
        checkpoint_layers(model)
        warnings.warn(errors.checkpointed(), stacklevel=2)
        return True

    def begin_update(self, fwd_args: EncoderInput) -> tuple[Array, Callable[[Array], Any]]:
        """Token vectors [T, width] in training mode, and the backward pass.

        The backward pass takes the gradient of these, or of all layers, [n_layers, T, width]. Gradients add up in the
        parameters until `finish_update`.
        """
        with self.trains():
            layers = self._encode(fwd_args, train=True)
        self._keep_layers(layers)
        Y = layers[-1]
        if not Y.requires_grad:
            return torch2xp(Y), lambda dY: []
        self._graph = layers

        def backprop(dY: Array) -> list[Any]:
            if self._graph is layers:
                self._graph = None
            with self._as_forward():
                torch.autograd.backward(*self._begin_with(layers, dY))
            return []

        return torch2xp(Y.detach()), backprop

    @staticmethod
    @contextlib.contextmanager
    def trains() -> Iterator[None]:
        """A context for all that has to do with gradients, whatever mode the caller is in."""
        with torch.inference_mode(False), torch.enable_grad():
            yield

    def _as_forward(self) -> torch.autocast:
        """A context for the backward pass, whose precision is the forward pass's, not that of the caller's autocast."""
        return autocast(self.device, torch.float32)

    def _keep_layers(self, layers: list[torch.Tensor]) -> None:
        if self.every_layer:
            self._layers[threading.get_ident()] = [torch2xp(layer.detach()) for layer in layers]

    def take_layers(self) -> list[Array]:
        """This thread's last batch's token vectors of every layer, [T, width] each, from the embeddings up.

        Empty without `every_layer`.
        """
        return self._layers.pop(threading.get_ident(), [])

    @property
    def can_go_back(self) -> bool:
        """Whether there is a backward pass that is still to be run."""
        return self._graph is not None

    def release(self) -> None:
        """Forget the last batch, whether or not its backward pass has run."""
        self._graph = None

    def _begin_with(
        self, layers: list[torch.Tensor], dY: Array
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Where a backward pass begins, and its gradients there: at the last layer, or at all that are trained."""
        # layers may be computed again, and somebody may have predicted since the forward pass
        self._switch(train=True)
        gradient = xp2torch(dY, device=layers[-1].device) * self._loss_scale()
        gradients = [gradient] if gradient.ndim == 2 else list(gradient)
        tops = layers[-len(gradients) :]
        assert gradient.shape[-2:] == tops[-1].shape
        assert len(gradients) == len(tops)
        trained = [i for i, top in enumerate(tops) if top.requires_grad]
        return [tops[i] for i in trained], [gradients[i] for i in trained]

    def gradient_gramian(self, gradients: list[Array]) -> Array:
        """[A, A] inner products of what A gradients of the last batch's token vectors are to the encoder's parameters.

        gradients: [T, width] each, or [n_layers, T, width]. One backward pass for each, beside the one that trains;
        holds A sets of gradients.
        """
        found = self._go_down(gradients, self._trained())
        return torch2xp(found @ found.T)

    def sampled_gradients(self, gradients: list[Array]) -> Array:
        """[A, P] what A gradients of the last batch's token vectors are to a sample of the encoder's parameters.

        The sample are biases and the parameters of norms, in all layers: their gradients' length is near a fixed part
        of that of all parameters, whatever the task, and costs half of a backward pass. Zeros if there is no graph.
        """
        parameters = self._trained()
        sample = [p for p in parameters if p.ndim == 1] or parameters
        if self._graph is None:
            size = sum(p.numel() for p in sample)
            return torch2xp(torch.zeros((len(gradients), size), device=self.device))
        return torch2xp(self._go_down(gradients, sample))

    def _trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self.require().model.parameters() if p.requires_grad]

    def _go_down(
        self, gradients: list[Array], parameters: list[torch.nn.Parameter]
    ) -> torch.Tensor:
        """[A, P] the gradients of parameters for A gradients of the last batch's token vectors."""
        layers = self._graph
        assert layers is not None
        found = []
        for gradient in gradients:
            tops, d_tops = self._begin_with(layers, gradient)
            with self._as_forward():
                grads = torch.autograd.grad(
                    tops, parameters, d_tops, retain_graph=True, allow_unused=True
                )
            filled = (
                torch.zeros_like(p) if g is None else g
                for p, g in zip(parameters, grads, strict=True)
            )
            found.append(torch.cat([g.float().ravel() for g in filled]))
        return torch.stack(found) / self._loss_scale()

    def _switch(self, *, train: bool) -> PreTrainedModel:
        """The encoder, in training mode or not."""
        model = self.require().model
        training = train and not self.is_frozen
        if model.training != training:  # it walks through all modules
            model.train(training)
            self._direct.forget()
        return model

    def _encode(self, inputs: EncoderInput, *, train: bool) -> list[torch.Tensor]:
        """[T, width] of the last layer, or of all if `every_layer`."""
        model = self._switch(train=train)
        pooling = cast(Pooling, self.settings.pooling)
        return encode_layers(
            model,
            inputs,
            pooling=pooling,
            dtype=self.dtype,
            every=self.every_layer,
            spare=self._spare,
            direct=self._direct,
        )

    def _loss_scale(self) -> float:
        return self.loss_scale.value if self.dtype is torch.float16 else 1.0

    # ---- optimizer step

    def take_gradients(self) -> dict[str, torch.nn.Parameter]:
        """Parameters that have a gradient, by name, with fp16's loss scale taken out again.

        Empty if there is none, or if a gradient overflowed in fp16: then this step is skipped.
        """
        named = self.require().model.named_parameters()
        found = {name: p for name, p in named if p.grad is not None}
        if found and self.dtype is torch.float16:
            grads = [cast(torch.Tensor, p.grad) for p in found.values()]
            if not self.loss_scale.unscale(grads):
                self.drop_gradients()
                return {}
        return found

    def drop_gradients(self) -> None:
        """Forget the gradients, so that a parameter without one in the next step is left alone."""
        self.require().model.zero_grad(set_to_none=True)

    def end_step(self) -> None:
        """After whatever has stepped the weights: their gradients, and copies of the old ones, are done with."""
        self._direct.forget()
        self._spare.keep()
        self.drop_gradients()

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step every parameter that has a gradient, through thinc's optimizer."""
        if self.encoder is None:
            return
        for name, parameter in self.take_gradients().items():
            value, _ = optimizer(
                (self.id, name),
                cast(Any, torch2xp(parameter.data)),
                cast(Any, torch2xp(cast(torch.Tensor, parameter.grad))),
            )
            new = xp2torch(value, device=parameter.device)
            if new.data_ptr() != parameter.data_ptr():  # thinc's optimizers write in place
                parameter.data.copy_(new)
        self.end_step()

    @contextlib.contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Use other values, such as an optimizer's averages, for the parameters inside the context."""
        named = {} if self.encoder is None else dict(self.encoder.model.named_parameters())
        self._spare.drop()  # an evaluation wants the memory
        backup = {}
        for name, parameter in named.items():
            if (self.id, name) in params:
                backup[name] = parameter.data
                parameter.data = xp2torch(params[(self.id, name)], device=parameter.device).clone()
        try:
            self._direct.forget()
            yield
        finally:
            for name, value in backup.items():
                named[name].data = value
            self._direct.forget()

    # ---- device, bytes, copies

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the encoder. device_type: `cpu`, `mps`, or `gpu` for torch's current one; CuPy's ops call any GPU 0."""
        if self.encoder is None:
            return
        if device_type == "gpu":
            device = torch.device("cuda", torch.cuda.current_device())
        else:
            device = torch.device(device_type)
        avoid_cudnn(device)
        self.encoder.model.to(device)
        kind = self.encoder.model.config.model_type
        self.dtype = resolve_precision(self.settings.precision, device, kind)
        self._spare.drop()
        self._want_int8(device)

    def to_bytes(self) -> bytes:
        """Settings and files in msgpack."""
        return srsly.msgpack_dumps({"settings": asdict(self.settings), "files": self.to_files()})

    def from_bytes(self, data: bytes) -> "EncoderShim":
        """Load what `to_bytes` gave. The settings of the config stay."""
        files = srsly.msgpack_loads(data)["files"]
        if files:
            self.from_files(files)
        return self

    def copy(self) -> "EncoderShim":
        """A copy with weights, and optimizer state, of its own."""
        copied = EncoderShim(self.settings)
        copied.every_layer = self.every_layer
        if self.encoder is not None:
            model = copy.deepcopy(self.encoder.model)
            model.zero_grad(set_to_none=True)
            encoder = copy.copy(self.encoder)
            encoder.model = model
            copied._set(encoder)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> "EncoderShim":
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "settings": self.settings,
            "files": self.to_files(),
            "every_layer": self.every_layer,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        EncoderShim.__init__(self, state["settings"])
        self.id = state["id"]
        self.every_layer = state["every_layer"]
        if state["files"]:
            self.from_files(state["files"])


def give_memory_back() -> None:
    """What CuPy and torch hold of a GPU's memory without using it. CuPy's own may be blocks of torch's."""
    for pool in context_pools.get().values():
        pool.free_all_blocks()
    if has_cupy:
        cupy.get_default_memory_pool().free_all_blocks()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def token_spans(doc: Doc) -> TokenSpans:
    """Character offsets of a document's tokens; whitespace tokens get no vector."""
    values = doc.to_array([IDX, LENGTH, IS_SPACE]).astype("int64").reshape(-1, 3)
    starts = values[:, 0]
    return TokenSpans(starts, starts + values[:, 1], values[:, 2].astype(bool))


def _words(doc: Doc) -> bytes:
    """Tells documents with other words apart, and those with other spaces between them."""
    return doc.to_array([ORTH, SPACY]).tobytes()
