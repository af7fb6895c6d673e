"""Wordpiece vectors become token vectors, and the gradient goes back the same way."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spacy_mtl.encoder.pooling import choose, pool
from spacy_mtl.types import POOLINGS, Pooling

WIDTH = 3


@st.composite
def links(draw: st.DrawFn) -> list[list[int]]:
    """For each token the rows that it owns: none, one, several, also shared or repeated."""
    return draw(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=8))


def pool_lists(hidden: Tensor, tokens: list[list[int]], pooling: Pooling) -> Tensor:
    flat = np.array([row for token in tokens for row in token], dtype=np.int64)
    lengths = np.array([len(token) for token in tokens], dtype=np.int64)
    chosen = choose(flat, lengths, pooling)
    return pool(hidden, *map(torch.from_numpy, chosen), pooling)  # type: ignore[misc]


def pool_by_loop(hidden: Tensor, tokens: list[list[int]], pooling: Pooling) -> Tensor:
    """The definition, one token at a time."""
    pooled = [torch.zeros(0, hidden.shape[1], dtype=hidden.dtype)]
    for rows in tokens:
        own = hidden[rows]
        if not rows:
            own = torch.zeros(1, hidden.shape[1], dtype=hidden.dtype)
        vector = {
            "mean": own.mean(0),
            "first": own[0],
            "last": own[-1],
            "max": own.max(0).values,
        }[pooling]
        pooled.append(vector[None])
    return torch.cat(pooled)


def make_hidden(seed: int = 0) -> Tensor:
    """Ten rows without ties, so that `max` has a gradient."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randperm(10 * WIDTH, generator=generator).double() - 14.5
    return values.reshape(10, WIDTH).requires_grad_()


@pytest.mark.parametrize("pooling", POOLINGS)
@given(tokens=links(), seed=st.integers(0, 99))
def test_pooling_is_what_a_loop_over_tokens_gives(
    pooling: Pooling, tokens: list[list[int]], seed: int
) -> None:
    hidden = make_hidden(seed)
    torch.testing.assert_close(
        pool_lists(hidden, tokens, pooling), pool_by_loop(hidden, tokens, pooling)
    )


@pytest.mark.parametrize("pooling", POOLINGS)
@given(tokens=links(), seed=st.integers(0, 99))
def test_its_gradient_is_that_of_the_loop(
    pooling: Pooling, tokens: list[list[int]], seed: int
) -> None:
    tokens = [*tokens, [1]]
    # a row that a token owns twice ties with itself: then `max` may split its gradient
    tokens = [list(dict.fromkeys(rows)) for rows in tokens]
    dY = torch.randn(
        len(tokens), WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    gradients = []
    for function in (pool_lists, pool_by_loop):
        hidden = make_hidden(seed)
        function(hidden, tokens, pooling).backward(dY)
        assert hidden.grad is not None
        gradients.append(hidden.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(
    "tokens",
    [
        [[0, 1], [2], [3, 4, 5]],
        [[], [0, 1], [], [9], []],
        [[4], [4, 5], [5]],
        [[8, 2]],
    ],
    ids=["plain", "some empty", "shared rows", "any order"],
)
def test_autograd_agrees_with_finite_differences(pooling: Pooling, tokens: list[list[int]]) -> None:
    assert torch.autograd.gradcheck(
        lambda hidden: pool_lists(hidden, tokens, pooling), make_hidden()
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_tokens_without_wordpieces_are_zero_and_send_no_gradient(pooling: Pooling) -> None:
    hidden = make_hidden()
    pooled = pool_lists(hidden, [[], [3], [], []], pooling)
    assert (pooled != 0).any(1).tolist() == [False, True, False, False]
    pooled.backward(torch.ones_like(pooled))
    assert hidden.grad is not None
    assert (hidden.grad != 0).any(1).nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("tokens", [[], [[]], [[], []]], ids=["none", "one", "two"])
def test_no_wordpieces_at_all_pool_to_zeros(pooling: Pooling, tokens: list[list[int]]) -> None:
    pooled = pool_lists(make_hidden(), tokens, pooling)
    assert pooled.shape == (len(tokens), WIDTH)
    assert not pooled.any()


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[2.0, 2.0], [0.0, 0.0], [5.0, 6.0]]),
        ("first", [[1.0, 4.0], [0.0, 0.0], [5.0, 6.0]]),
        ("last", [[3.0, 0.0], [0.0, 0.0], [5.0, 6.0]]),
        ("max", [[3.0, 4.0], [0.0, 0.0], [5.0, 6.0]]),
    ],
)
def test_a_worked_example(pooling: Pooling, expected: list[list[float]]) -> None:
    hidden = torch.tensor([[1.0, 4.0], [3.0, 0.0], [5.0, 6.0]])
    assert pool_lists(hidden, [[0, 1], [], [2]], pooling).tolist() == expected


def test_an_unlinked_row_may_be_anything_at_all() -> None:
    hidden = make_hidden().detach()
    hidden[7] = torch.nan  # such as padding
    hidden.requires_grad_()
    pooled = pool_lists(hidden, [[0, 1], [2]], "mean")
    pooled.sum().backward()
    assert bool(torch.isfinite(pooled).all())
    assert hidden.grad is not None
    assert not hidden.grad[7].any()
