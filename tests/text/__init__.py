"""Tests of the way from texts to integers."""
