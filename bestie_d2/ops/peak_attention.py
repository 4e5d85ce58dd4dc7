"""Peak attention: what turns a classifier's broad activations into one sparse peak per object."""

from __future__ import annotations

from torch import Tensor


def peak_attention(features: Tensor, alpha: float) -> Tensor:
    """ReLU that also zeroes what is weaker than its channel's peak (paper: Section 3.2, PAM).

    Args:
        features: (B, K, h, w).
        alpha: a value stays if it is at least alpha times the largest of its image and channel;
            0 is plain ReLU.

    The gradient flows through the values that stay, and as 1; the peak's part in the bar gets none.
    """
    activation = features.relu()
    bar = alpha * activation.detach().amax(dim=(-2, -1), keepdim=True)
    return activation * (activation >= bar)
