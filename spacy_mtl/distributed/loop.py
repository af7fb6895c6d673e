"""spaCy's training loop in several processes: what goes into it, and when the processes wait for each other."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from spacy.language import Language
from spacy.training import Example
from spacy.training import loop as spacy_loop

from .. import errors
from ..pipeline.diagnostics import GradientLog
from ..pipeline.shared_transformer import shared_transformers
from ..pipeline.statistics import TaskStatistics
from . import checkpoint
from .checkpoint import Progress
from .gradients import broadcast_values
from .group import Group
from .randomness import kept, set_shared_state, shared_state
from .replica import Replica
from .sharding import digest

Batch = tuple[int, list[Example]]
Step = tuple[list[Example], dict[str, Any], bool | None]
Evaluation = tuple[float, dict[str, Any]]


@dataclass
class Session:
    """One run of the loop.

    output: where pipelines and checkpoint are written; None: nowhere. resumed: the checkpoint's folder on this machine.
    progress: how far the training is; while `resumed` is being replayed, how far it was.
    has_begun: the pipeline is what training has made of it, and may be saved.
    """

    group: Group
    seed: int = 0
    output: Path | None = None
    resumed: Path | None = None
    progress: Progress | None = None
    has_begun: bool = False

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Inside, `spacy.training.loop.train` trains in several processes.

        Only what drives the steps is put in the place of spaCy's, and calls it. What an earlier training has left is
        neither removed nor overwritten before this one has made a step, or is where the other one was.
        """
        module = cast(Any, spacy_loop)
        names = ("train_while_improving", "clean_output_dir", "create_before_to_disk_callback")
        before = {name: getattr(module, name) for name in names}
        steps, callback = before["train_while_improving"], before["create_before_to_disk_callback"]

        def driven(*args: Any, **kwargs: Any) -> Iterator[Step]:
            return self.steps(steps, *args, **kwargs)

        def guarded(given: Any) -> Callable[[Language], Any]:
            edit = callback(given)
            return lambda nlp: edit(nlp) if self.has_begun else Unsaved()

        module.train_while_improving = driven
        module.clean_output_dir = lambda path: None  # `_begin` does
        module.create_before_to_disk_callback = guarded
        try:
            yield
        finally:
            for name, function in before.items():
                setattr(module, name, function)

    def steps(
        self,
        steps: Callable[..., Iterator[Step]],
        nlp: Language,
        optimizer: Any,
        train_data: Iterable[Batch],
        evaluate: Callable[[], Evaluation],
        *,
        exclude: list[str],
        before_update: Callable[[Language, dict[str, Any]], None] | None,
        **settings: Any,
    ) -> Iterator[Step]:
        """The steps of spaCy's `train_while_improving`."""
        group = self.group
        start = self._agree(nlp)
        replica = Replica(nlp, group, exclude=exclude, seed=self.seed)
        replica.is_replaying = self.resumed is not None
        documents = Documents(group)
        scores: dict[int, float] = {}

        def evaluate_once() -> Evaluation:
            """On rank 0, or what a replayed training has found."""
            if replica.is_replaying and self.progress is not None:
                if documents.step not in self.progress.scores:
                    raise errors.other_documents(documents.step)
                found: Evaluation = self.progress.scores[documents.step], {}
            else:
                with kept():
                    found = group.from_first(evaluate)
            scores[documents.step] = float(found[0])
            return found

        def hook(_: Any, args: dict[str, Any]) -> None:
            if before_update is not None:
                before_update(nlp, args)

        data = documents.agreed(train_data, replica)
        try:
            for step in steps(
                replica,
                optimizer,
                data,
                evaluate_once,
                exclude=exclude,
                before_update=hook,
                **settings,
            ):
                _, info, is_best = step
                if replica.is_replaying:
                    self._catch_up(nlp, optimizer, replica, documents, info["step"])
                    continue
                if not self.has_begun:
                    self._begin()
                with kept():  # rank 0 logs, and saves the pipeline
                    yield step
                if is_best is not None:
                    group.from_first(lambda: None)  # until it has
                    self.progress = Progress(
                        world_size=group.size,
                        step=info["step"],
                        digest=documents.digest,
                        start=start,
                        now=shared_state(),
                        own=group.gather(replica.own.state),
                        scores=scores,
                        run=group.run,
                    )
                    group.from_first(lambda: self._save(nlp, optimizer))
                    replica.own.begin_after(info["step"])
                    self._forget_gradients(nlp)
            if replica.is_replaying:  # there were fewer steps than before
                raise errors.other_documents(documents.step)
        finally:
            replica.detach()

    def _begin(self) -> None:
        """Remove what an earlier training has left, now that this one has made a step."""
        self.has_begun = True
        if self.output is not None and self.group.is_first:
            checkpoint.clear(self.output / checkpoint.FOLDER)
            for name in (spacy_loop.DIR_MODEL_BEST, spacy_loop.DIR_MODEL_LAST):
                shutil.rmtree(self.output / name, ignore_errors=True)

    def _agree(self, nlp: Language) -> dict[str, Any]:
        """Let all ranks begin with the same parameters, generators and measurements. Returns the generators' state."""
        group = self.group
        broadcast_values(nlp, group)
        start = shared_state() if self.progress is None else self.progress.start
        start = group.from_first(lambda: start)
        set_shared_state(start)
        measured = group.from_first(
            lambda: [_measures(p.statistics) for p in shared_transformers(nlp)]
        )
        if not group.is_first:
            for pipe, wants in zip(shared_transformers(nlp), measured, strict=True):
                pipe.statistics = None if wants is None else TaskStatistics.of(nlp)
                if pipe.statistics is not None and wants:
                    pipe.statistics.gradients = GradientLog()
        return start

    def _catch_up(
        self, nlp: Language, optimizer: Any, replica: Replica, documents: "Documents", step: int
    ) -> None:
        """At the step of the checkpoint, load what the steps until then have changed."""
        assert self.progress is not None
        assert self.resumed is not None
        if step < self.progress.step:
            return
        if documents.digest != self.progress.digest:
            raise errors.other_documents(step)
        checkpoint.load_into(nlp, optimizer, self.progress, self.resumed)
        set_shared_state(self.progress.now)
        replica.own.state = self.progress.own[self.group.rank]
        replica.own.begin_after(step)
        replica.is_replaying = False
        self.has_begun = True

    def _forget_gradients(self, nlp: Language) -> None:
        """Rank 0's logger has read what was measured; on the others nobody does."""
        for pipe in shared_transformers(nlp):
            if not self.group.is_first and pipe.statistics and pipe.statistics.gradients:
                pipe.statistics.gradients.clear()

    def _save(self, nlp: Language, optimizer: Any) -> None:
        if self.output is not None and self.progress is not None:
            checkpoint.save(self.output / checkpoint.FOLDER, nlp, optimizer, self.progress)


class Unsaved:
    """Stands in for a pipeline that is not to be saved: spaCy's loop saves it whenever it ends, trained or not."""

    def to_disk(self, path: Path) -> None:
        """Leave what is there."""


class Documents:
    """Watches that all ranks are given the same batches.

    digest: of all documents so far.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.digest = 0
        self.step = 0

    def agreed(self, train_data: Iterable[Batch], replica: Replica) -> Iterator[Batch]:
        """The batches. Raises DistributedError where ranks have different ones, or one has none left."""
        for epoch, batch in train_data:
            self.digest = digest((eg.predicted for eg in batch), self.digest)
            if not replica.is_replaying:
                self._compare(ended=False)
            yield epoch, batch
            self.step += 1
        if not replica.is_replaying:
            self._compare(ended=True)

    def _compare(self, *, ended: bool) -> None:
        """Rank 0's own values are what the others compare theirs with."""
        found = self.group.gather((ended, self.digest))
        first_ended, first_digest = found[0]
        for rank, (rank_ended, rank_digest) in enumerate(found):
            if rank_ended != first_ended:
                raise errors.documents_end(rank, step=self.step, ended=rank_ended)
            if not ended and rank_digest != first_digest:
                raise errors.documents_differ(rank, step=self.step)


def _measures(statistics: TaskStatistics | None) -> bool | None:
    """Whether gradients are measured for the log; None if nothing is. Raises ConfigError for what one rank cannot."""
    if statistics is None:
        return None
    if statistics.gradients is not None and statistics.gradients.audit_every:
        raise errors.cannot_audit(statistics.gradients.audit_every)
    return statistics.gradients is not None
