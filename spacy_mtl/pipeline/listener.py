"""The layer in a head that is fed with the shared token vectors and hands its gradient back."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model

from .. import errors
from ..types import Array
from . import layer_mix
from .batch import SharedBatch
from .schedule import Replayed


class GradFactor:
    """A number, or a schedule that gives one number for each optimizer step of the encoder.

    A copy or a pickle keeps the last number of a schedule, since generators can be neither.
    """

    def __init__(self, factor: float | Iterable[float]) -> None:
        self._last = 1.0
        self._values: Replayed | None = None
        if isinstance(factor, (int, float)):
            self._last = float(factor)
        else:
            self._values = Replayed(factor, before=self._last)

    def __call__(self, step: int) -> float:
        """The factor at a step, counted from 0. The last value of a schedule stays."""
        return self._last if self._values is None else self._values(step)

    def __getstate__(self) -> dict[str, Any]:
        return {"_values": None, "_last": self._last if self._values is None else self._values.last}


class SharedTransformerListener(Model):
    """Stands in a head's model where a tok2vec layer would.

    Input: documents. Output: their token vectors, [tokens, width] each. During training they come from the batch that
    the upstream component has just encoded, otherwise from `doc.tensor`.

    upstream_name: name of the component to listen to; "*" for any.
    grad_factor: scales the gradient that goes back to the encoder; a number or a schedule over optimizer steps.
    layers: `last`, or `mix` for a learned mix of all layers.
    """

    name = "shared-transformer-listener"

    def __init__(
        self,
        upstream_name: str = "*",
        grad_factor: float | Iterable[float] = 1.0,
        layers: str = "last",
    ) -> None:
        if layers not in layer_mix.LAYERS:
            raise errors.not_one_of(layers, key="tok2vec.layers", choices=layer_mix.LAYERS)
        if isinstance(grad_factor, str) or grad_factor is None:  # a text could be iterated over
            need = "a number or a schedule, without quotes"
            raise errors.bad_setting(grad_factor, key="tok2vec.grad_factor", need=need)
        self.mixes = layers == "mix"
        params = {"mix": None, "scale": None} if self.mixes else {}
        dims = {"nO": None}
        Model.__init__(self, name=self.name, forward=forward, init=init, dims=dims, params=params)
        self.n_layers: int | None = None  # what the upstream component has for each token
        self.upstream_name = upstream_name
        self.upstream: str | None = None  # the component that has claimed this listener
        self.task = "a head"
        self.grad_factor = GradFactor(grad_factor)
        self.is_copy = False  # that nobody has linked or served yet
        self.batch: SharedBatch | None = None
        self.sample_docs: Sequence[Doc] = ()

    def link(self, upstream: str, task: str) -> None:
        """Called by the upstream component when it claims this listener for a head."""
        self.upstream, self.task, self.is_copy = upstream, task, False

    def receive(self, batch: SharedBatch | None) -> None:
        """Called by the upstream component when it has encoded a training batch."""
        self.batch, self.is_copy = batch, False
        self.sample_docs = ()

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the current batch and its backward pass behind."""
        live = {"batch": None, "sample_docs": (), "is_copy": True}
        return {**self.__dict__, **_slots(self), **live}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, value)


def _slots(model: Model) -> dict[str, Any]:
    names = {n for cls in type(model).__mro__ for n in getattr(cls, "__slots__", ())}
    return {n: getattr(model, n) for n in names if n != "__dict__" and hasattr(model, n)}


def init(model: Model, X: Sequence[Doc] | None = None, Y: Any = None) -> None:
    """Remember the sample: it has no vectors yet, and the layers behind need its shape only."""
    assert isinstance(model, SharedTransformerListener)
    if model.upstream is None:
        raise _no_upstream(model, X or ())
    if model.maybe_get_dim("nO") is None:
        raise errors.frozen_without_weights(model.upstream)
    if model.mixes:
        assert model.n_layers is not None
        layer_mix.start(model, model.n_layers)
    model.sample_docs = tuple(X or ())


def _no_upstream(listener: SharedTransformerListener, docs: Sequence[Doc]) -> errors.ConfigError:
    from .shared_transformer import surroundings

    task, encoders = surroundings(listener, docs[0].vocab) if docs else (None, [])
    return errors.no_upstream(listener.upstream_name, task=task, encoders=encoders)


def forward(
    model: Model, docs: Sequence[Doc], is_train: bool
) -> tuple[list[Array], Callable[[list[Array]], list[Any]]]:
    """Serve the documents' token vectors."""
    assert isinstance(model, SharedTransformerListener)
    docs = list(docs)
    batch = model.batch
    if is_train and batch is not None:
        if batch.is_open:
            return _serve(model, batch, docs)
        batch.refuse_late(docs, task=model.task)
    if is_train:
        _refuse_unlinked(model, docs)
    sample = {id(doc) for doc in model.sample_docs}
    if is_train and model.mixes and any(id(doc) not in sample for doc in docs):
        raise errors.mix_is_not_trained(model.task, upstream=model.upstream or model.upstream_name)
    return [_read(model, doc, is_sample=id(doc) in sample) for doc in docs], _no_backprop


def _refuse_unlinked(model: SharedTransformerListener, docs: list[Doc]) -> None:
    """Raises ListenerError if an encoder trains on these documents and does not know of this listener.

    That encoder's batch is abandoned then. The copy that spaCy's `rehearse` makes of a head that is served wants no
    gradient.

    Or if their vectors are another encoder's, since this listener's own is frozen and does not annotate.
    """
    batch = SharedBatch.open_with(docs, model.upstream)
    if batch is not None and not (model.is_copy and model.task in batch.tasks):
        batch.abandon()
        task = model.task if model.upstream else None
        raise errors.not_linked(task, upstream=batch.upstream, named=model.upstream_name)
    if model.upstream is not None and not model.mixes:
        for other in filter(None, map(SharedBatch.read_from, docs)):
            if other.upstream != model.upstream:
                raise errors.not_encoded(model.task, upstream=model.upstream, other=other.upstream)


def _serve(
    model: SharedTransformerListener, batch: SharedBatch, docs: list[Doc]
) -> tuple[list[Array], Callable[[list[Array]], list[Any]]]:
    places = batch.find(docs, task=model.task)
    if model.mixes:
        return _serve_mixed(model, batch, places)
    vectors = [batch.vectors[place] for place in places]

    def backprop(d_vectors: list[Array]) -> list[Any]:
        batch.add_gradient(model.task, d_vectors, places, model.grad_factor(batch.step))
        return []

    return vectors, backprop


def _serve_mixed(
    model: SharedTransformerListener, batch: SharedBatch, places: list[int]
) -> tuple[list[Array], Callable[[list[Array]], list[Any]]]:
    weights = layer_mix.layer_weights(model)
    layers = batch.layers
    flat = layer_mix.mixed(layers, weights)
    starts = batch.buffer.doc_starts

    def backprop(d_vectors: list[Array]) -> list[Any]:
        d_flat = model.ops.xp.zeros_like(flat)
        for d_doc, place in zip(d_vectors, places, strict=True):
            d_flat[starts[place] : starts[place + 1]] += d_doc
        layer_mix.backpropagate(model, layers, d_flat)
        factor = model.grad_factor(batch.step)
        batch.add_gradient(model.task, d_vectors, places, factor, layer_weights=weights)
        return []

    return [flat[starts[place] : starts[place + 1]] for place in places], backprop


def _read(model: SharedTransformerListener, doc: Doc, *, is_sample: bool) -> Array:
    width = model.get_dim("nO")
    if model.mixes and len(doc) and not is_sample:
        return _read_mixed(model, doc)
    if doc.tensor is not None and doc.tensor.size:  # None: a `doc_cleaner` was here
        if len(doc.tensor) != len(doc):
            raise errors.retokenized(
                model.task,
                n_tokens=len(doc),
                n_vectors=len(doc.tensor),
                upstream=model.upstream or model.upstream_name,
            )
        return model.ops.asarray2f(doc.tensor)
    if len(doc) and not is_sample:
        if model.upstream is None:
            raise errors.no_upstream(model.upstream_name)
        raise errors.not_encoded(model.task, upstream=model.upstream)
    return model.ops.alloc2f(len(doc), width)


def _read_mixed(model: SharedTransformerListener, doc: Doc) -> Array:
    if model.upstream is None:
        raise errors.no_upstream(model.upstream_name)
    layer_mix.install()
    vectors = (doc._.get(layer_mix.EXTENSION) or {}).get(model.task)
    if vectors is None:
        raise errors.not_encoded(model.task, upstream=model.upstream, mixes=True)
    if len(vectors) != len(doc):
        raise errors.retokenized(
            model.task, n_tokens=len(doc), n_vectors=len(vectors), upstream=model.upstream
        )
    return model.ops.asarray2f(vectors)


def _no_backprop(d_vectors: Any) -> list[Any]:
    return []
