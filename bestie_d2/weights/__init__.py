"""Weights: this project's checkpoints and those from elsewhere."""
