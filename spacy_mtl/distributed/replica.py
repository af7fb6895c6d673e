"""One process's copy of the pipeline: it learns from its part of each batch, and steps with the whole."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from spacy.language import Language
from spacy.training import Example
from thinc.api import Optimizer

from ..pipeline.shared_transformer import shared_transformers
from ..pipeline.statistics import count_batch, examples_per_loss
from ..types import Array
from .gradients import check_gradients, parameters_of, sum_gradients
from .group import Group
from .means import MeanGradients
from .randomness import OwnRandomness
from .sharding import split
from .transitions import Cuts, make_exact

Losses = dict[str, float]


class RankedBatch:
    """What a shared_transformer asks of the batch of which its own is a part.

    examples: of the whole batch. shares: of heads whose gradient is a mean, how much of the batch's mean this part is.
    """

    def __init__(self, group: Group, tasks: Collection[str]) -> None:
        self.group = group
        self.tasks = sorted(tasks)
        self.examples: Sequence[Example] = ()
        self.shares: Mapping[str, float] = {}

    def sum(self, array: Array) -> Array:
        """Over all ranks."""
        return self.group.sum(array)

    def complete(self, slots: Mapping[str, Array], zeros: Callable[[], Array]) -> dict[str, Array]:
        """The gradients of the tasks that have one on any rank; of those that have none here, zeros."""
        present = self.group.sum_numbers(task in slots for task in self.tasks)
        found = (task for task, n in zip(self.tasks, present, strict=True) if n)
        return {task: slots[task] if task in slots else zeros() for task in found}

    def rescale(self, slots: dict[str, Array]) -> None:
        """Make parts of means add up to means."""
        for task, share in self.shares.items():
            if task in slots:
                slots[task] = slots[task] * share


class GradientSum:
    """Stands before the pipeline's components and finishes first: it sums the gradients over all ranks."""

    name = "gradient_sum"
    is_trainable = True
    model = object()

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica

    def finish_update(self, sgd: Optimizer) -> None:
        self.replica.sum_gradients()


class Replica:
    """What spaCy's training loop sees of the pipeline.

    All ranks are given the same batches and take a part of each. So the config means what it means in one process:
    batch sizes, steps, schedules and seeds are those of all processes together.

    exclude: frozen components. seed: of the ranks' own generators.
    """

    def __init__(
        self, nlp: Language, group: Group, *, exclude: Collection[str] = (), seed: int = 0
    ) -> None:
        check_gradients(nlp, exclude=exclude)
        self.nlp = nlp
        self.group = group
        self.exclude = exclude
        self.is_replaying = False  # the batches pass by; what they changed is to be loaded
        self.own = OwnRandomness(seed, group.rank)
        self.cuts = Cuts(nlp, exclude=exclude)
        self.means = MeanGradients(nlp)
        self.shared = [pipe for pipe in shared_transformers(nlp) if pipe.name not in exclude]
        for pipe in self.shared:
            pipe.whole = RankedBatch(group, pipe.listener_map)

    @property
    def pipeline(self) -> list[tuple[str, Any]]:
        """The components in the order in which they finish an update."""
        if self.is_replaying:
            return []
        first = GradientSum(self)
        return [(first.name, first), *self.nlp.pipeline]

    def use_params(self, params: Any) -> Any:
        """Use other parameter values inside the context."""
        return self.nlp.use_params(params)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float,
        losses: Losses,
        sgd: Any,
        exclude: Iterable[str],
        annotates: Iterable[str],
    ) -> Losses:
        """Learn from this rank's part of a batch. To `losses` those of the whole batch are added."""
        whole = list(examples)
        if self.is_replaying:
            with self.cuts.drawn(whole):
                return losses
        places = split([len(eg.predicted) for eg in whole], self.group.size)[self.group.rank]
        part = [whole[place] for place in places]
        shares = self.means.shares(part, whole)
        for pipe in self.shared:
            assert pipe.whole is not None
            pipe.whole.examples, pipe.whole.shares = whole, shares
        make_exact(self.nlp)  # new labels, or other weights, bring new layers
        own: Losses = {}
        with self.cuts.drawn(whole), self.own.drawn(), self.means.scaled(shares):
            if part:
                self.nlp.update(
                    part, drop=drop, losses=own, sgd=sgd, exclude=exclude, annotates=annotates
                )
            else:  # what is counted and measured needs every rank
                for pipe in self.shared:
                    pipe.update([], losses=own)
        self._sum_losses(own, part, whole)
        for name, loss in own.items():
            losses[name] = losses.get(name, 0.0) + loss
        return losses

    def sum_gradients(self) -> None:
        """Give all ranks the gradients of the whole batches."""
        sum_gradients(parameters_of(self.nlp, exclude=self.exclude), self.group)

    def detach(self) -> None:
        """Let the pipeline be that of one process again; what was not finished is dropped."""
        for pipe in self.shared:
            pipe.whole = None
            pipe.drop_batch()

    def _sum_losses(self, own: Losses, part: Sequence[Example], whole: Sequence[Example]) -> None:
        """Make this rank's losses those of the whole batch, and close it."""
        encoders = {pipe.name for pipe in self.shared}
        heads = [
            (name, pipe)
            for name, pipe in self.nlp.pipeline
            if name not in encoders and name not in self.exclude and hasattr(pipe, "update")
        ]
        sums = self.group.sum_numbers(
            float(own.get(name, 0.0)) * _weight(head, part) for name, head in heads
        )
        for (name, head), total in zip(heads, sums, strict=True):
            own[name] = total / max(_weight(head, whole), 1)
        for pipe in self.shared:  # balancers look at the losses here
            pipe.finish_batch()
        norms = self.group.sum_numbers(own.get(name, 0.0) for name in sorted(encoders))
        own.update(zip(sorted(encoders), norms, strict=True))


def _weight(head: Any, examples: Sequence[Example]) -> int:
    """What a head's loss on a batch is to be multiplied with to be a sum."""
    return examples_per_loss(head, count_batch(head, examples), n_examples=len(examples))
