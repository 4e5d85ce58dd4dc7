"""What has to be said before torch and Detectron2 are imported; importing this file says it.

Waiting threads sleep: GNU's OpenMP lets a thread that waits turn in a loop, 300,000 times where it
may use as many cores as there are threads; of two processes on the same cores each turns while the
other could work. ``benchmarks/side_by_side.py`` measures it.
"""

from __future__ import annotations

import logging
import os
import re
import warnings

SPIN_COUNT = "GOMP_SPINCOUNT"
OF_THE_USER = (SPIN_COUNT, "OMP_WAIT_POLICY")
TURNS = 10_000  # then a thread sleeps; a process alone works as fast as with 300,000

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
    # torch 2.4 and 2.5
    (FutureWarning, "You are using `torch.load` with", "fvcore.common.checkpoint"),
)
# Tells where a CUDA compiler lies when there is no CUDA device.
TALKATIVE_LOGGER = "torch.utils.cpp_extension"


def filter_known_warnings() -> None:
    """Ignore :data:`KNOWN_WARNINGS`, and nothing else."""
    for category, message, module in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", re.escape(message), category, re.escape(module))


if not any(name in os.environ for name in OF_THE_USER):
    os.environ[SPIN_COUNT] = str(TURNS)  # read when torch is imported, inherited by processes
logging.getLogger(TALKATIVE_LOGGER).setLevel(logging.ERROR)
filter_known_warnings()
