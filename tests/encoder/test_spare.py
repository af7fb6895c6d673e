"""Gradients are written where the last ones were, and nothing else is kept."""

import pytest
import torch
from torch import nn

from spacy_mtl.encoder.spare import SpareGradients


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.randn(3, 4))


def after_a_step(parameter: nn.Parameter, spare: SpareGradients) -> int:
    """Where the gradient was that `spare` has been told to keep."""
    parameter.grad = spare.filled(parameter, torch.ones(3, 4))
    place = parameter.grad.data_ptr()
    spare.keep()
    parameter.grad = None
    spare.keep()  # a step without gradients changes nothing
    return place


def test_a_gradient_is_written_where_the_last_one_was_in_the_parameter_s_dtype() -> None:
    one, spare = parameter(), SpareGradients()
    place = after_a_step(one, spare)
    narrow = torch.randn(3, 4).bfloat16()
    found = spare.filled(one, narrow)
    assert found.data_ptr() == place
    assert torch.equal(found, narrow.float())
    one.grad = found
    spare.keep()
    one.grad = None
    zeros = spare.zeros_like(one)
    assert zeros.data_ptr() == place
    assert not zeros.any()


def test_memory_is_handed_out_once() -> None:
    """Gradients of a second batch are added up, and must not be written over the first's."""
    one, spare = parameter(), SpareGradients()
    place = after_a_step(one, spare)
    first, second = spare.filled(one, torch.ones(3, 4)), spare.filled(one, torch.zeros(3, 4))
    assert first.data_ptr() == place != second.data_ptr()
    assert first.all()


def is_reused(parameter: nn.Parameter, spare: SpareGradients, place: int) -> bool:
    return spare.zeros_like(parameter).data_ptr() == place


def test_parameters_are_told_apart() -> None:
    one, other, spare = parameter(), parameter(), SpareGradients()
    place = after_a_step(one, spare)
    assert not is_reused(other, spare, place)
    assert is_reused(one, spare, place)


def test_what_others_have_put_into_grad_is_theirs() -> None:
    """They may hold it, as a moving average of gradients; it must not be written over."""
    one, spare = parameter(), SpareGradients()
    first = one.grad = spare.filled(one, torch.ones(3, 4))
    average = one.grad = torch.ones(3, 4)
    spare.keep()
    one.grad = None
    found = spare.zeros_like(one)
    assert found.data_ptr() not in (average.data_ptr(), first.data_ptr())
    assert average.all()


def test_the_sum_of_several_batches_gradients_is_kept() -> None:
    one, spare = parameter(), SpareGradients()
    one.grad = spare.filled(one, torch.ones(3, 4))
    one.grad += spare.filled(one, torch.ones(3, 4))
    place = one.grad.data_ptr()
    spare.keep()
    one.grad = None
    assert is_reused(one, spare, place)


def test_a_gradient_that_was_only_measured_is_not_kept() -> None:
    """As balancers do, before the backward pass that trains."""
    one, spare = parameter(), SpareGradients()
    measured = spare.filled(one, torch.ones(3, 4))
    one.grad = spare.filled(one, torch.ones(3, 4))
    place = one.grad.data_ptr()
    spare.keep()
    one.grad = None
    assert measured.data_ptr() != place
    assert is_reused(one, spare, place)


def test_what_was_not_asked_for_in_the_last_step_is_let_go() -> None:
    one, other, spare = parameter(), parameter(), SpareGradients()
    place = after_a_step(one, spare)
    other_place = after_a_step(other, spare)
    assert not is_reused(one, spare, place)
    assert is_reused(other, spare, other_place)


def test_a_gradient_that_has_outlived_its_step_is_not_written_over() -> None:
    one, spare = parameter(), SpareGradients()
    one.grad = spare.filled(one, torch.ones(3, 4))
    spare.keep()
    found = spare.filled(one, torch.zeros(3, 4))
    assert found.data_ptr() != one.grad.data_ptr()
    assert one.grad.all()


def test_memory_is_given_back_when_training_is_over() -> None:
    """A prediction in each step, as of a component that annotates, is no reason."""
    one, spare = parameter(), SpareGradients()
    place = after_a_step(one, spare)
    for _ in range(2):
        spare.rest()
        assert after_a_step(one, spare) == place
    spare.rest()
    spare.rest()
    assert not spare._kept


@pytest.mark.parametrize("change", ["shape", "dtype"])
def test_memory_of_another_form_is_not_used(change: str) -> None:
    one, spare = parameter(), SpareGradients()
    after_a_step(one, spare)
    one.data = torch.randn(5, 4) if change == "shape" else one.data.double()
    found = spare.zeros_like(one)
    assert (found.shape, found.dtype) == (one.shape, one.dtype)


def test_on_other_devices_nothing_is_kept() -> None:
    one, spare = nn.Parameter(torch.empty(3, 4, device="meta")), SpareGradients()
    one.grad = spare.zeros_like(one)
    spare.keep()
    assert not spare._kept


def test_memory_is_given_back() -> None:
    one, spare = parameter(), SpareGradients()
    after_a_step(one, spare)
    assert spare._kept
    spare.drop()
    assert not spare._kept
