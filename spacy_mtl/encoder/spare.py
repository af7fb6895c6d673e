"""Memory of gradients, from one step to the next."""

import torch
from torch import Tensor


class SpareGradients:
    """Memory of the last step's gradients of some parameters, for the next ones.

    An encoder's gradients take tens of megabytes that a processor gets from the system page by page, and gives back, in
    each step: with the embedding table's, that takes longer than to fill them (project/benchmarks/NOTES.md). Who holds
    a gradient beyond the step that it was for, without a copy, sees it change.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}
        self._given: dict[int, tuple[Tensor, torch.UntypedStorage]] = {}
        self._is_idle = False

    def _take(self, parameter: Tensor) -> Tensor | None:
        """What its last gradient was written into, if that may be had: to be written to."""
        self._is_idle = False
        kept = self._kept.pop(id(parameter), None)
        if kept is None:
            return None
        in_use = parameter.grad is not None and parameter.grad.data_ptr() == kept.data_ptr()
        form, wanted = ((x.shape, x.dtype, x.device) for x in (kept, parameter))
        return None if in_use or form != wanted else kept

    def zeros_like(self, parameter: Tensor) -> Tensor:
        """Zeros of its form, there or anywhere."""
        kept = self._take(parameter)
        if kept is not None:
            return self._give(parameter, kept.zero_())
        zeros = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        return self._give(parameter, zeros)

    def filled(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        """A gradient in its dtype, there or anywhere."""
        kept = self._take(parameter)
        found = gradient.to(parameter.dtype) if kept is None else kept.copy_(gradient)
        return self._give(parameter, found)

    def _give(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        """The gradient, whose memory is held: nothing else can lie there until `keep` looks.

        One that is to be added to another in its place, in `grad`, is not.
        """
        if parameter.device.type == "cpu" and not self._is_given(parameter):
            self._given[id(parameter)] = parameter, gradient.untyped_storage()
        return gradient

    def _is_given(self, parameter: Tensor) -> bool:
        """Whether its `grad` is what was made here last."""
        _, memory = self._given.get(id(parameter), (None, None))
        grad = parameter.grad
        return memory is not None and grad is not None and grad.data_ptr() == memory.data_ptr()

    def keep(self) -> None:
        """After a step: take over the memory of gradients that were made here since the last one, and are still there.

        What somebody else has put into a parameter's `grad` is theirs.
        """
        if self._given:
            self._kept = {
                id(x): x.grad
                for x, _ in self._given.values()
                if x.grad is not None and self._is_given(x)
            }
            self._given = {}

    def rest(self) -> None:
        """Somebody predicts. Twice in a row, and training is over for a while: the memory is given back."""
        if self._is_idle:
            self.drop()
        self._is_idle = True

    def drop(self) -> None:
        """Give the memory back."""
        self._kept, self._given = {}, {}
