"""COCO 2017 as weakly labelled sets: tags from the official files, or points made from them.

Detectron2's own ``coco_2017_train`` and ``coco_2017_val`` hold masks; these never do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import lru_cache, partial
from reprlib import repr as shortened

from detectron2.data import DatasetCatalog, MetadataCatalog
from pycocotools import mask as mask_api
from tqdm import tqdm

from bestie_d2.data.datasets.object_masks import check_mask, inner_point, is_box, to_rle
from bestie_d2.data.datasets.weak import EVALUATOR_TYPE
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, load_json
from bestie_d2.data.labels.tags import TaggedImages, keep_remarks, log_once, read_tags
from bestie_d2.data.names import check_inside
from bestie_d2.errors import InputError
from bestie_d2.storage.files import replacing
from bestie_d2.storage.processes import only_run_for

COCO_FOLDER = "coco"
SPLITS = ("train", "val")
TRUTH, POINTS = "instances", "points"  # kinds of annotation files: official, and made from them
HINTS = {
    TRUTH: "put COCO 2017 there as docs/data_sets.md shows",
    POINTS: "make it with python datasets/prepare_coco.py",
}
MADE_FROM = {  # lists that points are made from, and the keys that their entries must have
    **IMAGE_LISTS,
    "images": (*IMAGE_LISTS["images"], "height", "width"),
    "annotations": ("image_id", "category_id", "bbox", "segmentation"),
}


def annotation_file(folder: str, kind: str, split: str) -> str:
    return os.path.join(folder, "annotations", f"{kind}_{split}2017.json")


def register_coco(root: str) -> None:
    """Register ``coco_2017_{train,val}_{tags,point}``; nothing is opened before first use.

    The metadata name the official annotations, for evaluators; the records have tags alone.
    """
    folder = os.path.join(root, COCO_FOLDER)
    # Detectron2's own set has the names before any file is read.
    classes = list(MetadataCatalog.get("coco_2017_val").thing_classes)
    for split in SPLITS:
        for suffix, kind in (("tags", TRUTH), ("point", POINTS)):
            name, source = f"coco_2017_{split}_{suffix}", annotation_file(folder, kind, split)
            DatasetCatalog.register(name, partial(load_coco, name, folder, kind, split))
            MetadataCatalog.get(name).set(
                thing_classes=classes,
                image_root=os.path.join(folder, f"{split}2017"),
                tags=source,
                json_file=annotation_file(folder, TRUTH, split),
                weak_maps=os.path.join(folder, "WSSS_maps"),
                cues=source if kind == POINTS else os.path.join(folder, "Peak_points"),
                evaluator_type=EVALUATOR_TYPE,
            )


def load_coco(name: str, folder: str, kind: str, split: str) -> list[dict]:
    """The records of a split, in Detectron2's format, with ``image_classes``; completes the
    metadata of ``name``.

    A crowd region gives no tag. Images without a tag are left out of ``train``, since they would
    teach that all they show is background; ``val`` has every image.

    Raises:
        InputError: a missing or unreadable file, or other categories than COCO's.
    """
    source, metadata = annotation_file(folder, kind, split), MetadataCatalog.get(name)
    if not os.path.isfile(source):
        raise InputError(f"{source}: no such file; {HINTS[kind]}")
    tagged = _read_once(source, tuple(metadata.thing_classes), os.stat(source).st_mtime_ns)
    check_inside(source, metadata.image_root, (record["file_name"] for record in tagged.records))
    ids = tagged.category_ids
    metadata.thing_dataset_id_to_contiguous_id = {value: index for index, value in enumerate(ids)}
    keep_remarks(name, tagged.remarks)
    gaps = ", ".join(str(i) for i in range(min(ids), max(ids)) if i not in ids)
    log_once(
        f"{source}: the category ids {min(ids)} to {max(ids)} (without {gaps or 'a gap'}) are the "
        f"classes 0 to {len(ids) - 1}"
    )
    records = [
        {**record, "file_name": os.path.join(metadata.image_root, record["file_name"])}
        for record in tagged.records
        if record["image_classes"] or split != "train"
    ]
    if split == "train":
        untagged, count = len(tagged.records) - len(records), len(tagged.records)
        log_once(f"{source}: {untagged} of {count} images have no tag and are left out")
    return records


@lru_cache(maxsize=2 * len(SPLITS))
def _read_once(source: str, classes: tuple[str, ...], changed: int) -> TaggedImages:
    """The tags of a file as it was ``changed`` last: 860,000 entries, asked for several times."""
    return read_tags(source, classes)


def write_coco_points(folder: str, split: str) -> str:
    """Write the point labels of a split in the folder ``coco``, whole or not at all; a file that is
    there is replaced. The line that comes back tells what was written.

    Each object that is no crowd has one: the pixel of its mask nearest to the centroid.

    Raises:
        InputError: a missing or unreadable annotation file, an object of an unknown image or with
            a mask that is none of it, or the points cannot be written.
    """
    source, output = (annotation_file(folder, kind, split) for kind in (TRUTH, POINTS))
    data = load_json(source, MADE_FROM)
    images = {image["id"]: image for image in data["images"]}
    objects = [entry for entry in data["annotations"] if not entry.get("iscrowd", 0)]
    points = []
    for entry in tqdm(objects, desc=split, unit="object"):
        image, box, mask = images.get(entry["image_id"]), entry["bbox"], entry["segmentation"]
        if image is None:
            raise InputError(f"{source}: image id {entry['image_id']} is not in 'images'")
        where = f"{source}: an object of {image['file_name']}"
        size = (image["height"], image["width"])
        if not is_box(box):
            raise InputError(
                f"{where}: 'bbox' is {shortened(box)}, expected [left, top, width, height]"
            )
        check_mask(where, mask, size)
        ids = {key: entry[key] for key in ("image_id", "category_id")}
        points.append({**ids, "point": _point_of(to_rle(mask, *size), box)})
    kept = {
        name: [{key: entry[key] for key in MADE_FROM[name]} for entry in data[name]]
        for name in ("images", "categories")
    }
    with only_run_for(output, "--coco"), replacing(output) as file:
        json.dump({**kept, "points": points}, file)
    crowds = len(data["annotations"]) - len(objects)
    return f"{output}: {len(points)} points, without {crowds} crowd regions"


def _point_of(rle: dict, box: Sequence[float]) -> tuple[int, int]:
    """``x, y`` in the object; the middle of its box where its outline covers no pixel's center."""
    left, top, width, height = (round(value) for value in mask_api.toBbox(rle).tolist())
    if width == 0 or height == 0:
        x, y, w, h = box
        rows, columns = rle["size"]
        return min(max(int(x + w / 2), 0), columns - 1), min(max(int(y + h / 2), 0), rows - 1)
    x, y = inner_point(mask_api.decode(rle)[top : top + height, left : left + width])
    return left + x, top + y
