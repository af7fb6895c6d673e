"""One shared transformer, many spaCy heads."""

__version__ = "0.1.0"
__all__ = ["__version__"]
