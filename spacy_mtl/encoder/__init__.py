"""Integers to vectors: the Hugging Face encoder, its precision and its files (torch; no spaCy)."""
