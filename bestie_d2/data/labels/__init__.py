"""Readers of weak labels, by format."""
