"""Balancers."""

from collections.abc import Iterable

from .base import CheckpointError, ConfigError, listed
from .pipeline import GradientError


def not_a_balancer(value: object, *, name: str) -> ConfigError:
    return ConfigError(
        f"`components.{name}.balancer = {value!r}` is not a balancer. Name one in `[components.{name}.balancer]`, such "
        'as `@balancers = "spacy_mtl.EqualProjection.v1"`, or set it to `null` for the plain sum of the gradients. A '
        "balancer of your own is a subclass of `spacy_mtl.balancing.Balancer`."
    )


def damaged_balancer(file: str, *, reason: Exception) -> CheckpointError:
    found = f"there is no {reason}" if isinstance(reason, KeyError) else str(reason)
    return CheckpointError(
        f"`{file}` is damaged ({found}). Delete it to let the balancer start anew, or restore it."
    )


def bad_balancer_class(
    balancer: object, attribute: str, value: object, *, need: str
) -> ConfigError:
    return ConfigError(
        f"`{type(balancer).__name__}.{attribute} = {value!r}` is nothing that a balancer can have. It must be {need}."
    )


def bad_balancer_weights(balancer: object, weights: object, *, tasks: Iterable[str]) -> ValueError:
    return ValueError(
        f"`{type(balancer).__name__}.weights` returned {weights!r} for the tasks {listed(tasks)}. It must return one "
        "finite number for each of them, in their order."
    )


_DIVERGED = (
    "is not finite, so the training has diverged there. Lower the learning rates, clip with `grad_clip`, or use "
    '`precision = "bf16"` in place of `fp16`.'
)


def gradient_not_finite(tasks: Iterable[str]) -> GradientError:
    return GradientError(f"The gradient that {listed(tasks)} sent to the encoder {_DIVERGED}")


def loss_not_finite(tasks: Iterable[str]) -> GradientError:
    return GradientError(f"The loss of {listed(tasks)} {_DIVERGED}")
