"""A training as one HTML page: curves, gradients, sources, transfer, confusions and errors."""
