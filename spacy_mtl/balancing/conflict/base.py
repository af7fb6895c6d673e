"""What all conflict methods share: which tasks take part, in which order, at which scale."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from ..base import NO_GRADIENT, Balancer, Floats, TaskSignals

RIDGE = 1e-6  # above the rounding of a Gramian that was measured in fp32


@dataclass(frozen=True)
class Directions:
    """A Gramian as angles and lengths, `K = norms * cosines * norms`: angles stay exact however much lengths differ.

    cosines: [T, T] symmetric, ones on the diagonal, none beyond -1 and 1.
    norms: [T] all above 0, the largest is 1.
    """

    cosines: Floats
    norms: Floats

    @classmethod
    def of(cls, gramian: Floats) -> "Directions":
        """gramian: [T, T] with T of at least 1 and a positive diagonal."""
        norms = np.sqrt(np.diagonal(gramian))
        cosines = np.clip(gramian / norms / norms[:, None], -1.0, 1.0)
        np.fill_diagonal(cosines, 1.0)
        return cls(cosines=cosines, norms=norms / norms.max())

    @property
    def gramian(self) -> Floats:
        """[T, T] K, scaled so that its largest diagonal element is 1."""
        return self.norms[:, None] * self.cosines * self.norms

    @property
    def ridged(self) -> Floats:
        """[T, T] the cosines made positive definite: negative eigenvalues, which are rounding, set to 0; RIDGE added.

        The ridge picks the smallest of several solutions, and bounds the weights of gradients that all but cancel. It
        is relative to each task's own norm, so a small gradient is not mistaken for rounding.
        """
        values, vectors = np.linalg.eigh(self.cosines)
        return (vectors * (np.maximum(values, 0.0) + RIDGE)) @ vectors.T


class ConflictBalancer(Balancer):
    """Weighs the active tasks by their Gramian, at no scale of its own: K and 10 K give the same weights.

    A task whose gradient is zero takes no part and has weight 0 (MGDA would give it all the weight, and there would be
    no update at all). A single task has nothing to be weighed against: weight 1. The others are sorted by name, so that
    the order of the pipeline changes nothing, not even a random choice.
    """

    needs = frozenset({"gramian"})
    level = "pooled"

    def weights(self, signals: TaskSignals) -> Floats:
        norms = signals.norms
        zero = norms.max(initial=0.0) * NO_GRADIENT
        moving = [i for i in range(len(norms)) if norms[i] > zero]
        moving.sort(key=lambda i: signals.tasks[i])
        weights = np.zeros(len(norms))
        if len(moving) == 1:
            weights[moving] = 1.0
        elif moving:
            tasks = tuple(signals.tasks[i] for i in moving)
            directions = Directions.of(signals.need("gramian")[np.ix_(moving, moving)])
            weights[moving] = self.solve(directions, tasks)
        return weights

    @abstractmethod
    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        """[T] the weights of two or more tasks, none of which has a zero gradient; `tasks` are their names, sorted."""
