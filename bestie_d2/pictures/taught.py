"""Pictures of what a training would be taught: image, weak map, cues and instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from PIL import Image

from bestie_d2.checks.set_check import image_check_of
from bestie_d2.checks.tally import classes_of_image
from bestie_d2.data import ImageReader, read_weak_sem_seg
from bestie_d2.data.images import Size
from bestie_d2.data.mappers.image_tags import tags_as_mask
from bestie_d2.evaluation.label_quality import instances_of_targets
from bestie_d2.evaluation.truth import to_rle
from bestie_d2.labeling.pseudo_labels import transfer_semantic_knowledge
from bestie_d2.model_keys import num_classes
from bestie_d2.pictures.drawing import draw_cues, draw_instances, draw_weak_map
from bestie_d2.pictures.predictions import mask_set, size_of, spread_over
from bestie_d2.pictures.sheets import Enlarged, MaskSet, contact_sheet, shrink
from bestie_d2.storage.files import make_folder


def draw_data(
    cfg: CfgNode, good: Mapping[str, Sequence[dict]], count: int, folder: str
) -> list[str]:
    """Draw images spread over the training sets, each to a file of its own.

    Args:
        good: the records of each set, as ``DataReport`` has them.
        count: how many images.
        folder: where ``1-<image stem>.png`` and on are written.

    Returns:
        A line for each picture: its path, and the classes of its image.

    Raises:
        InputError: the folder cannot be made.
    """
    make_folder(folder, "OUTPUT_DIR")
    pairs = [(name, record) for name, records in good.items() for record in records]
    lines = []
    for number, (name, record) in enumerate(spread_over(pairs, count), start=1):
        names = MetadataCatalog.get(name).thing_classes
        pictures = _draw(cfg, record, names)
        row = [shrink(picture) for picture in pictures.values()]
        path = Path(folder, f"{number}-{Path(record['file_name']).stem}.png")
        Image.fromarray(contact_sheet([row], list(pictures))).save(path)
        classes = [names[index] for index in classes_of_image(record)]
        lines.append(f"{path}: {', '.join(classes) or 'no class'}")
    return lines


def _draw(cfg: CfgNode, record: Mapping, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Pictures by title, of what is known."""
    large = Enlarged(ImageReader.from_config(cfg, "RGB").read(record["file_name"]))
    pictures = {"image": large.image}
    if "sem_seg_file_name" in record:
        index_map = read_weak_sem_seg(record["sem_seg_file_name"], num_classes(cfg))
        cues = record["cues"][record["cues"].scores > cfg.DATASETS.CUE_THRESHOLD]
        found = pseudo_instances(cfg, {**record, "cues": cues}, index_map)
        pictures["weak map"] = draw_weak_map(large.image, large.maps(index_map))
        pictures["cues"] = draw_cues(large.image, large.cues(cues))
        pictures["pseudo instances"] = _drawn(large, found, class_names)
    elif "annotations" in record:
        pictures["masks"] = _drawn(large, _masks_of(record), class_names)
    return pictures


def _drawn(large: Enlarged, found: MaskSet, class_names: Sequence[str]) -> np.ndarray:
    masks = large.maps(found.masks)
    return draw_instances(large.image, masks, found.classes, class_names=class_names)


def pseudo_instances(cfg: CfgNode, record: Mapping, index_map: np.ndarray) -> MaskSet:
    """The instances that a training would start with in an image, as masks of its size.

    Args:
        record: with the ``cues`` that are used, or with ``instance_labels``.
        index_map: (H, W) WSSS indices.
    """
    smallest = image_check_of(cfg).smallest(record)
    size = size_of(record)
    if "instance_labels" in record:
        labels = record["instance_labels"]
        drawn = labels.draw(size)
        masks = [drawn == number for number in range(1, len(labels.classes) + 1)]
        kept = [number for number, mask in enumerate(masks) if mask.sum() >= smallest]
        return _mask_set([masks[k] for k in kept], [labels.classes[k] for k in kept], size)
    sem_seg = torch.from_numpy(index_map)
    tags = tags_as_mask(record["image_classes"], num_classes(cfg))
    targets = transfer_semantic_knowledge(sem_seg, record["cues"], tags, min_area=smallest)
    masks, classes, _ = instances_of_targets(targets, sem_seg)
    return MaskSet(masks, classes)


def _mask_set(masks: Sequence[np.ndarray], classes: Sequence[int], size: Size) -> MaskSet:
    return MaskSet(np.array(masks, bool).reshape(-1, *size), np.array(classes, np.int64))


def _masks_of(record: Mapping) -> MaskSet:
    """The objects of a record that are no crowd."""
    objects = [item for item in record["annotations"] if not item.get("iscrowd", 0)]
    rles = [
        {**item, "segmentation": to_rle(item["segmentation"], *size_of(record))} for item in objects
    ]
    return mask_set(rles, size_of(record))
