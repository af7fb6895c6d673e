"""What each head has seen of the training data, and its loss on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spacy.language import Language
from spacy.pipeline.entity_linker import EntityLinker
from spacy.pipeline.textcat import TextCategorizer
from spacy.training import Example
from spacy.util import logger

from ..annotation import count_units, heads_of, unit_of
from .heads.masking import AnnotatedOnly

if TYPE_CHECKING:
    from .diagnostics import GradientLog


@dataclass
class TaskCount:
    """Of one head: annotated units (tokens, documents or entities), documents, words in these, and the summed loss."""

    units: int = 0
    documents: int = 0
    words: int = 0
    loss: float = 0.0

    @property
    def loss_per_unit(self) -> float | None:
        """Mean loss of an annotated unit, None without any."""
        return self.loss / self.units if self.units else None

    def add(self, other: "TaskCount") -> None:
        self.units += other.units
        self.documents += other.documents
        self.words += other.words
        self.loss += other.loss


@dataclass
class TaskStatistics:
    """Counts of all heads, filled batch by batch by the shared_transformer that it is given to.

    heads: components by name.
    recent: since the last `take`. total: since the beginning. batch: of the batch that began last; its losses are there
        when it has ended.
    gradients: if there is one, the shared_transformer also tells it how the heads pull.

    A copy or a pickle knows no heads.
    """

    heads: dict[str, Any]
    recent: dict[str, TaskCount] = field(default_factory=dict)
    total: dict[str, TaskCount] = field(default_factory=dict)
    gradients: "GradientLog | None" = None

    def __post_init__(self) -> None:
        for name in self.heads:
            self.recent[name], self.total[name] = TaskCount(), TaskCount()
        self.batch: dict[str, TaskCount] = {}
        self._open = False
        self._n_examples = 0
        self._losses: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._warned = False

    def add_head(self, name: str, head: Any) -> None:
        """Count for one more head."""
        self.heads[name] = head
        self.recent[name], self.total[name] = TaskCount(), TaskCount()

    def __reduce__(self) -> Any:
        return TaskStatistics, ({},)

    @classmethod
    def of(cls, nlp: Language) -> "TaskStatistics":
        """Of all heads of a pipeline that can be trained."""
        return cls(heads_of(nlp))

    def unit(self, task: str) -> str:
        """What the units of a head are: `tokens`, `documents` or `entities`."""
        return unit_of(self.heads[task])

    def begin(self, examples: Sequence[Example], losses: dict[str, float]) -> None:
        """Count a batch. losses: what the heads are going to add their losses to."""
        self.end()
        self._losses, self._before = losses, dict(losses)
        self._n_examples = len(examples)
        self.batch = {name: count_batch(head, examples) for name, head in self.heads.items()}
        self._open = True

    def end(self) -> None:
        """Take the losses of the batch, once all heads have seen it."""
        if not self._open:
            return
        self._open = False
        if any(name not in self._losses for name in self._before) and not self._warned:
            self._warned = True
            logger.warning(
                "The dict of losses was emptied after an update, before the losses of its heads could be read: they "
                "count as 0, for the log and for balancers. Pass a new dict to each `nlp.update`, or none."
            )
        for name, count in self.batch.items():
            loss = self._losses.get(name, 0.0) - self._before.get(name, 0.0)
            head = self.heads[name]
            count.loss = float(loss) * examples_per_loss(head, count, n_examples=self._n_examples)
            self.recent[name].add(count)
            self.total[name].add(count)

    def take(self) -> dict[str, TaskCount]:
        """The counts since the last call."""
        self.end()
        taken = self.recent
        self.recent = {name: TaskCount() for name in self.heads}
        return taken


def examples_per_loss(head: Any, count: TaskCount, *, n_examples: int) -> int:
    """Most heads' losses are sums over a batch; some are means over its documents, units or entities.

    count: of the batch. n_examples: all of its documents.
    """
    mean = getattr(head, "gradient_mean", None)
    if mean:  # its loss is one too
        return n_examples if mean == "documents" else count.units
    if isinstance(head, TextCategorizer):
        return count.documents if isinstance(head, AnnotatedOnly) else n_examples
    return count.units if isinstance(head, EntityLinker) else 1


def count_batch(head: Any, examples: Iterable[Example]) -> TaskCount:
    """What a batch is annotated for."""
    counted = TaskCount()
    for example in examples:
        units = count_units(head, example.reference)
        if units:
            counted.add(TaskCount(units, 1, len(example.predicted)))
    return counted
