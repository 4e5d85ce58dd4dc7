"""The keys of a project's configurations, by the rules of docs/own_data.md, and the reasons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from detectron2.config import CfgNode

from bestie_d2.data.labels.annotation_tools.placing import POINTS
from bestie_d2.model_keys import value_of
from bestie_d2.project.labeled_set import LabeledSet
from bestie_d2.project.object_sizes import NOISE, ObjectSizes, odd

Settings = dict[str, tuple[Any, str]]  # value and reason by key
STRIDE = 32  # sides of what networks see are multiples of it
VISIBLE = 25  # pixels that a small object should have, for the maps have stride 4
CROP_IN_DIAMETERS, SMALLEST_CROP = 6.5, 128  # 256 pixels for nuclei 37 across
SIGMA_SHARE, SMALLEST_SIGMA = 1 / 6, 2.0
LARGEST_SIGMA = 8.0  # the largest that was trained with; VOC's recipe has 6
SMALLEST_COMPONENT = 1 / 10  # of the smallest object's area
OFFSET_WEIGHT = 2.0  # over a diameter
MOST_DETECTIONS, TIMES_MOST = 100, 5  # at least, and of the most objects in a picture
PASSES = 96  # over all pictures: 2,400 batches of 8 for the 200 of nuclei
FEWEST_ITERATIONS, MOST_ITERATIONS = 1_200, 50_000  # those of shapes, and the recipe's
WARMUP_SHARE, CHECKPOINTS = 1 / 24, 6  # of a training, in a training
# What counts in iterations, and goes with the length of a training.
SCHEDULE_KEYS = ("SOLVER.WARMUP_ITERS", "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD")
MASK_LOSS, STEPS = "MODEL.WSSS.MASK_LOSS_START", "SOLVER.STEPS"  # where they are used


@dataclass(frozen=True)
class Machine:
    """What is chosen by whether there is a GPU."""

    largest_object: int  # pixels across, that larger ones are shrunk to
    largest_crop: int
    threshold_network: Mapping[str, Any]  # from a threshold's maps
    tags_from: str  # ending of the configurations to start from, for photographs
    points_from: str  # the same of BESTIE from points


GPU = Machine(
    150,
    416,
    {"MODEL.HRNET.ARCHITECTURE": "hrnet_w48", "MODEL.WEIGHTS": "timm://hrnet_w48"},
    "voc",
    "voc_point",
)
CPU = Machine(
    107,  # so that pictures are 321 pixels on the longer side where objects are a third of that
    288,
    {
        "MODEL.HRNET.ARCHITECTURE": "hrnet_w18_small",
        "MODEL.BESTIE.HEAD_CHANNELS": 64,
        "SOLVER.BASE_LR": 0.001,
        "SOLVER.IMS_PER_BATCH": 8,
        "DATALOADER.NUM_WORKERS": 1,
    },
    "voc_animals",
    "point_voc_animals",
)


def length_settings(sizes: ObjectSizes, machine: Machine) -> Settings:
    """All lengths of a BESTIE configuration."""
    factor = _factor(sizes, machine)
    shorter, longer = (max(1, round(factor * side / STRIDE)) * STRIDE for side in sizes.sides)
    diameter, smallest = factor * sizes.diameter, factor**2 * sizes.smallest_area
    crop = round(CROP_IN_DIAMETERS * diameter / STRIDE) * STRIDE
    crop = min(max(crop, SMALLEST_CROP), machine.largest_crop, max(longer, SMALLEST_CROP))
    detections = math.ceil(TIMES_MOST * sizes.most / MOST_DETECTIONS) * MOST_DETECTIONS
    here, there = f"objects are {diameter:.0f} pixels across", "in pixels of the picture itself"
    spacing = f"the closest centers are {sizes.spacing:.0f} apart, {there}"
    return {
        "MODEL.BESTIE.SIGMA": (
            min(max(SMALLEST_SIGMA, round(2 * SIGMA_SHARE * diameter) / 2), LARGEST_SIGMA),
            here,
        ),
        "MODEL.BESTIE.MIN_AREA": (
            max(1, round(SMALLEST_COMPONENT * smallest)),
            f"a tenth of small objects of {smallest:.0f} pixels",
        ),
        "MODEL.BESTIE.REFINEMENT.KERNEL": (odd(factor * sizes.spacing), "counts with tags only"),
        "MODEL.BESTIE.LOSS.OFFSET_WEIGHT": (
            float(f"{OFFSET_WEIGHT / diameter:.1g}"),
            "offsets shrink with the objects",
        ),
        "MODEL.BESTIE.CLUSTERING.MIN_DISTANCE": (float(round(sizes.diameter)), there),
        "MODEL.BESTIE.TEST.KERNEL": (odd(sizes.spacing), spacing),
        "MODEL.BESTIE.TEST.MIN_AREA": (max(1, round(NOISE * sizes.smallest_area)), there),
        "INPUT.BESTIE.LONG_SIDE": (longer + 1, f"pictures at {factor:.2g} times their size"),
        "INPUT.BESTIE.CROP_SIZE": (crop, "some six objects wide, and no more than fits"),
        "INPUT.MIN_SIZE_TEST": (shorter, "the same size"),
        "INPUT.MAX_SIZE_TEST": (2 * longer, ""),
        "TEST.MAX_DETECTIONS_PER_IMAGE": (max(MOST_DETECTIONS, detections), ""),
    }


def _factor(sizes: ObjectSizes, machine: Machine) -> float:
    """How pictures are resized: by a whole number until small objects are visible, or down."""
    if sizes.diameter > machine.largest_object:
        return machine.largest_object / sizes.diameter
    most = int(machine.largest_object / sizes.diameter)
    return float(min(most, math.ceil(VISIBLE / sizes.small_diameter)))


def threshold_settings(labeled: LabeledSet, machine: Machine) -> Settings:
    """Network, losses and schedule of BESTIE on a threshold's maps, one point in each object."""
    settings: Settings = {key: (value, "") for key, value in machine.threshold_network.items()}
    batch = machine.threshold_network.get("SOLVER.IMS_PER_BATCH", 16)
    wanted = round(PASSES * len(labeled.records) / batch)
    iterations = min(max(wanted, FEWEST_ITERATIONS), MOST_ITERATIONS)
    mistakes, no_up = "a threshold's hardest pixels are its mistakes", "False if there is an up"
    return settings | {
        "MODEL.BESTIE.NUM_CLASSES": (1, ""),
        "MODEL.BESTIE.SUPERVISION": (POINTS, ""),
        "MODEL.BESTIE.LOSS.SEM_SEG_TOP_K": (1.0, mistakes),
        "MODEL.BESTIE.TEST.FLIP": (True, ""),
        "INPUT.BESTIE.VERTICAL_FLIP": (True, no_up),
        "SOLVER.MAX_ITER": (iterations, f"{PASSES} times over {len(labeled.records)} pictures"),
        "SOLVER.WARMUP_ITERS": (round(WARMUP_SHARE * iterations), ""),
        "SOLVER.CHECKPOINT_PERIOD": (iterations // CHECKPOINTS, ""),
        "TEST.EVAL_PERIOD": (0, ""),
    }


def scaled_schedule(cfg: CfgNode, factor: float, reason: str) -> Settings:
    """A configuration's iterations, times a factor; the reason stands behind their number."""

    def scaled(count: int) -> int:
        return max(1, round(factor * count))

    keys = [*SCHEDULE_KEYS]
    keys += [MASK_LOSS] if cfg.MODEL.META_ARCHITECTURE == "SingleStageWSSS" else []
    settings: Settings = {"SOLVER.MAX_ITER": (scaled(cfg.SOLVER.MAX_ITER), reason)}
    settings |= {k: (scaled(value_of(cfg, k)), "") for k in keys if value_of(cfg, k) > 0}
    if cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        settings[STEPS] = ([*map(scaled, cfg.SOLVER.STEPS)], "")
    return settings


def as_yaml(head: str, base: str, settings: Mapping[str, tuple[Any, str]]) -> str:
    """A configuration file: the purpose, its base, a key a line with the reason behind it."""
    lines, above = [*(f"# {line}" for line in head.splitlines()), f'_BASE_: "{base}"'], [""]
    ordered = _in_sections(settings)
    for key, (value, reason) in ordered.items():
        *nodes, name = key.split(".")
        shared = 0
        while shared < min(len(nodes), len(above)) and nodes[shared] == above[shared]:
            shared += 1
        lines += [f"{'  ' * depth}{nodes[depth]}:" for depth in range(shared, len(nodes))]
        above, indent = nodes, "  " * len(nodes)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            block = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1_000)
            lines += [f"{indent}{name}:", *(f"{indent}  {line}" for line in block.splitlines())]
            continue
        text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1_000)
        text = text.removesuffix("...\n").strip()
        lines.append(f"{indent}{name}: {text}" + f"  # {reason}" * bool(reason))
    return "\n".join(lines) + "\n"


def _in_sections(settings: Mapping[str, tuple[Any, str]]) -> Settings:
    """Keys of a node side by side, in the order in which the nodes come first; plain keys of a node
    before the nodes in it."""
    nodes: dict[str, Any] = {}
    for key, value in settings.items():
        node = nodes
        *path, name = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[name] = value

    def walk(node: Mapping, above: str) -> Iterable[tuple[str, Any]]:
        for name, value in sorted(node.items(), key=lambda item: isinstance(item[1], dict)):
            if isinstance(value, dict):
                yield from walk(value, f"{above}{name}.")
            else:
                yield above + name, value

    return dict(walk(nodes, ""))
