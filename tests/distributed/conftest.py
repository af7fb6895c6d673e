"""The tiny encoder of the pipeline's tests."""

from ..pipeline.conftest import encoder_path

__all__ = ["encoder_path"]
