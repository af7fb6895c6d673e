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
        self._asked: dict[int, Tensor] = {}
        self._is_idle = False

    def take(self, parameter: Tensor) -> Tensor | None:
        """What its last gradient was written into, if that may be had: to be written to. Asking lets it be kept."""
        if parameter.device.type != "cpu":
            return None
        self._is_idle = False
        self._asked[id(parameter)] = parameter
        kept = self._kept.pop(id(parameter), None)
        if kept is None:
            return None
        in_use = parameter.grad is not None and parameter.grad.data_ptr() == kept.data_ptr()
        form, wanted = ((x.shape, x.dtype, x.device) for x in (kept, parameter))
        return None if in_use or form != wanted else kept

    def zeros_like(self, parameter: Tensor) -> Tensor:
        """Zeros of its form, there or anywhere."""
        kept = self.take(parameter)
        if kept is None:
            return torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        return kept.zero_()

    def filled(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        """A gradient in its dtype, there or anywhere."""
        kept = self.take(parameter)
        return gradient.to(parameter.dtype) if kept is None else kept.copy_(gradient)

    def keep(self) -> None:
        """After a step: take over the gradients of those that have been asked for since the last one."""
        asked, self._asked = self._asked, {}
        if asked:
            self._kept = {key: x.grad for key, x in asked.items() if x.grad is not None}

    def rest(self) -> None:
        """Somebody predicts. Twice in a row, and training is over for a while: the memory is given back."""
        if self._is_idle:
            self.drop()
        self._is_idle = True

    def drop(self) -> None:
        """Give the memory back."""
        self._kept, self._asked = {}, {}
