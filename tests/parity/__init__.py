"""Tests that results equal those of others on the same input."""
