"""Weights: this project's checkpoints and those from elsewhere."""

from bestie_d2.weights.sources import WeightsHandler

__all__ = ["WeightsHandler"]
