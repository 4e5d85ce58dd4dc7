"""What a configuration has to satisfy, checked before anything is built or trained."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, build_backbone
from detectron2.solver.build import GradientClipType
from detectron2.utils.registry import Registry

from bestie_d2.data import MAPPER_REGISTRY
from bestie_d2.data.deep_images import Intensity
from bestie_d2.data.labels.index_png import check_class_limit
from bestie_d2.engine.tasks import task_of
from bestie_d2.engine.training_step import PRECISIONS, on_cpu
from bestie_d2.errors import InputError
from bestie_d2.model_keys import SIDE_KEYS, num_classes, num_classes_key
from bestie_d2.modeling.heads import INSTANCE_HEAD_REGISTRY
from bestie_d2.modeling.sides import check_side

POSITIVE = (
    "SOLVER.MAX_ITER",
    "SOLVER.IMS_PER_BATCH",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.HEAD_LR_FACTOR",
    "INPUT.BESTIE.LONG_SIDE",
    "INPUT.BESTIE.CROP_SIZE",
    "INPUT.TAGS.CROP_SIZE",
    "MODEL.BESTIE.NUM_CLASSES",
    "MODEL.PAM.NUM_CLASSES",
    "MODEL.PAM.CUES.MIN_SCORE",
    "MODEL.PAM.CUES.MAX_PER_CLASS",
    "MODEL.WSSS.NUM_CLASSES",
    "MODEL.WSSS.TEST.SIZE_DIVISIBILITY",
    "MODEL.BESTIE.SIGMA",
    "MODEL.BESTIE.SIZE_DIVISIBILITY",
    "MODEL.BESTIE.LOSS.SEM_SEG_TOP_K",
)
OF_WEAK_MAPS = ("BESTIE", "SingleStageWSSS")  # read or write them; a PAM classifier need not
NOT_NEGATIVE = ("DATALOADER.NUM_WORKERS", "TEST.LABEL_PROGRESS.IMAGES")
CLIP_TYPES = [kind.value for kind in GradientClipType]
ODD = {  # key: its smallest value
    "MODEL.BESTIE.REFINEMENT.KERNEL": 3,
    "MODEL.BESTIE.TEST.KERNEL": 3,
    "MODEL.PAM.CUES.KERNEL": 3,
    "MODEL.PAM.CUES.SMOOTHING": 1,
}


def _value(cfg: CfgNode, key: str) -> object:
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def check_config(cfg: CfgNode) -> None:
    """Refuse what would fail later, or worse, would not.

    Raises:
        InputError: names the key and what it may be.
    """
    for key in POSITIVE:
        if _value(cfg, key) is None or _value(cfg, key) <= 0:
            raise InputError(f"{key} is {_value(cfg, key)}, expected more than 0")
    for key in NOT_NEGATIVE:
        if _value(cfg, key) is None or _value(cfg, key) < 0:
            raise InputError(f"{key} is {_value(cfg, key)}, expected 0 or more")
    for key, smallest in ODD.items():
        if _value(cfg, key) is None or _value(cfg, key) < smallest or _value(cfg, key) % 2 == 0:
            raise InputError(
                f"{key} is {_value(cfg, key)}, expected an odd number of pixels from {smallest}"
            )
    Intensity.from_config(cfg)
    if cfg.MODEL.META_ARCHITECTURE in OF_WEAK_MAPS:
        check_class_limit(num_classes_key(cfg), num_classes(cfg))
    scales = cfg.INPUT.BESTIE.SCALE_RANGE
    if len(scales) != 2 or not 0 < scales[0] <= scales[1]:
        raise InputError(f"INPUT.BESTIE.SCALE_RANGE is {scales}, expected [smallest, largest]")
    if not 0 <= cfg.MODEL.PAM.ALPHA <= 1:
        raise InputError(f"MODEL.PAM.ALPHA is {cfg.MODEL.PAM.ALPHA}, expected 0 to 1")
    if not cfg.OUTPUT_DIR:
        raise InputError(f"OUTPUT_DIR is {cfg.OUTPUT_DIR!r}, expected a folder")
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError:
        raise InputError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, expected 'cuda' or 'cpu'"
        ) from None
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but there is no GPU: use 'cpu'")
    if cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE not in CLIP_TYPES:
        known = " or ".join(CLIP_TYPES)
        raise InputError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE!r}, expected "
            f"{known}"
        )
    if cfg.SOLVER.AMP.DTYPE not in PRECISIONS:
        known = " or ".join(PRECISIONS)
        raise InputError(f"SOLVER.AMP.DTYPE is {cfg.SOLVER.AMP.DTYPE!r}, expected {known}")
    if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE == "float16" and on_cpu(cfg):
        raise InputError("SOLVER.AMP.DTYPE is 'float16', but there is no GPU: use 'bfloat16'")
    _check_name(META_ARCH_REGISTRY, "MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE)
    _check_name(BACKBONE_REGISTRY, "MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME)
    _check_name(INSTANCE_HEAD_REGISTRY, "MODEL.BESTIE.HEAD", cfg.MODEL.BESTIE.HEAD)
    if cfg.INPUT.MAPPER:
        _check_name(MAPPER_REGISTRY, "INPUT.MAPPER", cfg.INPUT.MAPPER)


def check_sides_of_images(cfg: CfgNode) -> None:
    """Refuse sizes of images that the model would refuse, without building more than its backbone.

    Raises:
        InputError: names the key and what fits.
    """
    keys = SIDE_KEYS.get(cfg.MODEL.META_ARCHITECTURE)
    if not keys:
        return
    with torch.random.fork_rng(devices=[]):
        backbone = build_backbone(cfg)  # only it knows
    for key in keys:
        check_side(key, _value(cfg, key), backbone)


def _check_name(registry: Registry, key: str, name: str) -> None:
    if name not in registry:
        known = ", ".join(sorted(known for known, _ in registry))
        raise InputError(f"{key} is {name!r}; choose from {known}")


def check_processes(num_gpus: int) -> None:
    """Refuse more training processes than there are GPUs."""
    if num_gpus > max(torch.cuda.device_count(), 1):
        raise InputError(f"--num-gpus {num_gpus}: this machine has {torch.cuda.device_count()}")


def check_test_sets(cfg: CfgNode) -> None:
    """Read what the evaluation on each set of ``DATASETS.TEST`` needs, before training starts.

    Raises:
        InputError: a set is unknown, empty, without truth, or of another number of classes than
            the model.
    """
    for name in cfg.DATASETS.TEST:
        if name not in DatasetCatalog:
            raise InputError(f"DATASETS.TEST: data set {name!r} is not registered")
        if not task_of(cfg).read_truth(cfg, name):
            raise InputError(f"DATASETS.TEST: data set {name!r} has no images")
        classes = MetadataCatalog.get(name).thing_classes
        if len(classes) != num_classes(cfg):
            raise InputError(
                f"the model has {num_classes(cfg)} classes, the data set {name!r} of "
                f"DATASETS.TEST {len(classes)} ({', '.join(classes)}): set the model's number of "
                f"classes to {len(classes)}"
            )
