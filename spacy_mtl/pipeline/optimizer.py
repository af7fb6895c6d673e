"""The encoder's own optimizer, so that it can have another learning rate than the heads."""

import json
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import errors
from .schedule import Replayed

if TYPE_CHECKING:
    import torch

    from ..encoder.checkpoint import Content

    State = dict[str, torch.Tensor]


class AdamW:
    """torch's AdamW for the parameters of one encoder, with schedule, clipping and layer-wise rates.

    Decoupled weight decay: Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2. It leaves biases and norms
    (parameters with fewer than two dimensions) alone. Layer-wise rates: the rate at depth d is
    `learn_rate * layer_decay ** (top - d)`, the embeddings being depth 0, the n layers 1 to n, and top the deepest that
    has parameters: n, or n + 1 where something follows the layers (Clark et al. 2020, arXiv 2003.10555, appendix A).
    """

    def __init__(
        self,
        learn_rate: float | Iterable[float],
        *,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        layer_decay: float,
        grad_clip: float | None,
    ) -> None:
        for key, value in (("beta1", beta1), ("beta2", beta2)):
            if not 0.0 <= value < 1.0:
                raise errors.bad_setting(value, key=f"optimizer.{key}", need="from 0 to below 1")
        if not 0.0 < layer_decay <= 1.0:
            need = "above 0 and at most 1"
            raise errors.bad_setting(layer_decay, key="optimizer.layer_decay", need=need)
        if not eps > 0:  # parameters without a gradient so far would divide 0 by 0
            raise errors.bad_setting(eps, key="optimizer.eps", need="above 0")
        limits = (
            ("weight_decay", weight_decay),
            ("grad_clip", grad_clip),
            ("learn_rate", learn_rate),
        )
        for key, number in limits:
            if isinstance(number, (int, float)) and not number >= 0:  # nan neither
                raise errors.bad_setting(number, key=f"optimizer.{key}", need="at least 0")
        empty = isinstance(learn_rate, (list, tuple)) and not learn_rate
        if empty or isinstance(learn_rate, str):  # it could be iterated over, too
            need = "a number or a schedule, without quotes"
            raise errors.bad_setting(learn_rate, key="optimizer.learn_rate", need=need)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.weight_decay = weight_decay
        self.layer_decay = layer_decay
        self.grad_clip = grad_clip
        self.step_count = 0
        self._rates: Replayed | None = None
        self.learn_rate = 0.0
        if isinstance(learn_rate, (int, float)):
            self.learn_rate = float(learn_rate)
        else:
            self._rates = Replayed(learn_rate, before=self.learn_rate)
        self._torch: torch.optim.AdamW | None = None
        self._names: list[str] = []
        self._saved: State | None = None  # it waits for the parameters that it belongs to
        self._goes_on = False  # from a state that was loaded, and has not stepped since

    def step(self, model: "torch.nn.Module", gradients: dict[str, "torch.nn.Parameter"]) -> None:
        """Make one step with the gradients that the parameters hold. Parameters without one are left alone.

        model: the encoder. gradients: its parameters that have a gradient, by name.
        """
        optimizer = self._bind(model)
        self._go_to(self.step_count + 1)
        if self._goes_on and not self.learn_rate:
            warnings.warn(errors.schedule_has_ended(self.step_count), stacklevel=2)
        self._goes_on = False
        for group in optimizer.param_groups:
            group["lr"] = self.learn_rate * group["scale"]
        optimizer.grad_scale = None  # type: ignore[attr-defined]
        if self.grad_clip:
            self._clip(optimizer, list(gradients.values()), self.grad_clip)
        optimizer.step()

    def _clip(self, optimizer: Any, parameters: "list[torch.nn.Parameter]", most: float) -> None:
        """As `torch.nn.utils.clip_grad_norm_` does; the fused step divides gradients itself, without another pass."""
        import torch

        if not optimizer.defaults["fused"]:
            torch.nn.utils.clip_grad_norm_(parameters, most)
            return
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        optimizer.grad_scale = ((norm + 1e-6) / most).clamp(min=1.0).float()

    def highest_rate(self, n_steps: int) -> float:
        """The highest learning rate of the first steps."""
        if self._rates is None:
            return self.learn_rate
        return max(map(self._rates, range(n_steps)), default=0.0)

    def to_bytes(self) -> bytes | None:
        """The state as safetensors: both moments and the number of steps. None before the first step."""
        from ..encoder.checkpoint import weights_to_bytes

        tensors = self._state()
        if tensors is None:
            return None
        meta = json.dumps({"step_count": self.step_count})
        return weights_to_bytes(tensors, metadata={"spacy_mtl": meta})

    def _state(self) -> "State | None":
        if self._torch is None:
            return self._saved
        state = self._torch.state
        parameters = [p for group in self._torch.param_groups for p in group["params"]]
        return {
            f"{key}/{name}": value
            for name, parameter in zip(self._names, parameters, strict=True)
            for key, value in state.get(parameter, {}).items()
        }

    def load(self, content: "Content", *, file: str = "optimizer.safetensors") -> None:
        """Take up the state that `to_bytes` gave, schedule included. content: those bytes, or a path to map."""
        from ..encoder.checkpoint import read_metadata, read_weights

        values = json.loads(read_metadata(content, file=file)["spacy_mtl"])
        self._saved, self._torch = read_weights(content, file=file), None
        self._go_to(values["step_count"])
        self._goes_on = self.step_count > 0

    def start_anew(self) -> None:
        """Forget all steps: other weights are about to be loaded, or another training begins."""
        self._saved = self._torch = None
        self._go_to(0)
        self._goes_on = False

    def _go_to(self, step_count: int) -> None:
        """Also back."""
        self.step_count = step_count
        if self._rates is not None:
            self.learn_rate = self._rates(step_count - 1) if step_count else 0.0

    def _bind(self, model: "torch.nn.Module") -> "torch.optim.AdamW":
        import torch

        from ..encoder.layers import depths

        parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if self._torch is not None:
            held = {id(p) for group in self._torch.param_groups for p in group["params"]}
            if held == {id(p) for p in parameters.values()} and all(
                _fits(p, moments) for p, moments in self._torch.state.items()
            ):
                return self._torch
            self._saved, self._torch = self._state(), None
        even = self.layer_decay == 1.0
        depth = dict.fromkeys(parameters, 0) if even else depths(model)
        top = max(depth.values())
        groups: dict[tuple[float, float], list[str]] = {}
        for name, parameter in parameters.items():
            scale = self.layer_decay ** (top - depth[name])
            decay = self.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((scale, decay), []).append(name)
        self._torch = torch.optim.AdamW(
            [
                {"params": [parameters[n] for n in names], "scale": scale, "weight_decay": decay}
                for (scale, decay), names in groups.items()
            ],
            lr=self.learn_rate,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            fused=next(iter(parameters.values())).device.type in ("cpu", "cuda"),
        )
        self._names = [name for names in groups.values() for name in names]
        if self._saved is not None:
            self._restore(parameters, self._saved)
            self._saved = None
        return self._torch

    def _restore(self, parameters: dict[str, "torch.nn.Parameter"], saved: "State") -> None:
        """Take up the moments. Those of a parameter that has another shape now begin anew, and a warning says so."""
        assert self._torch is not None
        states: dict[str, State] = {}
        for key, value in saved.items():
            kind, name = key.split("/", 1)
            if name in parameters:
                states.setdefault(name, {})[kind] = value
        for name, state in states.items():
            parameter = parameters[name]
            if not _fits(parameter, state):
                warnings.warn(errors.moments_begin_anew(name, tuple(parameter.shape)), stacklevel=2)
                continue
            device = parameter.device
            self._torch.state[parameter] = {
                kind: value.to("cpu" if kind == "step" and device.type == "cpu" else device)
                for kind, value in state.items()
            }

    def __getstate__(self) -> dict[str, Any]:
        """A pickle or copy keeps the state; of a schedule, which is a generator, only the last rate."""
        state = {**self.__dict__, "_rates": None, "_torch": None, "_names": []}
        return {**state, "_saved": self.to_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from ..encoder.checkpoint import read_weights

        self.__dict__.update(state)
        if isinstance(self._saved, bytes):
            self._saved = read_weights(self._saved, file="optimizer.safetensors")


def _fits(parameter: "torch.Tensor", state: "State") -> bool:
    """Whether moments are of a parameter's shape; torch's fused step does not look, and writes beyond their end."""
    return all(x.shape == parameter.shape for kind, x in state.items() if kind != "step")


def make_adamw(
    learn_rate: float | Iterable[float] = 5e-5,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    layer_decay: float = 1.0,
    grad_clip: float | None = 1.0,
) -> AdamW:
    """The encoder's own optimizer (`spacy_mtl.AdamW.v1`): torch's fused AdamW.

    learn_rate: a number, or a schedule that gives one for each step. Default: 5e-5.
    beta1, beta2, eps: as in Adam. Defaults: 0.9, 0.999, 1e-8.
    weight_decay: decoupled decay, times the learning rate, without biases and norms. Default: 0.01.
    layer_decay: factor on the learning rate for each layer further down. Default: 1.0, the same rate everywhere.
    grad_clip: greatest norm of the whole encoder's gradient; null or 0 for no limit. Default: 1.0.

    Raises ConfigError for a value out of range.
    """
    return AdamW(
        learn_rate,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        layer_decay=layer_decay,
        grad_clip=grad_clip,
    )
