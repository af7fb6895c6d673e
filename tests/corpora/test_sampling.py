"""Which source is drawn from how often, and that no stream depends on where it is interrupted."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_mtl.corpora.sampling import Mixer, Sampling, shuffled
from spacy_mtl.errors import ConfigError

SIZES = [50, 400, 5000]
EVEN = [1.0, 1.0, 1.0]
SCHEMES = {
    "proportional": Sampling(),
    "uniform": Sampling("uniform"),
    "temperature": Sampling("temperature", 0.3),
    "capped": Sampling("temperature", 1.0, cap=100),
    "annealed": Sampling("temperature", 1.0, final_alpha=0.2, anneal_epochs=4),
}
CHI_SQUARE_999 = 13.82  # the 99.9th percentile for 2 degrees of freedom


def mixer(
    sampling: Sampling = SCHEMES["temperature"], *, seed: int = 0, weights: list[float] = EVEN
) -> Mixer:
    return Mixer(SIZES, weights, sampling=sampling, seed=seed)


def epochs(source: Mixer, n: int) -> list[list[tuple[int, int]]]:
    found = []
    for _ in range(n):
        found.append(source.draws())
        source.finish_epoch()
    return found


@pytest.mark.parametrize("weights", [EVEN, [2.0, 1.0, 0.5]], ids=["even", "weighted"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_20000_draws_are_distributed_as_the_scheme_says(scheme: str, weights: list[float]) -> None:
    source = mixer(SCHEMES[scheme], weights=weights)
    observed, expected, drawn = np.zeros(3), np.zeros(3), 0
    while drawn < 20_000:
        p = source.sampling.probabilities(SIZES, weights, epoch=source.epoch)
        draws = source.sources()[: 20_000 - drawn]
        if source.is_exact:  # a permutation: only whole epochs have the exact shares
            draws = source.sources()
        observed += np.bincount(draws, minlength=3)
        expected += p * len(draws)
        drawn += len(draws)
        source.finish_epoch()
    assert ((observed - expected) ** 2 / expected).sum() < CHI_SQUARE_999


def test_the_chi_square_above_can_fail() -> None:
    observed = np.bincount(mixer(SCHEMES["uniform"]).sources(), minlength=3)
    expected = SCHEMES["temperature"].probabilities(SIZES, EVEN) * observed.sum()
    assert ((observed - expected) ** 2 / expected).sum() > CHI_SQUARE_999


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [50, 400, 5000]),
        (Sampling("uniform"), [1, 1, 1]),
        (Sampling("temperature"), np.sqrt([50, 400, 5000])),
        (Sampling("temperature", 0.3), np.array([50, 400, 5000]) ** 0.3),
        (Sampling("temperature", 1.0, cap=100), [50, 100, 100]),
    ],
)
def test_probabilities_follow_the_formula(sampling: Sampling, expected: list[float]) -> None:
    p = sampling.probabilities(SIZES, [3.0, 1.0, 1.0])
    mass = np.asarray(expected, dtype=float) * [3.0, 1.0, 1.0]
    np.testing.assert_allclose(p, mass / mass.sum())


def test_an_empty_source_is_never_drawn() -> None:
    assert Sampling("uniform").probabilities([0, 5], [1.0, 1.0]).tolist() == [0.0, 1.0]


def test_proportional_sampling_draws_each_example_once_in_every_epoch() -> None:
    for epoch in epochs(mixer(SCHEMES["proportional"]), 3):
        assert Counter(epoch) == Counter(
            (s, i) for s, size in enumerate(SIZES) for i in range(size)
        )


def test_epochs_of_proportional_sampling_have_different_orders() -> None:
    first, second = epochs(mixer(SCHEMES["proportional"]), 2)
    assert first != second


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_example_is_drawn_again_only_after_all_others_of_its_source(scheme: str) -> None:
    drawn = [draw for epoch in epochs(mixer(SCHEMES[scheme]), 4) for draw in epoch]
    for number, size in enumerate(SIZES):
        mine = [i for s, i in drawn if s == number]
        for start in range(0, len(mine), size):
            part = mine[start : start + size]
            assert len(set(part)) == len(part)


def test_the_seed_alone_decides() -> None:
    assert epochs(mixer(seed=3), 2) == epochs(mixer(seed=3), 2)
    assert epochs(mixer(seed=3), 2) != epochs(mixer(seed=4), 2)


@given(st.integers(0, 4), st.sampled_from(sorted(SCHEMES)))
def test_a_resumed_mixer_goes_on_with_the_same_draws(done: int, scheme: str) -> None:
    whole = mixer(SCHEMES[scheme], seed=7)
    epochs(whole, done)
    state = whole.state_dict()
    resumed = mixer(SCHEMES[scheme], seed=0)
    resumed.load_state_dict(state)
    assert epochs(resumed, 1) == epochs(whole, 1)


def test_other_sources_cannot_be_resumed_with() -> None:
    state = {**mixer().state_dict(), "sizes": [1, 2, 3]}
    with pytest.raises(ConfigError, match=r"had \[1, 2, 3\] examples and have \[50, 400, 5000\]"):
        mixer().load_state_dict(state)


def test_alpha_is_annealed_from_epoch_to_epoch() -> None:
    annealed = SCHEMES["annealed"]
    assert [annealed.exponent(e) for e in range(6)] == pytest.approx(
        [1.0, 0.733333, 0.466667, 0.2, 0.2, 0.2], rel=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheme": "random"}, "`sampling = 'random'`"),
        ({"scheme": "uniform", "alpha": 0.5}, "`alpha = 0.5` would change nothing"),
        ({"scheme": "proportional", "cap": 5}, "`cap = 5` would change nothing"),
        ({"scheme": "temperature", "alpha": 1.5}, "`alpha = 1.5`"),
        ({"scheme": "temperature", "alpha": -1.0}, "`alpha = -1.0`"),
        ({"scheme": "temperature", "cap": 0}, "`cap = 0`"),
        ({"scheme": "temperature", "final_alpha": 0.1}, "`anneal_epochs = None`"),
        ({"scheme": "temperature", "final_alpha": 0.1, "anneal_epochs": 1}, "`anneal_epochs = 1`"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        Sampling(**settings)  # type: ignore[arg-type]


@given(st.lists(st.integers(), max_size=40), st.integers(1, 50), st.integers(0, 3))
def test_shuffling_in_a_window_keeps_every_item(items: list[int], buffer: int, seed: int) -> None:
    found = list(shuffled(iter(items), buffer=buffer, rng=np.random.default_rng(seed)))
    assert Counter(found) == Counter(items)


def test_shuffling_in_a_window_moves_no_item_forward_by_more_than_the_window() -> None:
    found = list(shuffled(iter(range(1000)), buffer=50, rng=np.random.default_rng(0)))
    assert found != list(range(1000))
    assert all(item - place < 50 for place, item in enumerate(found))


def test_shuffling_in_a_window_reads_no_more_than_the_window_ahead() -> None:
    items = iter(range(1000))
    list(islice(shuffled(items, buffer=50, rng=np.random.default_rng(0)), 10))
    assert next(items) <= 61
