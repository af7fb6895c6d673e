"""The spaCy glue: component, listener, gradient buffer, architectures."""
