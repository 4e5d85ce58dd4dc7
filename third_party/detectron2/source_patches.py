"""What the Python sources of Detectron2 0.6 need in order to run on today's PyTorch and NumPy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


class PatchError(Exception):
    """A patch does not fit the sources it was written for."""


@dataclass(frozen=True)
class Patch:
    """Replace the regular expression `pattern` in the file `path`, exactly `count` times."""

    path: str
    pattern: str
    replacement: str
    count: int = 1

    def apply(self, root: Path) -> None:
        """Patch the file below `root`, or raise :class:`PatchError` and leave it alone."""
        file = root / self.path
        if not file.is_file():
            raise PatchError(f"{self.path}: no such file, cannot replace {self.pattern!r}")
        text, count = re.subn(self.pattern, self.replacement, file.read_text(encoding="utf-8"))
        if count != self.count:
            raise PatchError(
                f"{self.path}: {self.pattern!r} occurs {count} times, expected {self.count}"
            )
        file.write_text(text, encoding="utf-8")


def _numpy_aliases(path: str, count: int) -> Patch:
    """The aliases of Python's own types that NumPy 1.24 removed."""
    return Patch(path, r"\bnp\.(bool|int|float|str)\b", r"\1", count)


_TRAIN_LOOP = "detectron2/engine/train_loop.py"

PATCHES = (
    # Pillow 10 removed the alias.
    Patch("detectron2/data/transforms/transform.py", r"Image\.LINEAR\b", "Image.BILINEAR"),
    # setuptools 81 removed pkg_resources.
    Patch("detectron2/model_zoo/model_zoo.py", r"import pkg_resources\n", ""),
    Patch(
        "detectron2/model_zoo/model_zoo.py",
        r'pkg_resources\.resource_filename\(\s*"detectron2\.model_zoo", '
        r'os\.path\.join\("configs", config_path\)\s*\)',
        'os.path.join(os.path.dirname(__file__), "configs", config_path)',
    ),
    # PyTorch warns at every start.
    Patch(
        "detectron2/modeling/anchor_generator.py",
        r"torch\.meshgrid\(shifts_y, shifts_x\)",
        'torch.meshgrid(shifts_y, shifts_x, indexing="ij")',
    ),
    Patch(
        "projects/Panoptic-DeepLab/panoptic_deeplab/post_processing.py",
        r"(torch\.arange\(width, dtype=offsets\.dtype, device=offsets\.device\),\n)",
        r'\1        indexing="ij",\n',
    ),
    Patch(
        _TRAIN_LOOP, r"from torch\.cuda\.amp import GradScaler", "from torch.amp import GradScaler"
    ),
    Patch(_TRAIN_LOOP, r"from torch\.cuda\.amp import autocast", "from torch import autocast"),
    Patch(_TRAIN_LOOP, r"with autocast\(\):", 'with autocast("cuda"):'),
    # Rotated NMS is looked up in torch.ops, past the stub: let it meet the stub's message too.
    Patch(
        "detectron2/layers/nms.py",
        r"return torch\.ops\.detectron2\.nms_rotated\(",
        "from detectron2 import _C\n\n    return _C.nms_rotated(",
    ),
    _numpy_aliases("detectron2/data/build.py", 2),
    _numpy_aliases("detectron2/data/datasets/pascal_voc.py", 1),
    _numpy_aliases("detectron2/evaluation/pascal_voc_evaluation.py", 2),
    _numpy_aliases("detectron2/evaluation/sem_seg_evaluation.py", 7),
    _numpy_aliases("detectron2/structures/masks.py", 3),
    _numpy_aliases("detectron2/utils/video_visualizer.py", 1),
    _numpy_aliases("detectron2/utils/visualizer.py", 3),
)
