"""A trained model on single pictures: files, arrays or Pillow's images in, instances out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import Metadata, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Instances
from PIL import Image
from torch import nn

from bestie_d2.checks.training import check_config
from bestie_d2.data import ImageReader
from bestie_d2.engine.configuration import load_run_config
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.evaluation.tasks import INSTANCES, task_of
from bestie_d2.model_keys import num_classes
from bestie_d2.modeling import BESTIE
from bestie_d2.modeling.tiles import Tiling, find_in_tiles
from bestie_d2.structures import ObjectMask
from bestie_d2.weights.checkpoint import classes_of_weights

Picture = str | os.PathLike | Image.Image | np.ndarray
# Below it fewer than half of the objects are right: of a BESTIE's on nuclei none of 3 to 0.1, 21 %
# of 34 to 0.2 and 53 % of 34 to 0.3 (tools/export_pseudo_labels.py).
SCORE_THRESHOLD = 0.2
MOST_SCALING = 32.0  # a pixel takes a whole cell of a network's map, or such a cell one pixel


@dataclass(frozen=True)
class PredictionRecipe:
    """How pictures are seen, and which objects count.

    Attributes:
        threshold: objects that score lower are left out.
        tiling: how BESTIE sees large pictures; other models see all of them whole.
        scale: factor that a picture is resized by for the network; None: ``INPUT`` says it.
    """

    threshold: float = SCORE_THRESHOLD
    tiling: Tiling = field(default_factory=Tiling)
    scale: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise InputError(f"--confidence-threshold {self.threshold:g}: expected 0 to 1")
        if self.scale is not None and not 1 / MOST_SCALING <= self.scale <= MOST_SCALING:
            raise InputError(
                f"--scale {self.scale:g}: expected {1 / MOST_SCALING:g} to {MOST_SCALING:g}"
            )

    def seen_size(self, cfg: CfgNode, height: int, width: int) -> tuple[int, int]:
        """(h, w) that a picture is resized to for the network, as the evaluation does."""
        node, size = cfg.INPUT, (height, width)
        if self.scale is not None:
            size = (round(height * self.scale), round(width * self.scale))
        elif node.TEST_SIDE:
            size = (node.TEST_SIDE, node.TEST_SIDE)
        elif node.MIN_SIZE_TEST:
            shortest, longest = node.MIN_SIZE_TEST, node.MAX_SIZE_TEST
            size = T.ResizeShortestEdge.get_output_shape(height, width, shortest, longest)
        return max(size[0], 1), max(size[1], 1)


class FoundInstances(Instances):
    """Detectron2's, which are also found under ``["instances"]``, as in what ``DefaultPredictor``
    gives: code that takes that (``supervision.Detections.from_detectron2``) takes these."""

    def __getitem__(self, item: Any) -> Instances:
        return self if isinstance(item, str) and item == "instances" else super().__getitem__(item)


class BESTIEPredictor:
    """A trained BESTIE, or a Mask R-CNN, on pictures of one's own.

    Called with a picture it gives Detectron2's ``Instances`` with ``pred_masks`` (N, H, W) bool,
    ``pred_boxes``, ``pred_classes`` and ``scores``, at the picture's own size, in host memory; with
    a list of pictures a list of them. A picture is a path, an image of Pillow, or an array: (H, W)
    grey, (H, W, 3) in ``array_format`` or (H, W, 4) with opacity. Each is seen by itself, so that
    no result depends on the others.

    Attributes:
        cfg: with the weights that were loaded.
        model: in evaluation mode.
        metadata: of Detectron2, with ``thing_classes``, as its ``Visualizer`` takes it.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module | None = None,
        recipe: PredictionRecipe | None = None,
        *,
        array_format: str = "BGR",
    ) -> None:
        """
        Args:
            cfg: names the weights in ``MODEL.WEIGHTS``.
            model: of this configuration, where it is loaded already.
            array_format: order of an array's channels: "BGR", as OpenCV reads files and
                Detectron2's ``DefaultPredictor`` takes them, or "RGB".
        """
        self.cfg, self.recipe = cfg, recipe or PredictionRecipe()
        if array_format not in ("BGR", "RGB"):
            raise InputError(f"array_format is {array_format!r}; choose from 'BGR', 'RGB'")
        self.array_format = array_format
        self.model = (model or load_trained_model(cfg)[0]).eval()
        self.reader = ImageReader.from_config(cfg)
        self.metadata = Metadata(name="prediction", thing_classes=class_names(cfg))

    @classmethod
    def from_run(
        cls,
        folder: str | os.PathLike,
        recipe: PredictionRecipe | None = None,
        *,
        array_format: str = "BGR",
        overrides: Sequence[str] = (),
    ) -> BESTIEPredictor:
        """From the folder of a training (its ``OUTPUT_DIR``), wherever it lies now: its
        configuration, last weights and class names; ``overrides`` are ``KEY VALUE`` pairs."""
        cfg = load_run_config(folder, overrides)
        check_prediction(cfg)
        return cls(cfg, recipe=recipe, array_format=array_format)

    @overload
    def __call__(self, images: Picture) -> Instances: ...

    @overload
    def __call__(self, images: Sequence[Picture]) -> list[Instances]: ...

    def __call__(self, images: Any) -> Any:
        """The instances of a picture, by falling score, or of each of a list of pictures."""
        if isinstance(images, (list, tuple)):
            return [self(image) for image in images]
        picture = self.read(images)
        objects, size = self.find(picture), (picture.shape[0], picture.shape[1])
        masks = torch.zeros(len(objects), *size, dtype=torch.bool)
        for mask, found in zip(masks, objects, strict=True):
            (top, left), (height, width) = found.top_left, found.mask.shape
            mask[top : top + height, left : left + width] = torch.from_numpy(found.mask)
        return FoundInstances(
            size,
            pred_masks=masks,
            pred_boxes=BitMasks(masks).get_bounding_boxes(),
            pred_classes=torch.tensor([found.class_id for found in objects], dtype=torch.int64),
            scores=torch.tensor([found.score for found in objects]),
        )

    def read(self, image: Picture) -> np.ndarray:
        """(H, W, 3) uint8 in ``INPUT.FORMAT``."""
        if isinstance(image, (np.ndarray, Image.Image)):
            picture = self.reader.take(image, self.array_format)
        else:
            picture = self.reader.open(os.fspath(image))
        return picture.pixels(self.reader.image_format)

    def find(self, picture: np.ndarray) -> list[ObjectMask]:
        """What is in a picture that :meth:`read` gave, by falling score; of a BESTIE's objects no
        mask of its size is in memory."""
        return find_objects(self.cfg, self.model, self.recipe, picture)


@torch.no_grad()
def find_objects(
    cfg: CfgNode, model: nn.Module, recipe: PredictionRecipe, picture: np.ndarray
) -> list[ObjectMask]:
    """What a model in evaluation mode finds in a picture, by falling score.

    Args:
        picture: (H, W, 3) uint8 in the channel order of ``cfg.INPUT.FORMAT``.
    """
    height, width = picture.shape[:2]
    seen = recipe.seen_size(cfg, height, width)
    if isinstance(model, BESTIE) and recipe.tiling.cuts(seen):
        objects = find_in_tiles(model, picture, seen, recipe.tiling)
    else:
        if seen != (height, width):
            picture = T.ResizeTransform(height, width, *seen).apply_image(picture)
        pixels = torch.from_numpy(picture.transpose(2, 0, 1).copy())
        if isinstance(model, BESTIE):
            objects = model.find_objects(pixels, (height, width))
        else:
            item = {"image": pixels, "height": height, "width": width}
            objects = crops_of(model([item])[0]["instances"])
    kept = [found for found in objects if found.score >= recipe.threshold]
    return sorted(kept, key=lambda found: -found.score)


def check_prediction(cfg: CfgNode) -> None:
    """Refuse a configuration of a model that finds no masks."""
    check_config(cfg)
    of_detectron2 = cfg.MODEL.META_ARCHITECTURE != "BESTIE"
    if task_of(cfg) is not INSTANCES or (of_detectron2 and not cfg.MODEL.MASK_ON):
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}, which finds no masks of "
            "objects: use BESTIE, or a model of Detectron2's with MODEL.MASK_ON True"
        )


def class_names(cfg: CfgNode) -> list[str]:
    """Of the weights, or else of the training set; numbers where neither says them."""
    names = classes_of_weights(cfg.MODEL.WEIGHTS)
    for name in () if names else cfg.DATASETS.TRAIN[:1]:
        names = MetadataCatalog.get(name).get("thing_classes")
    return list(names or map(str, range(num_classes(cfg))))


def crops_of(instances: Instances) -> list[ObjectMask]:
    """The objects of a picture that a model gave whole masks of; those without a pixel are none."""
    found = instances.to("cpu")
    columns = (found.pred_masks.numpy(), found.pred_classes.tolist(), found.scores.tolist())
    objects = []
    for mask, class_id, score in zip(*columns, strict=True):
        rows, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            crop = mask[rows[0] : rows[-1] + 1, across[0] : across[-1] + 1].copy()
            objects.append(ObjectMask(class_id, score, (int(rows[0]), int(across[0])), crop))
    return objects
