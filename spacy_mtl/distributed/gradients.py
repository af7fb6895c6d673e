"""The parameters of all components, in an order that is the same in every process, and their gradients."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from spacy.language import Language
from thinc.api import Model
from thinc.shims import Shim

from .. import errors
from .group import Group, as_tensor

LONG = 8192  # rows of a table


@dataclass(frozen=True)
class ThincParameter:
    """A parameter of a thinc layer. key: what thinc's optimizer calls it. name: the same in every process."""

    name: str
    key: tuple[int, str]
    node: Model

    @property
    def value(self) -> torch.Tensor:
        return as_tensor(self.node.get_param(self.key[1]))

    @property
    def has_gradient(self) -> bool:
        return bool(self.node.has_grad(self.key[1]))

    def gradient(self) -> torch.Tensor:
        """What the next step uses, to be changed in place; zeros if there is none yet."""
        if not self.has_gradient:
            self.node.set_grad(
                self.key[1], self.node.ops.xp.zeros_like(self.node.get_param(self.key[1]))
            )
        return as_tensor(self.node.get_grad(self.key[1]))


@dataclass(frozen=True)
class TorchParameter:
    """A parameter of a torch module inside a thinc layer."""

    name: str
    key: tuple[int, str]
    parameter: torch.nn.Parameter

    @property
    def value(self) -> torch.Tensor:
        return self.parameter.data

    @property
    def has_gradient(self) -> bool:
        return self.parameter.grad is not None

    def gradient(self) -> torch.Tensor:
        """What the next step uses, to be changed in place; zeros if there is none yet."""
        if self.parameter.grad is None:
            self.parameter.grad = torch.zeros_like(self.parameter)
        return self.parameter.grad


Parameter = ThincParameter | TorchParameter


def parameters_of(nlp: Language, *, exclude: Collection[str] = ()) -> list[Parameter]:
    """Those of the components that are trained, in the order of the pipeline and its layers, each once."""
    found: dict[tuple[int, str], Parameter] = {}
    for name, component in nlp.pipeline:
        if name not in exclude and getattr(component, "is_trainable", False):
            model = getattr(component, "model", None)
            if isinstance(model, Model):
                for parameter in _walk(name, model):
                    found.setdefault(parameter.key, parameter)
    return list(found.values())


def _walk(component: str, model: Model) -> Iterator[Parameter]:
    for number, node in enumerate(model.walk()):
        for param in node.param_names:
            if node.has_param(param) is True:
                yield ThincParameter(f"{component}.{number}.{param}", (node.id, param), node)
        for place, shim in enumerate(node.shims):
            for param, value in _named_parameters(shim):
                name = f"{component}.{number}.shim{place}.{param}"
                yield TorchParameter(name, (shim.id, param), value)


def _named_parameters(shim: Shim) -> Iterator[tuple[str, Any]]:
    module = getattr(shim, "_model", None)
    if isinstance(module, torch.nn.Module):
        yield from module.named_parameters()


def check_gradients(nlp: Language, *, exclude: Collection[str] = ()) -> None:
    """Raises ConfigError for a component that is trained and whose gradients cannot be found, and so not be summed."""
    for name, component in nlp.pipeline:
        model = getattr(component, "model", None)
        is_trained = getattr(component, "is_trainable", False) and model not in (True, False, None)
        if name in exclude or not is_trained:
            continue
        if not isinstance(model, Model):
            raise errors.cannot_sum(name, found=type(model))
        for shim in (shim for node in model.walk() for shim in node.shims):
            if not isinstance(getattr(shim, "_model", None), torch.nn.Module):
                raise errors.cannot_sum(name, found=type(shim))


def sum_gradients(parameters: Sequence[Parameter], group: Group) -> None:
    """Replace every gradient by its sum over all ranks. A rank without one contributes zeros.

    A parameter that has a gradient on no rank gets none. Of a long table, such as wordpiece embeddings, only the rows
    travel that have a gradient on any rank.
    """
    present = group.sum(np.array([p.has_gradient for p in parameters], dtype="int32"))
    gradients = [p.gradient() for p, n in zip(parameters, present, strict=True) if n]
    tables = [g for g in gradients if g.ndim == 2 and len(g) >= LONG]
    used = [(table != 0).any(dim=1).to(torch.int32) for table in tables]
    group.sum_in_place(used)
    rows = [table[mask > 0] for table, mask in zip(tables, used, strict=True)]
    group.sum_in_place([g for g in gradients if g.ndim != 2 or len(g) < LONG] + rows)
    for table, mask, summed in zip(tables, used, rows, strict=True):
        table[mask > 0] = summed


def broadcast_values(nlp: Language, group: Group) -> None:
    """Give every rank the parameters of rank 0, frozen ones too. Raises DistributedError if they have other shapes."""
    parameters = parameters_of(nlp)
    shapes: dict[str, Any] = {p.name: tuple(p.value.shape) for p in parameters}
    for name, component in nlp.pipeline:
        shapes[f"{name}.labels"] = tuple(getattr(component, "labels", ()))
    first = group.from_first(lambda: shapes)
    differ = sorted(n for n in shapes.keys() | first.keys() if shapes.get(n) != first.get(n))
    if differ:
        raise errors.other_parameters(differ[:5], rank=group.rank)
    group.gather(True)  # before values are sent, all have compared
    group.broadcast_in_place([p.value for p in parameters])
