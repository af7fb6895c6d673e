"""The laws of the design, for every head at once."""
