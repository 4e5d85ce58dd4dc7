"""Runs over a data set that make labels: cues, weak maps, pseudo labels; resumable."""
