"""Keeps `nlp.pipe(n_process=...)` alive: a forked child has none of its parent's threads."""

import os

import torch

_TOKENIZERS = "TOKENIZERS_PARALLELISM"
_state = {"guarded": False, "unset": False}


def guard_forks() -> None:
    """Call once a process may have started torch's threads: its forked children then compute with one.

    A child that enters an OpenMP region of its parent's waits for threads that do not exist. One thread a process is
    also what several processes on one machine want.
    """
    if not _state["guarded"] and hasattr(os, "register_at_fork"):
        _state["guarded"] = True
        os.register_at_fork(
            before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
        )


def _before() -> None:
    # The tokenizers library, if not told otherwise, prints a warning from inside the fork.
    _state["unset"] = _TOKENIZERS not in os.environ
    if _state["unset"]:
        os.environ[_TOKENIZERS] = "false"


def _after_in_parent() -> None:
    if _state["unset"]:
        os.environ.pop(_TOKENIZERS, None)


def _after_in_child() -> None:
    torch.set_num_threads(1)
