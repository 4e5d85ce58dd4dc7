"""Stands in for Detectron2's compiled extension in the pure-Python build.

Importing it works, so that everything in pure PyTorch works; touching a compiled operator raises
:class:`CompiledOperatorMissing`, which says what is missing and what to do.
"""

PURE_PYTHON = True
INSTALL_PAGE = "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"

_FAST_COCO_EVALUATION = ("COCOeval", "InstanceAnnotation", "ImageEvaluation")


class CompiledOperatorMissing(NotImplementedError):
    """A compiled operator was used in a Detectron2 that has none."""


def get_compiler_version() -> str:
    """For Detectron2's environment report."""
    return "none (pure-Python build, detectron2._C is a stub)"


def get_cuda_version() -> str:
    """For Detectron2's environment report."""
    return "none (pure-Python build)"


def has_cuda() -> bool:
    """For Detectron2's environment report."""
    return False


def __getattr__(name: str):
    if name.startswith("__"):
        raise AttributeError(name)
    remedy = f"install a compiled Detectron2, see {INSTALL_PAGE}"
    if name.startswith(_FAST_COCO_EVALUATION):
        remedy = f"pass use_fast_impl=False to COCOEvaluator, or {remedy}"
    raise CompiledOperatorMissing(
        f"this is the pure-Python build of Detectron2, without the operator '{name}': {remedy}"
    )
