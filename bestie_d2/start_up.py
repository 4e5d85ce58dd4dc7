"""What has to be said before torch and Detectron2 are imported; importing this file says it.

Waiting threads sleep: GNU's OpenMP lets a thread that waits turn in a loop, 300,000 times where it
may use as many cores as there are threads; of two processes on the same cores each turns while the
other could work. ``benchmarks/side_by_side.py`` measures it.

Freed memory is kept: GNU's malloc gives large blocks back to the system, which clears them anew in
the next step. Measured on Mask R-CNN at 8 images of 320 pixels: a tenth of a step's processor time
less, 3 % more memory.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import re
import warnings

SPIN_COUNT = "GOMP_SPINCOUNT"
OF_THE_USER = (SPIN_COUNT, "OMP_WAIT_POLICY")
TURNS = 10_000  # then a thread sleeps; a process alone works as fast as with 300,000

# What mallopt sets (glibc's malloc.h): when free memory is given back (-1: never), and how many
# blocks are the system's own.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
MALLOC_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")

# Warnings by other code about itself: what their message and the warned module's name begin with.
KNOWN_WARNINGS: tuple[tuple[type[Warning], str, str], ...] = (
    # detectron2.modeling.box_regression and fvcore.nn.focal_loss, at import
    (FutureWarning, "`torch.jit.script` is deprecated", "torch.jit._script"),
    (DeprecationWarning, "`torch.jit.script` is deprecated", "torch.jit._script"),
    # the rest comes from a Detectron2 that is not the build in third_party/detectron2
    (UserWarning, "pkg_resources is deprecated", "detectron2.model_zoo"),
    (DeprecationWarning, "pkg_resources is deprecated", "detectron2.model_zoo"),
    (UserWarning, "torch.meshgrid: in an upcoming release", "torch.functional"),
    (FutureWarning, "`torch.cuda.amp.GradScaler(", "detectron2.engine.train_loop"),
    (FutureWarning, "`torch.cuda.amp.autocast(", "detectron2.engine.train_loop"),
    # bitmask annotations, which pycocotools hands out read-only
    (UserWarning, "The given NumPy array is not writable", "detectron2.data"),
    # several processes
    (FutureWarning, "`broadcast_buffers` is deprecated", "detectron2.engine.defaults"),
    (UserWarning, "TypedStorage is deprecated", "detectron2.utils.comm"),
    # torch 2.4 and 2.5
    (FutureWarning, "You are using `torch.load` with", "fvcore.common.checkpoint"),
)
# Tells where a CUDA compiler lies when there is no CUDA device.
TALKATIVE_LOGGER = "torch.utils.cpp_extension"


def filter_known_warnings() -> None:
    """Ignore :data:`KNOWN_WARNINGS`, and nothing else."""
    for category, message, module in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", re.escape(message), category, re.escape(module))


def keep_freed_memory() -> None:
    """Let GNU's malloc keep what is freed; another one is left as it is."""
    if platform.libc_ver()[0] == "glibc":
        malloc = ctypes.CDLL(None)
        malloc.mallopt(M_MMAP_MAX, 0)
        malloc.mallopt(M_TRIM_THRESHOLD, -1)


if not any(name in os.environ for name in MALLOC_OF_THE_USER):
    keep_freed_memory()
if not any(name in os.environ for name in OF_THE_USER):
    os.environ[SPIN_COUNT] = str(TURNS)  # read when torch is imported, inherited by processes
logging.getLogger(TALKATIVE_LOGGER).setLevel(logging.ERROR)
filter_known_warnings()
