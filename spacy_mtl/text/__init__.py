"""Docs to integers: wordpieces, windows and micro-batches (numpy; no torch)."""
