"""Masks of single objects from true class maps and a point on each object: an approximation of true
masks where nothing better is at hand.

A component of a class map that holds one point of its class is that object; where several points
lie on it, each pixel goes to the nearest of them. A component without a point is a part of the
object whose point is nearest to it, or, in an image without points of its class, an object.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from bestie_d2.data.datasets.object_masks import ObjectMap, coco_annotation, coco_categories
from bestie_d2.data.labels.attach import attach_weak_labels, registered_records
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.names import relative_name
from bestie_d2.errors import InputError
from bestie_d2.ops.components import find_components
from bestie_d2.storage.files import write_json_lists
from bestie_d2.structures import IGNORE_INDEX, PointCues

MIN_AREA = 50  # pixels of a component without a point that is taken for an object
DESCRIPTION = "objects by class maps and points: where objects touch, pixels go to the nearest"


def objects_of_class_map(
    index_map: np.ndarray, points: PointCues, classes: Iterable[int]
) -> ObjectMap:
    """The objects of an image, numbered as its points, then the others.

    Args:
        index_map: (H, W) uint8 true WSSS indices.
        points: one on each object; one that is not on its class counts for the pixel of it that is
            nearest.
        classes: ids ``0..C-1`` to look for.
    """
    found = find_components(index_map, classes)
    yx = np.stack(np.unravel_index(found.pixels, index_map.shape), axis=1)
    numbers, class_of = np.zeros(index_map.shape, np.uint8), dict[int, int]()
    given, number_of_others = points.yx.numpy(), len(points)
    for class_id in np.unique(found.classes).tolist():
        ours = np.flatnonzero((points.classes == class_id).numpy())  # points of the class
        inside = np.flatnonzero(found.classes[found.owners] == class_id)  # and its pixels
        to_pixels = _distances(given[ours], yx[inside])
        held = found.owners[inside[to_pixels.argmin(axis=1)]] if len(ours) else ours
        for component in np.flatnonzero(found.classes == class_id):
            among = found.owners[inside] == component
            pixels, here = yx[inside[among]], held == component
            if here.any():
                owners = ours[here][to_pixels[here][:, among].argmin(axis=0)]
            elif len(ours):
                owners = np.full(len(pixels), ours[to_pixels[:, among].min(axis=1).argmin()])
            elif len(pixels) >= MIN_AREA:
                owners, number_of_others = (
                    np.full(len(pixels), number_of_others),
                    number_of_others + 1,
                )
            else:
                continue
            numbers[tuple(pixels.T)] = owners + 1
            class_of |= dict.fromkeys((np.unique(owners) + 1).tolist(), class_id)
    if number_of_others >= IGNORE_INDEX:
        raise InputError(f"{number_of_others} objects, expected fewer than {IGNORE_INDEX}")
    return ObjectMap(numbers, class_of)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) squared distances of (N, 2) and (M, 2)."""
    return ((a[:, None].astype(np.float32) - b[None]) ** 2).sum(axis=2)


def write_instances(dataset_name: str, class_maps: str, points: str, output: str) -> str:
    """Write the objects of all images of a registered data set as a COCO file; says how many."""
    records = registered_records(dataset_name)
    classes = MetadataCatalog.get(dataset_name).thing_classes
    sources = {"weak_maps": class_maps, "cues": points, "classes": classes}
    records = attach_weak_labels(records, num_classes=len(classes), **sources)
    images: list[dict] = []
    annotations: list[dict] = []
    clicks = 0
    for record in tqdm(records, desc="objects", unit="image"):
        size, image_id = (record["height"], record["width"]), record["image_id"]
        index_map = read_weak_sem_seg(record["sem_seg_file_name"], len(classes), size)
        objects = objects_of_class_map(index_map, record["cues"], record["image_classes"])
        clicks += len(record["cues"])
        for class_id, mask in objects.masks():
            annotations.append(coco_annotation(len(annotations) + 1, image_id, class_id, mask))
        entry = {"id": image_id, "file_name": relative_name(record)}
        images.append({**entry, "height": size[0], "width": size[1]})
    lists = {"images": images, "categories": coco_categories(classes)}
    info = {"description": DESCRIPTION}
    write_json_lists(output, {"info": info, **lists, "annotations": annotations})
    return f"{len(annotations)} objects of {len(images)} images, by {clicks} points: {output}"
