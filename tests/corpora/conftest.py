"""One tiny encoder, as for the tests of the glue."""

from ..pipeline.conftest import encoder_path

__all__ = ["encoder_path"]
