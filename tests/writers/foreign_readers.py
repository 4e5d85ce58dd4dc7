"""What other tools make of the written files, by their rules and with none of this project's code.

Each reader gives for every object of one image: class name, score (None where the format has
none) and (H, W) bool mask.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import cv2
import numpy as np
import shapely
import yaml
from PIL import Image, ImageDraw
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

Found = tuple[str, float | None, np.ndarray]


def read_coco(output: Path, name: str, size: tuple[int, int], file: str) -> list[Found]:
    coco = COCO(output / file)
    (image,) = (image for image in coco.dataset["images"] if image["file_name"] == name)
    assert (image["height"], image["width"]) == size
    annotations = coco.imgToAnns[image["id"]]
    for annotation in annotations:
        mask = coco.annToMask(annotation)
        y, x = np.nonzero(mask)
        box = [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == box
        assert annotation["iscrowd"] == 0
    return [
        (coco.cats[found["category_id"]]["name"], found["score"], coco.annToMask(found) > 0)
        for found in annotations
    ]


def read_labels(output: Path, name: str, size: tuple[int, int]) -> list[Found]:
    stem = output / "labels" / Path(name).with_suffix("")
    labels = np.array(Image.open(f"{stem}.png"))
    assert labels.dtype == np.uint16
    assert labels.shape == size
    with open(f"{stem}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert int(row["pixels"]) == (labels == int(row["label"])).sum()
    assert set(np.unique(labels)) <= {0, *(int(row["label"]) for row in rows)}
    return [(row["class"], float(row["score"]), labels == int(row["label"])) for row in rows]


def yolo_segments(output: Path, name: str) -> list[tuple[int, np.ndarray]]:
    """Class and (P, 2) float32 shares of width and height of each line."""
    path = output / "yolo" / "labels" / Path(name).with_suffix(".txt")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [(int(n), np.array(rest, np.float32).reshape(-1, 2)) for n, *rest in lines]


def read_yolo(output: Path, name: str, size: tuple[int, int]) -> list[Found]:
    names = yaml.safe_load((output / "yolo" / "data.yaml").read_text(encoding="utf-8"))["names"]
    return [
        (names[class_id], None, fill_as_yolo(segment, size))
        for class_id, segment in yolo_segments(output, name)
    ]


def fill_as_yolo(segment: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    assert segment.min() >= 0
    assert segment.max() <= 1
    mask = np.zeros(size, np.uint8)
    points = segment * np.array([size[1], size[0]], np.float32)
    cv2.fillPoly(mask, [points.astype(np.int32)], 1)
    return mask > 0


def read_geojson(output: Path, name: str, size: tuple[int, int]) -> list[Found]:
    path = output / "geojson" / Path(name).with_suffix(".geojson")
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    found = []
    for feature in collection["features"]:
        shape, known = shapely.geometry.shape(feature["geometry"]), feature["properties"]
        assert feature["type"] == "Feature"
        assert shape.is_valid
        assert known["objectType"] == "annotation"
        mask = shapely.contains_xy(shape, x.ravel(), y.ravel()).reshape(size)
        assert shape.area == mask.sum()
        (measurement,) = known["measurements"]
        assert measurement["name"] == "score"
        found.append((known["classification"]["name"], measurement["value"], mask))
    return found


def read_labelme(output: Path, name: str, size: tuple[int, int]) -> list[Found]:
    """Shapes of one group are an object; Pillow fills them."""
    path = output / "labelme" / Path(name).with_suffix(".json")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["imageHeight"], content["imageWidth"]) == size
    assert content["imageData"] is None
    assert (path.parent / content["imagePath"]).is_file()
    objects: dict[object, Found] = {}
    for number, shape in enumerate(content["shapes"]):
        assert shape["shape_type"] == "polygon"
        assert len(shape["points"]) > 2
        picture = Image.new("L", size[::-1])
        points = [tuple(point) for point in shape["points"]]
        ImageDraw.Draw(picture).polygon(points, outline=1, fill=1)
        group = shape["group_id"]
        key = f"alone {number}" if group is None else group
        label, score, mask = objects.get(
            key, (shape["label"], shape["score"], np.zeros(size, bool))
        )
        objects[key] = label, score, mask | (np.array(picture) > 0)
    return list(objects.values())


def read_labelstudio(output: Path, name: str, size: tuple[int, int]) -> list[Found]:
    """Polygons become COCO's, as its converter has them."""
    objects: dict[str, Found] = {}
    for region in label_studio_regions(output / "labelstudio.json", name, size, "polygonlabels"):
        assert region["value"]["closed"]
        points = np.array(region["value"]["points"]) * (size[1] / 100, size[0] / 100)
        mask = mask_api.decode(mask_api.frPyObjects([points.ravel().tolist()], *size))[..., 0] > 0
        (label,) = region["value"]["polygonlabels"]
        key = region.get("parentID", region["id"])
        objects[key] = label, region["score"], mask | (objects[key][2] if key in objects else False)
    return list(objects.values())


def read_labelstudio_brush(output: Path, name: str, size: tuple[int, int]) -> list[Found]:
    found = []
    path = output / "labelstudio-brush.json"
    for region in label_studio_regions(path, name, size, "brushlabels"):
        assert region["value"]["format"] == "rle"
        pixels = unpack_rle(region["value"]["rle"]).reshape(*size, 4)
        assert (pixels == pixels[..., :1]).all()
        (label,) = region["value"]["brushlabels"]
        found.append((label, region["score"], pixels[..., 3] > 0))
    return found


def label_studio_regions(path: Path, name: str, size: tuple[int, int], kind: str) -> list[dict]:
    """The regions of an image; their tags are those of the labeling interface beside the file."""
    view = ElementTree.parse(path.with_suffix(".xml")).getroot()
    (image,), (labels,) = view.findall("Image"), [tag for tag in view if tag.tag.lower() == kind]
    assert labels.get("toName") == image.get("name")
    key = image.get("value").removeprefix("$")
    tasks = json.loads(path.read_text(encoding="utf-8"))
    (task,) = (t for t in tasks if unquote(t["data"][key]).endswith(f"?d={name}"))
    (prediction,) = task["predictions"]
    assert prediction["model_version"]
    regions = prediction["result"]
    scores = {region["id"]: region["score"] for region in regions if "parentID" not in region}
    mean = sum(scores.values()) / max(1, len(scores))
    assert abs(prediction["score"] - mean) <= 1e-6
    assert len({region["id"] for region in regions}) == len(regions)
    for region in regions:
        assert region["type"] == kind
        assert (region["from_name"], region["to_name"]) == (labels.get("name"), image.get("name"))
        assert (region["original_height"], region["original_width"]) == size
    return regions


def unpack_rle(packed: list[int]) -> np.ndarray:
    """The bits of @thi.ng/rle-pack, by its readme and its ``decode``."""
    bits = "".join(f"{byte:08b}" for byte in packed)
    position = 0

    def take(count: int) -> int:
        nonlocal position
        position += count
        return int(bits[position - count : position], 2)

    total, word = take(32), take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated = take(1)
        count = take(lengths[take(2)]) + 1
        values += [take(word)] * count if repeated else [take(word) for _ in range(count)]
    assert len(bits) - position < 8
    return np.array(values, np.uint8)


def read_cvat(output: Path, name: str, size: tuple[int, int]) -> list[Found]:
    root = ElementTree.parse(output / "cvat.xml").getroot()
    assert root.tag == "annotations"
    assert root.findtext("version") == "1.1"
    known = {label.findtext("name") for label in root.findall("meta/task/labels/label")}
    (image,) = (image for image in root.findall("image") if image.get("name") == name)
    assert (int(image.get("height")), int(image.get("width"))) == size
    found = []
    for element in image:
        assert element.tag == "mask"
        assert element.get("label") in known
        left, top, width, height = (
            int(element.get(key)) for key in ("left", "top", "width", "height")
        )
        counts = [int(count) for count in element.get("rle").split(",")]
        values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        mask = np.zeros(size, bool)
        mask[top : top + height, left : left + width] = values.reshape(height, width)
        (score,) = (float(a.text) for a in element.findall("attribute") if a.get("name") == "score")
        found.append((element.get("label"), score, mask))
    return found


READERS: dict[str, Callable[[Path, str, tuple[int, int]], list[Found]]] = {
    "coco": lambda *known: read_coco(*known, "coco.json"),
    "coco-polygons": lambda *known: read_coco(*known, "coco-polygons.json"),
    "labels": read_labels,
    "yolo": read_yolo,
    "geojson": read_geojson,
    "labelme": read_labelme,
    "labelstudio": read_labelstudio,
    "labelstudio-brush": read_labelstudio_brush,
    "cvat": read_cvat,
}
