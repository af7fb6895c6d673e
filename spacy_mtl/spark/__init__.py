"""spaCy pipelines as a stage of Spark ML. Needs the extra `spark`; `LightAnnotator` needs neither Spark nor Java."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .annotations import Annotation
    from .light import LightAnnotator
    from .session import local_session
    from .stage import SpacyAnnotator

__all__ = ["Annotation", "LightAnnotator", "SpacyAnnotator", "local_session"]
_HOMES = {
    "Annotation": "annotations",
    "LightAnnotator": "light",
    "SpacyAnnotator": "stage",
    "local_session": "session",
}


def __getattr__(name: str) -> Any:
    # An executor imports the worker only, and a service without Spark the light annotator only.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
