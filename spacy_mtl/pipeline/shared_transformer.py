"""The component that reads each document once, for all heads, and steps once for all their gradients."""

import math
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import srsly
from spacy import util
from spacy.language import Language
from spacy.pipeline.entity_linker import EntityLinker
from spacy.pipeline.pipe import deserialize_config
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from .. import __version__, errors, scoring
from ..annotation import heads_of, is_head
from ..balancing.base import Balancer
from ..encoder.checkpoint import (
    MANIFEST,
    OPTIMIZER_FILE,
    STORAGE,
    Content,
    make_manifest,
    read_folder,
    verify,
    write_folder,
)
from ..types import Array
from ..worst_task import WorstTask
from . import layer_mix, neighbours
from .ahead import PreparedDocs, prepared_ahead
from .balance import GradientBalance, GradientMeter
from .batch import SharedBatch, WholeBatch
from .encoder_layer import is_encoder, set_width, shim_of
from .gradient_buffer import GradientBuffer
from .late_sum import LateSum
from .listener import SharedTransformerListener
from .optimizer import AdamW
from .shim import EncoderShim
from .statistics import TaskStatistics

_INSTANCES: "weakref.WeakSet[SharedTransformer]" = weakref.WeakSet()
# where spaCy has linked a component last
_PIPELINES: "weakref.WeakKeyDictionary[SharedTransformer, weakref.ref[Language]]" = (
    weakref.WeakKeyDictionary()
)
# of a component: who reads its weights waits for a step that another thread makes
_LOCKS: "weakref.WeakKeyDictionary[SharedTransformer, threading.RLock]" = (
    weakref.WeakKeyDictionary()
)
_LINKING = threading.RLock()
_being_linked: set[int] = set()  # ids of pipelines
BALANCER_FILE = "balancer.json"
MOST_TOKENS = 32_768  # that `pipe` reads at once: 4 * width bytes each, some four times over
_SCHEDULED = ("learn_rate", "b1", "b2", "eps", "L2", "grad_clip")


@dataclass(frozen=True)
class DeferredStep:
    """A step that was asked for before the gradients were in, with the optimizer's rates of that moment."""

    optimizer: Optimizer
    rates: dict[str, Any]

    @classmethod
    def now(cls, optimizer: Optimizer) -> "DeferredStep":
        rates = {name: getattr(optimizer, name) for name in _SCHEDULED if hasattr(optimizer, name)}
        return cls(optimizer, rates)

    @contextmanager
    def as_it_was(self) -> Iterator[Optimizer]:
        """The optimizer with the rates of the moment when the step was asked for."""
        today = {name: getattr(self.optimizer, name) for name in self.rates}
        try:
            self._set(self.rates)
            yield self.optimizer
        finally:
            self._set(today)

    def _set(self, rates: dict[str, Any]) -> None:
        for name, value in rates.items():
            setattr(self.optimizer, name, value)


class SharedTransformer(TrainablePipe):
    """Shares one transformer among the components behind it (factory `shared_transformer`).

    The way back. Each listener hands its head's gradient to the current batch. The encoder's one backward pass runs
    when the batch is closed: by `finish_update`, by the next `update`, or by anything that looks at the weights.
    So neither the order of the heads nor a head that returns early or does not run can lose a gradient.

    `nlp.update(sgd=optimizer)` calls our `finish_update` before the heads have run their backward pass. Nothing has
    come in then, and the step is deferred until the batch is closed; the optimizer's rates are those of the call.

    vocab: the pipeline's vocabulary. model: from `spacy_mtl.TransformerEncoder.v1`. name: of the component.
    optimizer: the encoder's own optimizer; None: the pipeline's optimizer steps the encoder too.
    balancer: weighs the heads' gradients, where there are two or more; None: the encoder gets their plain sum. The
        factory's default is `EqualProjection`: each step goes equally far in the direction of each head's gradient.
    calibrate_every: where gradients are measured, for a balancer or the log: find out how long a head's gradient is at
        the encoder's parameters in so many of its batches (and more often in the beginning), by a backward pass of its
        own; 0: never, see `spacy_mtl.pipeline.balance.GradientMeter`. Default: 200.
    storage: dtype of the saved weights, `fp32`, `bf16` or `fp16`.
    save_optimizer: whether `to_disk` saves the state of the encoder's own optimizer.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], list[Array]],
        name: str = "shared_transformer",
        *,
        optimizer: AdamW | None = None,
        balancer: Balancer | None = None,
        calibrate_every: int = 200,
        storage: str = "fp32",
        save_optimizer: bool = True,
    ) -> None:
        if not is_encoder(model):
            raise errors.not_our_model(model, name=name)
        if calibrate_every < 0:
            key = f"components.{name}.calibrate_every"
            raise errors.bad_setting(calibrate_every, key=key, need="a whole number, at least 0")
        if storage not in STORAGE:
            raise errors.not_one_of(storage, key=f"components.{name}.storage", choices=STORAGE)
        if optimizer is not None and not isinstance(optimizer, AdamW):
            raise errors.not_our_optimizer(optimizer, name=name)
        if balancer is not None:
            if not isinstance(balancer, Balancer):
                raise errors.not_a_balancer(balancer, name=name)
            balancer.check()
        self.vocab = vocab
        self.name = name
        self._model = model
        self.optimizer = optimizer
        self.storage = storage
        self.save_optimizer = save_optimizer
        self.cfg: dict[str, Any] = {"steps": 0}
        self._has_stepped = False  # since it was made, loaded, or began anew
        self._checked: Any = None  # the links that a balancer's weights were compared with
        self._listener_map: dict[str, list[Model]] = {}
        self._linked: tuple[Any, list[str]] = (None, [])
        self._heads: dict[str, Any] = {}  # that listen
        self._scored: dict[str, Any] = {}  # that this component has put into `scored`
        self.meter = GradientMeter(calibrate_every)
        # of the pipeline, which may have several such components
        self.worst_task, self.scored = _of_pipeline(vocab)
        self.balance = None if balancer is None else GradientBalance(balancer, self.meter)
        self._batch: SharedBatch | None = None
        self._deferred: DeferredStep | None = None
        self._losses: dict[str, float] = {}
        self._squared_norm = LateSum()
        self.statistics: TaskStatistics | None = None
        self.whole: WholeBatch | None = None  # of a training in several processes
        with _LINKING:
            _INSTANCES.add(self)

    @property
    def model(self) -> Model[list[Doc], list[Array]]:
        """The encoder's model, with all gradients so far applied."""
        with self._lock:
            if self._batch is not None and self._batch.buffer:
                self._settle()
        return self._model

    @property
    def _lock(self) -> "threading.RLock":
        return _LOCKS.setdefault(self, threading.RLock())

    @property
    def shim(self) -> EncoderShim:
        """The encoder inside the model."""
        return shim_of(self._model)

    # ---- listeners

    @property
    def listener_map(self) -> dict[str, list[Model]]:
        """The listeners that are served, by their head's name."""
        self._link()
        return self._listener_map

    @listener_map.setter
    def listener_map(self, listeners: dict[str, list[Model]]) -> None:
        """To link its components, spaCy sets an empty one here and asks for the listeners of those that are enabled.

        It tells a component of others, and never of the pipeline that all belong to, hence the look at who calls.
        """
        self._listener_map = listeners
        nlp = sys._getframe(1).f_locals.get("self")
        if not isinstance(nlp, Language):
            return
        require_package(nlp)
        was_linked, before = self in _PIPELINES, _pipeline_of(self)
        _PIPELINES[self] = weakref.ref(nlp)
        if was_linked and before is not nlp:
            others = () if before is None else before.components
            if self._has_stepped and any(pipe is self for _, pipe in others):
                util.logger.warning(errors.taken_over(self.name))
            self._start_anew()
        self._heads = {}
        components = dict(nlp.components)
        for name, head in [*self._scored.items()]:
            if components.get(name) is not head:  # gone, or renamed
                del self._scored[name]
                if self.scored.get(name) is head:
                    del self.scored[name]

    def _start_anew(self) -> None:
        """It has been sourced from another pipeline, whose training is over: what is trained from here on is another.

        As spaCy's optimizer does, the encoder's own one begins anew; a schedule that has come to its end would leave
        the encoder as it is. So do its count of steps, for schedules of `grad_factor`, and the balancer.
        """
        self.cfg["steps"] = 0
        self._has_stepped = False
        if self.optimizer is not None:
            self.optimizer.start_anew()
        if self.balance is not None:
            self.balance.start_anew()

    def _link(self) -> None:
        """Find the listeners of heads that have been enabled since spaCy linked them, which it does not do itself."""
        reference = _PIPELINES.get(self)
        nlp = self._calling_pipeline() if reference is None else reference()
        if nlp is None:
            return
        names = list(nlp.pipe_names)
        if self._is_linked_to(names):
            return
        with _LINKING:  # other threads wait until all is linked
            if id(nlp) in _being_linked or self._is_linked_to(names):
                return
            _being_linked.add(id(nlp))
            try:
                self._link_to(nlp, names)
            finally:
                _being_linked.discard(id(nlp))

    def _calling_pipeline(self) -> Language | None:
        """The pipeline that is at work: a pickle or copy is not told which it belongs to."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            nlp = frame.f_locals.get("self")
            if isinstance(nlp, Language) and any(pipe is self for _, pipe in nlp.components):
                _PIPELINES[self] = weakref.ref(nlp)
                return nlp
            frame = frame.f_back
        return None

    def _is_linked_to(self, names: list[str]) -> bool:
        return self._linked[0] is self._listener_map and self._linked[1] == names

    def _link_to(self, nlp: Language, names: list[str]) -> None:
        pipeline = list(nlp.pipeline)
        places = {id(pipe): i for i, (_, pipe) in enumerate(pipeline)}
        if id(self) not in places:
            return
        encoders = shared_transformers(nlp)
        for encoder in encoders:  # in order: the nearest is to be the last that claims a listener
            for _, component in pipeline[places[id(encoder)] + 1 :]:
                encoder.find_listeners(component)
        for encoder in encoders:
            encoder._linked = encoder._listener_map, names

    @property
    def listeners(self) -> list[Model]:
        """The listeners that are served, in the order of the pipeline."""
        self._link()
        return self._served()

    @property
    def listening_components(self) -> list[str]:
        """Names of the components that listen."""
        return list(self.listener_map)

    def add_listener(self, listener: Model, component_name: str) -> None:
        """Serve a listener, which another encoder of the pipeline serves no more.

        Raises ConfigError if its width is fixed and is not the encoder's.
        """
        for other in self._beside():
            other.remove_listener(listener, component_name)
        listeners = self._listener_map.setdefault(component_name, [])
        if not any(listener is other for other in listeners):
            listeners.append(listener)
        if len(listeners) > 1 and any(_mixes(other) for other in listeners):
            raise errors.one_mix(component_name)
        self._want_layers()
        if isinstance(listener, SharedTransformerListener):
            listener.link(self.name, component_name)
        elif neighbours.is_trf_listener(listener):
            neighbours.install_trf_data()
        try:
            self._set_listener_width(listener, component_name)
        except errors.ConfigError:
            self.remove_listener(listener, component_name)
            raise

    def _beside(self) -> "list[SharedTransformer]":
        """The other encoders of its pipeline."""
        here = _PIPELINES.get(self)
        if here is None:
            return []
        others = [pipe for pipe in _all_of(self.vocab) if pipe is not self]
        return [pipe for pipe in others if _PIPELINES.get(pipe) == here]

    def remove_listener(self, listener: Model, component_name: str) -> bool:
        """Stop serving a listener. Returns whether it was served."""
        listeners = self._listener_map.get(component_name, [])
        kept = [other for other in listeners if other is not listener]
        if len(kept) == len(listeners):
            return False
        if kept:
            self._listener_map[component_name] = kept
        else:
            del self._listener_map[component_name]
            self._heads.pop(component_name, None)
        self._want_layers()
        return True

    def _want_layers(self) -> None:
        self.shim.every_layer = any(map(_mixes, self._served()))

    def _served(self) -> list[Model]:
        """The listeners, as they were linked last."""
        return [m for listeners in list(self._listener_map.values()) for m in listeners]

    def find_listeners(self, component: Any) -> None:
        """Serve all listeners in a component's model that name this component, or any, as their upstream.

        A head is scored on the documents that are annotated for it from now on, whether it listens or not.
        """
        if is_head(component):
            self._score(component)
        if isinstance(getattr(component, "model", None), Model):
            for node in component.model.walk():
                if neighbours.is_listener(node) and node.upstream_name in ("*", self.name):
                    if _mixes(node) and isinstance(component, EntityLinker):
                        raise errors.no_mix_for_linker(component.name)
                    self._heads[component.name] = component
                    self.add_listener(node, component.name)

    def _score(self, head: Any) -> None:
        """Score a head on the documents that are annotated for it."""
        scoring.install(head, self.worst_task, self.scored)
        self._scored[head.name] = head

    def _set_listener_width(self, listener: Model, task: str) -> None:
        width = self._model.maybe_get_dim("nO")
        if width is None:
            return
        if isinstance(listener, SharedTransformerListener):
            listener.n_layers = self.shim.n_layers
            if listener.has_param("mix") is True:
                n_layers = len(listener.get_param("mix"))
                if n_layers != listener.n_layers:
                    raise errors.trained_on_other_depth(
                        task, n_layers=n_layers, expected=listener.n_layers, upstream=self.name
                    )
        own = listener.maybe_get_dim("nO")
        if own is None:
            listener.set_dim("nO", width)
            neighbours.set_linker_width(self._heads.get(task), listener)
        elif own != width:
            wrong = errors.wrong_width
            if isinstance(listener, SharedTransformerListener):
                wrong = errors.trained_on_other_width
            raise wrong(task, width=own, expected=width, upstream=self.name)

    # ---- prediction

    def predict(self, docs: Iterable[Doc]) -> list[Array]:
        """Token vectors, [tokens, width] for each document; zeros for whitespace."""
        docs = docs if isinstance(docs, PreparedDocs) else list(docs)
        self._link()
        with self._lock:
            if self._batch is not None and not self._batch.holds(docs):
                self._settle()
        return Predictions(self._model.predict(docs), self.shim.take_layers())

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate documents, in batches and in order.

        A batch is read in groups of up to 32,768 tokens, or of one longer document, so that it takes no more memory
        than these, whatever `batch_size` is. If the encoder is on a GPU, it reads one group ahead: wordpieces are made
        while the GPU works.
        """
        handle_error = self.get_error_handler()
        batches: Iterable[list[Doc]] = _in_groups(util.minibatch(stream, size=batch_size))
        if self.shim.encoder is not None and self.shim.device.type != "cpu":
            batches = prepared_ahead(batches, self.shim.prepare)
        for docs in batches:
            try:
                self.set_annotations(docs, self.predict(docs))
                yield from docs
            except Exception as error:
                handle_error(self.name, self, docs, error)

    def set_annotations(self, docs: Sequence[Doc], predictions: Sequence[Array]) -> None:
        """Put token vectors into `doc.tensor`, each document into memory of its own."""
        single = len(predictions) == 1
        for doc, vectors in zip(docs, predictions, strict=True):
            doc.tensor = vectors if single else vectors.copy()
        if isinstance(predictions, Predictions):
            self._set_mixes(docs, predictions.layers)
        if any(map(neighbours.is_trf_listener, self._served())):
            neighbours.set_trf_data(docs, [doc.tensor for doc in docs])

    def _set_mixes(self, docs: Sequence[Doc], layers: Sequence[Array]) -> None:
        """Give each listener that mixes layers what it reads outside of training batches."""
        mixing = [(t, m) for t, found in self._listener_map.items() for m in found if _mixes(m)]
        if not mixing or not layers:
            return
        layer_mix.install()
        stops = list(accumulate(len(doc) for doc in docs))
        parts = list(zip(docs, [0, *stops], stops, strict=False))
        for doc in docs:
            doc._.set(layer_mix.EXTENSION, {})
        for task, listener in mixing:
            if listener.has_param("mix") is not True:
                continue  # its head is yet to be initialized
            flat = layer_mix.mixed(layers, layer_mix.layer_weights(listener))
            for doc, start, stop in parts:
                doc._.get(layer_mix.EXTENSION)[task] = flat[start:stop].copy()

    # ---- training

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None
    ) -> None:
        """Load the pretrained encoder, unless it is there already, and find the listeners. A training begins.

        Raises ConfigError if the encoder cannot be loaded or a listener's width does not fit.
        """
        self._forget()
        if self.shim.encoder is not None:
            self.shim.drop_gradients()
        self._start_anew()
        self.worst_task.reset()
        self._model.initialize()
        self._link_widths()
        if nlp is not None:
            self.scored.clear()
            for head in heads_of(nlp).values():
                self._score(head)
            behind = nlp.pipe_names[nlp.pipe_names.index(self.name) + 1 :]
            nearest = self.name
            for name in behind:
                self.find_listeners(nlp.get_pipe(name))
                if nearest != self.name:
                    self._check_nearest(name, nearest, nlp)
                if "doc.tensor" in nlp.get_pipe_meta(name).assigns:
                    nearest = name
            check_upstreams(nlp)
            self._check_balancer()

    def _check_balancer(self) -> None:
        """Raises ConfigError if the balancer's settings name a component that does not listen."""
        named = self.balance.balancer.named_tasks if self.balance is not None else ()
        for task in sorted(named):
            if task not in self.listener_map:
                raise errors.no_such_listener(task, name=self.name, tasks=self.listener_map)

    def _warn_of_weights(self) -> None:
        """Say that a balancer's weight is for a component that is not there any more, or has another name."""
        nlp = _pipeline_of(self)
        if self._checked is self._linked[1] or self.balance is None or nlp is None:
            return
        self._checked = self._linked[1]
        for task in sorted(self.balance.balancer.named_tasks):
            if task not in nlp.component_names:
                said = errors.no_such_listener(task, name=self.name, tasks=self.listener_map)
                util.logger.warning("%s", said)

    def _check_nearest(self, task: str, nearest: str, nlp: Language) -> None:
        """Raises ConfigError if a head's vectors are replaced by another component before it predicts."""
        takes_any = isinstance(nlp.get_pipe(nearest), SharedTransformer)
        for listener in self.listener_map.get(task, ()):
            if not (takes_any and listener.upstream_name == "*"):
                raise errors.vectors_replaced(task, upstream=self.name, nearest=nearest)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Encode a training batch and serve it to the listeners; no weight changes yet.

        losses: under this component's name, the squared norm of the gradient that the heads sent is added to it.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        validate_examples(examples, "SharedTransformer.update")
        self._link()
        self._settle()
        self._losses = losses
        self._warn_of_weights()
        self._count(list(examples), losses)
        docs = [example.predicted for example in examples]
        set_dropout_rate(self._model, drop)
        vectors, backprop = self._model.begin_update(docs)
        layers = self.shim.take_layers()
        self._batch = SharedBatch(
            docs,
            vectors,
            None if self.shim.is_frozen else backprop,
            width=self._model.get_dim("nO"),
            step=self.cfg["steps"],
            upstream=self.name,
            layers=layers,
            tasks=self._listener_map,
        )
        for doc, v in zip(docs, vectors, strict=True):
            doc.tensor = v  # what a head that annotates during training reads
        self._set_mixes(docs, layers)
        for task, listeners in self._listener_map.items():
            for listener in listeners:
                neighbours.receive(listener, self._batch, task)
        if any(map(neighbours.is_trf_listener, self._served())):
            neighbours.set_trf_data(docs, vectors)
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Step the encoder with the gradients of all batches since the last step.

        If the current batch has not received any yet, its heads have still to run: the step waits for them.
        """
        if self._batch is not None and not self._batch.buffer:
            self._deferred = DeferredStep.now(sgd)
            return
        self._close_batch()
        self._step(sgd)

    def finish_batch(self) -> None:
        """Run the encoder's backward pass for the current batch now, and a deferred step."""
        self._settle()

    def drop_batch(self) -> None:
        """Forget the current batch and a deferred step."""
        self._forget()

    def _settle(self) -> None:
        """Do all that is owed: the backward pass of the current batch, and a deferred step."""
        with self._lock:
            self._close_batch()
            deferred, self._deferred = self._deferred, None
            if deferred is not None:
                with deferred.as_it_was() as optimizer:
                    self._step(optimizer)

    def _count(self, examples: list[Example], losses: dict[str, float]) -> None:
        """Count what a batch is annotated for, if somebody wants to know."""
        if self.balance is not None and self._balances and self.balance.measures:
            if self.statistics is None:
                self.statistics = TaskStatistics({})
            for task, head in self._heads.items():
                known = self.statistics.heads.get(task)
                if known is not None and known is not head:  # it has taken that one's place
                    self.meter.forget(task)
                if known is not head:
                    self.statistics.add_head(task, head)
        if self.statistics is not None:
            self.statistics.begin(examples if self.whole is None else self.whole.examples, losses)

    @property
    def _balances(self) -> bool:
        """Whether there is something to weigh: with one head whoever compares tasks would change nothing."""
        if self.balance is None:
            return False
        return len(self.listener_map) > 1 or not self.balance.measures

    def _weigh(self, batch: SharedBatch) -> dict[str, float] | None:
        """The factor on each head's gradient; None for the plain sum."""
        statistics, slots = self.statistics, batch.buffer.slots
        balance = self.balance if self._balances else None
        log = None if statistics is None else statistics.gradients
        if balance is None and log is None:
            return None
        if self.whole is not None:
            shape = batch.buffer.doc_starts[-1], batch.buffer.width
            slots = self.whole.complete(slots, lambda: self._model.ops.alloc2f(*shape))
        if not slots:
            return None
        counts = {} if statistics is None else statistics.batch
        wanted = log is not None or (balance is not None and balance.measures)
        over_ranks = None if self.whole is None else self.whole.sum
        looks = log is not None or (balance is not None and "gramian" in balance.balancer.needs)
        go_down = (
            partial(self._go_down, batch.buffer) if looks and not self.shim.is_frozen else None
        )
        pull = self.meter.measure(slots, counts, go_down, over_ranks) if wanted else None
        factors = None
        if balance is not None:
            looked = pull if balance.measures else None
            factors = balance.weigh(tuple(sorted(slots)), counts, looked)
        if log is not None:
            true = None
            if log.audits_next and pull is not None and self.shim.can_go_back:
                true = self.shim.gradient_gramian([batch.buffer.spread(t) for t in pull.tasks])
            log.add(pull, factors, counts, true)
        return factors

    def _go_down(
        self, buffer: GradientBuffer, gradients: Sequence[Array], tasks: Sequence[str]
    ) -> Array:
        spread = [buffer.spread(task, g) for task, g in zip(tasks, gradients, strict=True)]
        return self.shim.sampled_gradients(spread)

    def _close_batch(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        if self.statistics is not None:
            self.statistics.end()
        for listener in self._served():
            neighbours.forget(listener)
        if self.whole is not None:
            self.whole.rescale(batch.buffer.slots)
        slots = dict(batch.buffer.slots)
        try:
            with self.shim.trains():
                gradient = batch.close(self._weigh(batch))
            squared = 0.0 if gradient is None else self._squared_norm(gradient)
            if not math.isfinite(squared):
                bad = [t for t, g in sorted(slots.items()) if not bool(np.isfinite(g).all())]
                raise errors.gradient_not_finite(bad or sorted(slots))
        except BaseException:  # half of a backward pass must not get into the next step
            self._deferred = None
            self.shim.drop_gradients()
            raise
        finally:
            self.shim.release()
        if gradient is not None:
            self._losses[self.name] = self._losses.get(self.name, 0.0) + squared

    def _forget(self) -> None:
        """Drop the current batch and a deferred step: other weights are about to be loaded."""
        self._batch = self._deferred = None
        self.shim.release()
        for listener in self._served():
            neighbours.forget(listener)

    def _step(self, sgd: Optimizer) -> None:
        self.cfg["steps"] += 1
        self._has_stepped = True
        if self.optimizer is None:
            self._model.finish_update(sgd)
            return
        with self.shim.trains():
            gradients = self.shim.take_gradients()
            if gradients:
                self.optimizer.step(self.shim.require().model, gradients)
            self.shim.end_step()

    def get_loss(self, examples: Iterable[Example], scores: Any) -> Any:
        """The encoder has no loss of its own."""

    def add_label(self, label: str) -> int:
        """The encoder has no labels."""
        raise NotImplementedError(f"`{self.name}` has no labels.")

    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Use other parameter values inside the context."""
        self._settle()
        with self._model.use_params(params):
            yield

    # ---- serialisation

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickles and copies hold no half-done step: its backward pass belongs to this encoder alone."""
        self._link()
        self._settle()
        return super().__reduce_ex__(protocol)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Everything that `to_disk` writes, as bytes."""
        self._settle()
        serialize: dict[str, Callable[[], Any]] = {
            "cfg": lambda: srsly.json_dumps(self.cfg),
            "vocab": lambda: self.vocab.to_bytes(exclude=exclude),
            "model": lambda: srsly.msgpack_dumps(self._files()),
        }
        if self.balance is not None:
            serialize["balancer"] = self.balance.to_bytes
        return util.to_bytes(serialize, exclude)

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "SharedTransformer":
        """Load what `to_bytes` gave."""
        self._forget()
        deserialize: dict[str, Callable[[Any], Any]] = {
            "cfg": lambda b: self.cfg.update(srsly.json_loads(b)),
            "vocab": lambda b: self.vocab.from_bytes(b, exclude=exclude),
            "model": lambda b: self._load(srsly.msgpack_loads(b), where=""),
        }
        balance = self.balance
        if balance is not None:
            deserialize["balancer"] = balance.from_bytes
        content, exclude = srsly.msgpack_loads(bytes_data), tuple(exclude)
        util.from_dict(content, deserialize, exclude)
        if balance is not None and "balancer" not in {*content, *exclude}:
            balance.start_anew()
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write `cfg` and the folder `model`, which Hugging Face can read, with a manifest of SHA-256 hashes."""
        self._settle()
        serialize: dict[str, Callable[[Path], Any]] = {
            "cfg": lambda p: srsly.write_json(p, self.cfg),
            "vocab": lambda p: self.vocab.to_disk(p, exclude=exclude),
            "model": lambda p: write_folder(self._files(), p),
        }
        if self.balance is not None:
            state = self.balance.to_bytes()
            serialize[BALANCER_FILE] = lambda p: p.write_bytes(state)
        util.to_disk(path, serialize, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "SharedTransformer":
        """Load what `to_disk` wrote; needs no network. Raises CheckpointError that names a damaged file."""
        self._forget()
        deserialize: dict[str, Callable[[Path], Any]] = {
            "cfg": lambda p: self.cfg.update(deserialize_config(p)),
            "vocab": lambda p: self.vocab.from_disk(p, exclude=exclude),
            "model": self._load_folder,
        }
        balance, exclude = self.balance, tuple(exclude)
        has_state = (util.ensure_path(path) / BALANCER_FILE).exists()
        if balance is not None and has_state:
            deserialize[BALANCER_FILE] = lambda p: balance.from_bytes(p.read_bytes(), file=str(p))
        util.from_disk(path, deserialize, exclude)
        if balance is not None and not has_state and "balancer" not in exclude:
            balance.start_anew()
        return self

    def _files(self) -> dict[str, bytes]:
        state = self.optimizer.to_bytes() if self.optimizer and self.save_optimizer else None
        extra = {} if state is None else {OPTIMIZER_FILE: state}
        files = self.shim.to_files(storage=self.storage, extra=extra)
        return files or {MANIFEST: make_manifest({})}

    def _load_folder(self, folder: Path) -> None:
        files = read_folder(folder, optional=(OPTIMIZER_FILE,), mapped=True)
        self._load(files, where=f"{folder}/")

    def _load(self, files: dict[str, Content], *, where: str) -> None:
        if set(files) <= {MANIFEST}:  # saved before it was initialized
            verify(files, where=where)
            if self.optimizer is not None:
                self.optimizer.start_anew()
            return
        self.shim.from_files(files, where=where)  # verifies all of them
        state = files.get(OPTIMIZER_FILE)
        if self.optimizer is not None and state is not None:
            self.optimizer.load(state, file=where + OPTIMIZER_FILE)
        elif self.optimizer is not None:
            self.optimizer.start_anew()
        self._link_widths()

    def _link_widths(self) -> None:
        set_width(self._model)
        for task, listeners in self._listener_map.items():
            for listener in listeners:
                self._set_listener_width(listener, task)


class Predictions(list[Array]):
    """Token vectors of documents, and those of every layer, [T, width] each, if a listener mixes layers."""

    def __init__(self, vectors: Iterable[Array], layers: Sequence[Array]) -> None:
        super().__init__(vectors)
        self.layers = layers


def _in_groups(batches: Iterable[list[Doc]]) -> Iterator[list[Doc]]:
    """Batches, cut before they have more than MOST_TOKENS tokens."""
    for batch in batches:
        group: list[Doc] = []
        n_tokens = 0
        for doc in batch:
            if group and n_tokens + len(doc) > MOST_TOKENS:
                yield group
                group, n_tokens = [], 0
            group.append(doc)
            n_tokens += len(doc)
        if group:
            yield group


def _mixes(listener: Model) -> bool:
    return isinstance(listener, SharedTransformerListener) and listener.mixes


def _of_pipeline(vocab: Vocab) -> tuple[WorstTask, dict[str, Any]]:
    """What follows the heads' main scores, and the heads that are scored, by name."""
    found = _all_of(vocab)
    return (found[0].worst_task, found[0].scored) if found else (WorstTask(), {})


def _pipeline_of(pipe: SharedTransformer) -> Language | None:
    """Where spaCy has linked it last; None if that is gone, or if it has not been linked."""
    reference = _PIPELINES.get(pipe)
    return None if reference is None else reference()


def _all_of(vocab: Vocab) -> "list[SharedTransformer]":
    with _LINKING:  # other threads may be making pipelines
        return [pipe for pipe in _INSTANCES if pipe.vocab is vocab]


def _release_locks() -> None:
    """In the child of a fork, where nobody is left who could."""
    global _LINKING
    _LINKING = threading.RLock()
    _being_linked.clear()
    _LOCKS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_locks)


def find_by_vocab(vocab: Vocab) -> SharedTransformer | None:
    """The shared_transformer of the pipeline that has this vocabulary; the first by name if it has several."""
    return min(_all_of(vocab), key=lambda pipe: pipe.name, default=None)


def surroundings(listener: Model, vocab: Vocab) -> tuple[str | None, list[str]]:
    """The component that a listener is in, as far as that can be found, and the shared_transformers of its pipeline."""
    encoders = sorted(_all_of(vocab), key=lambda pipe: pipe.name)
    for nlp in map(_pipeline_of, encoders):
        for name, component in [] if nlp is None else nlp.components:
            model = getattr(component, "model", None)
            if isinstance(model, Model) and any(node is listener for node in model.walk()):
                return name, [pipe.name for pipe in encoders]
    return None, [pipe.name for pipe in encoders]


def shared_transformers(nlp: Language) -> list[SharedTransformer]:
    """Those that take part in a pipeline, in its order."""
    return [pipe for _, pipe in nlp.pipeline if isinstance(pipe, SharedTransformer)]


def check_upstreams(nlp: Language, *, frozen: Iterable[str] = ()) -> None:
    """Raises ConfigError for a listener that names nobody, in a head that takes part and is not frozen."""
    for name, head in heads_of(nlp).items():
        nodes = () if name in frozen or not hasattr(head, "model") else head.model.walk()
        for node in nodes:
            if isinstance(node, SharedTransformerListener) and node.upstream is None:
                names = [pipe.name for pipe in shared_transformers(nlp)]
                raise errors.no_upstream(node.upstream_name, task=name, encoders=names)


def require_package(nlp: Language) -> None:
    """Let `spacy package` write that the pipeline needs this package.

    On its own it would also write an upper limit at the next minor version, which would strand saved pipelines, though
    a versioned name such as `spacy_mtl.TransformerEncoder.v1` keeps its behaviour.
    """
    requirements = nlp._meta.setdefault("requirements", [])  # `meta` would look at each component
    if not any(str(r).replace("_", "-").startswith("spacy-mtl") for r in requirements):
        requirements.append(f"spacy-mtl>={__version__}")


def make_shared_transformer(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Array]],
    optimizer: AdamW | None,
    balancer: Any,
    calibrate_every: int,
    storage: str,
    save_optimizer: bool,
) -> SharedTransformer:
    """Build a `shared_transformer`.

    model: from `spacy_mtl.TransformerEncoder.v1`.
    optimizer: from `spacy_mtl.AdamW.v1`; null: `[training.optimizer]` steps the encoder too.
    balancer: from the registry `balancers`. Default: `spacy_mtl.EqualProjection.v1`; null: the encoder gets the plain
        sum of the heads' gradients.
    calibrate_every: for a balancer and the log, take the length of each head's gradient at the encoder's parameters in
        so many of its batches, and more often in the beginning, which costs half a backward pass. Default: 200; 0:
        never.
    storage: dtype of the saved weights, `fp32` (default), `bf16` or `fp16`.
    save_optimizer: whether to save the state of `optimizer`, so that training can resume exactly. Default: true.
        A loaded pipeline goes on with it, schedule included; an encoder that is taken from another pipeline with
        `source` begins anew.
    """
    return SharedTransformer(
        nlp.vocab,
        model,
        name,
        optimizer=optimizer,
        balancer=balancer,
        calibrate_every=calibrate_every,
        storage=storage,
        save_optimizer=save_optimizer,
    )
