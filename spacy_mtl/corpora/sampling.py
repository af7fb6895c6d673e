"""How often each source is drawn from, and in which order its examples come. Knows nothing of documents.

Everything is a function of the seed, the epoch and how much has been drawn, so a stream can be resumed anywhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .. import errors
from ..types import Ints

Scheme = Literal["proportional", "uniform", "temperature"]
SCHEMES: tuple[str, ...] = get_args(Scheme)
Floats = NDArray[np.float64]

_ORDER, _PASS = 0, 1  # what a random generator is for, as part of its seed


@dataclass(frozen=True)
class Sampling:
    """The probability of each source, `p_i ∝ weight_i * min(n_i, cap) ** alpha`.

    scheme: `proportional` (alpha = 1), `uniform` (alpha = 0) or `temperature`.
    alpha: between 0 (all sources alike) and 1 (as large as they are), for `temperature`. Default: 0.5.
    cap: a source counts as no larger than so many documents (T5, arXiv 1910.10683, section 3.5.2). Default: no limit.
    final_alpha, anneal_epochs: alpha goes in equal steps from `alpha` in the first epoch to `final_alpha` in epoch
        number `anneal_epochs`, and stays there (annealed sampling: arXiv 1902.02671, section 3.2).

    Raises ConfigError for settings that cannot work.
    """

    scheme: str = "proportional"
    alpha: float | None = None
    cap: int | None = None
    final_alpha: float | None = None
    anneal_epochs: int | None = None

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise errors.not_one_of(self.scheme, key="sampling", choices=SCHEMES)
        for key in ("alpha", "cap", "final_alpha", "anneal_epochs"):
            if getattr(self, key) is not None and self.scheme != "temperature":
                raise errors.only_for_temperature(key, value=getattr(self, key), scheme=self.scheme)
        for key in ("alpha", "final_alpha"):
            value = getattr(self, key)
            if value is not None and not 0.0 <= value <= 1.0:
                raise errors.bad_setting(value, key=key, need="between 0 and 1")
        if self.cap is not None and self.cap < 1:
            raise errors.bad_setting(self.cap, key="cap", need="at least 1, or null for no limit")
        if (self.final_alpha is None) != (self.anneal_epochs is None):
            raise errors.bad_setting(
                self.anneal_epochs, key="anneal_epochs", need="set together with `final_alpha`"
            )
        if self.anneal_epochs is not None and self.anneal_epochs < 2:
            raise errors.bad_setting(self.anneal_epochs, key="anneal_epochs", need="at least 2")

    def exponent(self, epoch: int) -> float:
        """alpha in an epoch, the first of which is 0.

        >>> [Sampling("temperature", 1.0, None, 0.2, 5).exponent(e) for e in (0, 2, 4, 9)]
        [1.0, 0.6, 0.2, 0.2]
        """
        if self.scheme != "temperature":
            return 1.0 if self.scheme == "proportional" else 0.0
        start = 0.5 if self.alpha is None else self.alpha
        if self.final_alpha is None or self.anneal_epochs is None:
            return start
        share = min(epoch / (self.anneal_epochs - 1), 1.0)
        return round(start + share * (self.final_alpha - start), 12)

    def probabilities(
        self, sizes: Sequence[int], weights: Sequence[float], *, epoch: int = 0
    ) -> Floats:
        """[sources] the probability of each source in an epoch.

        sizes: documents in each source. weights: the user's factor for each.

        >>> Sampling("temperature", 0.5).probabilities([100, 10000], [1.0, 1.0]).round(4).tolist()
        [0.0909, 0.9091]
        """
        counts = np.asarray(sizes, dtype=np.float64)
        if self.cap is not None:
            counts = np.minimum(counts, self.cap)
        mass = np.asarray(weights, dtype=np.float64) * counts ** self.exponent(epoch)
        mass[counts == 0] = 0.0
        return mass / mass.sum()


class Mixer:
    """Draws the examples of all sources, epoch after epoch.

    An epoch has as many draws as there are examples. With `proportional` sampling and equal weights each example is
    drawn exactly once. Otherwise each draw is an independent choice of a source; within a source every example is drawn
    once before any is drawn again, across epochs too.

    sizes: examples in each source; may be empty until `begin`. weights: the user's factor for each. seed: of all random
        choices. names: of the sources, for who asks.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float],
        *,
        sampling: Sampling,
        seed: int,
        names: Sequence[str] = (),
    ) -> None:
        self.names = list(names)
        self.sizes = list(sizes)
        self.weights = list(weights)
        self.sampling = sampling
        self.seed = seed
        self.epoch = 0
        self.position = 0  # draws of this epoch that have been used
        self.resume_at = 0  # draws of this epoch that were used before the stream was resumed
        self.drawn = [0] * len(self.weights)  # from each source before this epoch
        self._is_resumed = False

    @property
    def is_exact(self) -> bool:
        """True if every epoch holds each example exactly once."""
        return self.sampling.scheme == "proportional" and len(set(self.weights)) <= 1

    def sources(self) -> Ints:
        """[draws] the source of each draw of the current epoch."""
        rng = np.random.default_rng([self.seed, _ORDER, self.epoch])
        n_draws = sum(self.sizes)
        if self.is_exact:
            return rng.permutation(np.repeat(np.arange(len(self.sizes)), self.sizes))
        p = self.sampling.probabilities(self.sizes, self.weights, epoch=self.epoch)
        return rng.choice(len(self.sizes), size=n_draws, p=p).astype(np.int64)

    def order(self, source: int, start: int, count: int) -> Ints:
        """[count] the examples of one source that its draws number `start` and following take."""
        size, found = self.sizes[source], []
        first, last = start // size, max(start, start + count - 1) // size
        for number in range(first, last + 1):
            rng = np.random.default_rng([self.seed, _PASS, source, number])
            found.append(rng.permutation(size))
        skipped = start - first * size
        return np.concatenate(found)[skipped : skipped + count]

    def draws(self) -> list[tuple[int, int]]:
        """(source, example) of each draw of the current epoch."""
        sources = self.sources()
        examples = np.zeros(len(sources), dtype=np.int64)
        for source, start in enumerate(self.drawn):
            mine = np.flatnonzero(sources == source)
            if len(mine):
                examples[mine] = self.order(source, start, len(mine))
        return list(zip(sources.tolist(), examples.tolist(), strict=True))

    def finish_epoch(self) -> None:
        """Go on to the next epoch."""
        counts = np.bincount(self.sources(), minlength=len(self.sizes))
        self.drawn = [a + int(b) for a, b in zip(self.drawn, counts, strict=True)]
        self.epoch += 1
        self.position = self.resume_at = 0

    def begin(self, sizes: Sequence[int]) -> None:
        """Draw the epoch from where it was resumed, else from its beginning, with sources of these sizes.

        Raises ConfigError if it was resumed and they had others.
        """
        if self._is_resumed and self.sizes != list(sizes):
            raise errors.other_sources(then=self.sizes, now=list(sizes))
        if self.sizes != list(sizes):
            self.sizes, self.drawn = list(sizes), [0] * len(self.weights)
        self.position, self._is_resumed = self.resume_at, False

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, for `load_state_dict`: plain values only."""
        return {
            "seed": self.seed,
            "sizes": list(self.sizes),
            "epoch": self.epoch,
            "position": self.position,
            "drawn": list(self.drawn),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises ConfigError if the sources are known to have other sizes now."""
        sizes = list(state["sizes"])  # none, if nothing was drawn
        if self.sizes and sizes and sizes != self.sizes:
            raise errors.other_sources(then=sizes, now=self.sizes)
        self.sizes = sizes or self.sizes
        self._is_resumed = bool(sizes)
        self.seed = state["seed"]
        self.epoch = state["epoch"]
        self.position = self.resume_at = state["position"]
        self.drawn = list(state["drawn"])


def shuffled(items: Iterator[Any], *, buffer: int, rng: np.random.Generator) -> Iterator[Any]:
    """The items in an order that is random within a window of `buffer` items.

    >>> sorted(shuffled(iter(range(9)), buffer=3, rng=np.random.default_rng(0)))
    [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    held: list[Any] = []
    for item in items:
        if len(held) < buffer:
            held.append(item)
            continue
        place = int(rng.integers(buffer))
        held[place], item = item, held[place]
        yield item
    for place in rng.permutation(len(held)).tolist():
        yield held[place]
