"""What all rooms raise."""

from collections.abc import Iterable

FREEZE_INSTEAD = (
    'set `freeze_layers = "all"` in its model instead (with `source`, in the `config.cfg` of the pipeline that it is '
    "taken from)"
)


class ConfigError(ValueError):
    """A setting cannot work. Names the value, its place in the config and the fix."""


class CheckpointError(ValueError):
    """A saved model is damaged or not ours. Names the file."""


def listed(names: Iterable[object]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def not_one_of(value: object, *, key: str, choices: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`{key} = {value!r}` is not supported. Set `{key}` to one of {listed(choices)}."
    )


def bad_setting(value: object, *, key: str, need: str) -> ConfigError:
    return ConfigError(f"`{key} = {value!r}` cannot be used: it must be {need}.")


def damaged(file: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"`{file}` {reason}. The saved model is damaged or was changed by hand: copy it again from "
        "where it was saved."
    )
