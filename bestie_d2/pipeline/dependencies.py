"""What the product of a stage depends on: which keys of a configuration, which parts of the data.

One table for each. A stage is out of date if something that counts for its kind has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bestie_d2.model_keys import NUM_CLASSES_NODE

# In all of these a name stands for everything under it too, and * for any letters.

# Where and how fast it is computed, what is looked at meanwhile, and names.
NEVER = (
    *("MODEL.DEVICE", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS", "SOLVER.CHECKPOINT_PERIOD"),
    *("TEST.EVAL_PERIOD", "TEST.LABEL_PROGRESS", "TEST.EXPECTED_RESULTS"),
    *("OUTPUT_DIR", "VIS_PERIOD", "VERSION"),
)
# What they name is compared by content, wherever it lies.
PATHS = (
    *("MODEL.WEIGHTS", "DATASETS.CUSTOM", "DATASETS.TRAIN", "DATASETS.TEST"),
    *("DATASETS.CUES", "DATASETS.WEAK_MAPS", "DATASETS.INSTANCE_LABELS"),
)
CUE_THRESHOLD = "DATASETS.CUE_THRESHOLD"  # read by what learns from cues
# Read when a trained model is used. TEST.PRECISE_BN is not among them: it changes the weights.
AT_USE = (
    *("TEST.DETECTIONS_PER_IMAGE", "TEST.MAX_DETECTIONS_PER_IMAGE", "TEST.AUG"),
    *("TEST.KEYPOINT_OKS_SIGMAS", "DATASETS.*_TEST"),
    *("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST", "INPUT.TEST_SIDE"),
    *("MODEL.*.TEST", "MODEL.*_TEST", "MODEL.PAM.CUES", "MODEL.BESTIE.SIZE_DIVISIBILITY"),
)
# Read while a model is trained, and no more when it is used.
AT_TRAINING = (
    *("INPUT.BESTIE", "INPUT.TAGS", "INPUT.MAPPER", "INPUT.CROP", "INPUT.RANDOM_FLIP"),
    *("INPUT.*_TRAIN", "INPUT.MIN_SIZE_TRAIN_SAMPLING", "INPUT.MASK_FORMAT", "MODEL.*_TRAIN"),
    *("MODEL.BESTIE.SIGMA", "MODEL.BESTIE.MIN_AREA", "MODEL.BESTIE.WHOLE_PIXEL_CENTERS"),
    *("MODEL.BESTIE.IAG", "MODEL.BESTIE.LOSS", "MODEL.BESTIE.REFINEMENT"),
    *("MODEL.BESTIE.BATCH_NORM_MOMENTUM", "MODEL.WSSS.MASK_LOSS_*", "MODEL.WSSS.FOCAL"),
    *("MODEL.WSSS.PSEUDO", "MODEL.WSSS.DROPOUT"),
)

# Parts of the data, as they are printed.
TAGS, IMAGES = "training set's list", "training set's image files"
CUES, WEAK_MAPS, LABELS = "cues", "weak maps", "instance labels"
MASKS, WEIGHTS = "true masks", "initial weights"
TEST_LIST, TEST_IMAGES = "test set's list", "test set's image files"
TEST_MASKS, TEST_MAPS = "test set's true masks", "test set's weak maps"


@dataclass(frozen=True)
class Dependencies:
    """What counts for a kind of stage.

    Attributes:
        keys: of the configuration, but for ``NEVER`` and ``PATHS`` ...
        without: ... and these.
        data: parts of the data; those that an earlier stage makes are compared as its product.
    """

    keys: Sequence[str]
    without: Sequence[str]
    data: Sequence[str]

    def count(self, key: str, own_node: str) -> bool:
        """Whether a key of the configuration counts.

        Args:
            own_node: under ``MODEL``, of the model; those of our other models don't count.
        """
        others = [f"MODEL.{node}" for node in NUM_CLASSES_NODE.values() if node != own_node]
        left_out = (*NEVER, *PATHS, *self.without, *others)
        return _is_among(key, self.keys) and not _is_among(key, left_out)


def _is_among(key: str, names: Sequence[str]) -> bool:
    return any(fnmatchcase(key, name) or fnmatchcase(key, f"{name}.*") for name in names)


USE = ("MODEL", "INPUT")
DEPENDENCIES = {  # by kind of stage
    "pam": Dependencies(["*"], [*AT_USE, CUE_THRESHOLD], [TAGS, IMAGES, WEIGHTS]),
    "cues": Dependencies(USE, AT_TRAINING, [TAGS, IMAGES]),
    "wsss": Dependencies(["*"], [*AT_USE, CUE_THRESHOLD], [TAGS, IMAGES, WEIGHTS]),
    "maps": Dependencies(USE, AT_TRAINING, [TAGS, IMAGES]),
    "bestie": Dependencies(
        ["*"], AT_USE, [TAGS, IMAGES, CUES, WEAK_MAPS, LABELS, WEIGHTS]
    ),
    "export": Dependencies([*USE, "TEST.DETECTIONS_PER_IMAGE"], AT_TRAINING, [TAGS, IMAGES]),
    "mrcnn": Dependencies(["*"], [*AT_USE, CUE_THRESHOLD], [IMAGES, WEIGHTS]),
    "mrcnn_truth": Dependencies(["*"], [*AT_USE, CUE_THRESHOLD], [IMAGES, MASKS, WEIGHTS]),
    "evaluate": Dependencies(
        [*USE, "TEST"], AT_TRAINING, [TEST_LIST, TEST_IMAGES, TEST_MASKS, TEST_MAPS]
    ),
}  # fmt: skip
MADE_BY = {"cues": CUES, "maps": WEAK_MAPS, "export": LABELS}  # kinds that make parts of the data
