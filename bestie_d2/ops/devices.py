"""What passes between the host and the device that maps lie on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def in_host_memory(device: torch.device) -> bool:
    """Whether NumPy can work on a tensor of that device.

    It does where it can: operations that PyTorch shares between threads wait for the slowest, which
    costs more than they take where a loader's workers use the same processor.
    """
    return device.type == "cpu"


def fetch(tensor: Tensor) -> np.ndarray:
    """A tensor on the host, for which it waits until the device has it."""
    return tensor.cpu().numpy()


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array on a device; what the device is doing need not end before."""
    return torch.from_numpy(array).to(device, non_blocking=True)
