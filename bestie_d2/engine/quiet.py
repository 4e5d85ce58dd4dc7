"""Silence the known start-up deprecations of Detectron2 0.6 and fvcore, and nothing else."""

import logging
import re
import warnings
from typing import NamedTuple


class KnownWarning(NamedTuple):
    """A warning by other code about itself; `message` and `module` are what theirs begin with."""

    category: type[Warning]
    message: str
    module: str


KNOWN_WARNINGS = (
    # detectron2.modeling.box_regression and fvcore.nn.focal_loss, at import
    KnownWarning(FutureWarning, "`torch.jit.script` is deprecated", "torch.jit._script"),
    KnownWarning(DeprecationWarning, "`torch.jit.script` is deprecated", "torch.jit._script"),
    # the rest comes from a Detectron2 that is not the build in third_party/detectron2
    KnownWarning(UserWarning, "pkg_resources is deprecated", "detectron2.model_zoo"),
    KnownWarning(DeprecationWarning, "pkg_resources is deprecated", "detectron2.model_zoo"),
    KnownWarning(UserWarning, "torch.meshgrid: in an upcoming release", "torch.functional"),
    KnownWarning(FutureWarning, "`torch.cuda.amp.GradScaler(", "detectron2.engine.train_loop"),
    KnownWarning(FutureWarning, "`torch.cuda.amp.autocast(", "detectron2.engine.train_loop"),
    # bitmask annotations, which pycocotools hands out read-only
    KnownWarning(UserWarning, "The given NumPy array is not writable", "detectron2.data"),
    # torch 2.4 and 2.5
    KnownWarning(FutureWarning, "You are using `torch.load` with", "fvcore.common.checkpoint"),
)


# Loggers that speak at every start of what does not matter here: torch tells where a CUDA compiler
# lies when there is no CUDA device.
TALKATIVE_LOGGERS = ("torch.utils.cpp_extension",)


def quiet_third_party_warnings() -> None:
    """Ignore :data:`KNOWN_WARNINGS` and loggers' hints; call it before Detectron2 is imported.

    Each process has its own filters: a process that is spawned needs a call of its own.
    """
    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for known in KNOWN_WARNINGS:
        warnings.filterwarnings(
            "ignore",
            message=re.escape(known.message),
            category=known.category,
            module=re.escape(known.module),
        )
