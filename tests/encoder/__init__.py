"""Tests of the way from integers to vectors."""
