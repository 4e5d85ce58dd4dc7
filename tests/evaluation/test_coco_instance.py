"""COCO AP: what pycocotools says of a sane file, and the same whatever the ids in it."""

from __future__ import annotations

import contextlib
import copy
import io
import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import BitMasks, Instances
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bestie_d2.data import register_weak_dataset
from bestie_d2.evaluation import VOCInstanceEvaluator
from bestie_d2.evaluation.coco_instance import COCOInstanceEvaluator

SIZE = (120, 150)
IDS = {  # annotation ids of the n-th object, which is the k-th of its image
    "from 0": lambda n, k: n,
    "in each image": lambda n, k: k + 1,
    "the same": lambda n, k: 1,
    "text": lambda n, k: f"{n}",
    "missing": None,
}


def disc(random: np.random.Generator) -> np.ndarray:
    radius = random.choice([5, 12, 25, 55])
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return (y - random.integers(SIZE[0])) ** 2 + (x - random.integers(SIZE[1])) ** 2 < radius**2


def rle(mask: np.ndarray) -> dict:
    encoded = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(SIZE), "counts": encoded["counts"].decode()}


def shape(mask: np.ndarray, number: int) -> dict | list:
    """A mask in one of the forms that files have."""
    if number % 3 == 1:  # its runs, not compressed
        flat = np.concatenate([[0], mask.T.ravel().astype(int), [0]])
        turns = np.flatnonzero(np.diff(flat)).tolist()
        runs = np.diff([0, *turns, mask.size]).tolist()
        return {"size": list(SIZE), "counts": runs if turns[-1] < mask.size else runs[:-1]}
    if number % 3 == 2:
        top, left = np.argwhere(mask).min(axis=0).tolist()
        bottom, right = (np.argwhere(mask).max(axis=0) + 1).tolist()
        return [[left, top, right, top, right, bottom, left, bottom], [0, 0, 3, 0, 3, 3, 0, 3]]
    return rle(mask)


@pytest.fixture(scope="module")
def content() -> dict:
    """Random discs of four sizes, three classes and some crowds in eight images."""
    random = np.random.default_rng(3)
    images = [
        {"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]}
        for i in (4, 9, 2, 30, 7, 8, 12, 5)
    ]
    annotations = []
    for image in images:
        for _ in range(9):
            number = len(annotations)
            segmentation = shape(disc(random), number)
            mask = COCO()
            mask.imgs = {image["id"]: image}
            found = mask.annToRLE({"image_id": image["id"], "segmentation": segmentation})
            annotations.append(
                {
                    "id": number + 1,
                    "image_id": image["id"],
                    "category_id": int(random.choice([2, 3, 11])),
                    "segmentation": segmentation,
                    "area": float(mask_api.area(found)) * random.choice([0.8, 1.0]),
                    "bbox": mask_api.toBbox(found).tolist(),
                    "iscrowd": int(number % 7 == 0),
                }
            )
    categories = [{"id": i, "name": n} for i, n in ((11, "dog"), (2, "cat"), (3, "bird"))]
    return {"images": images, "categories": categories, "annotations": annotations}


@pytest.fixture
def registered(tmp_path, new_name):
    """Registers a truth beside empty tags of the same images; returns the set's name."""

    def register(truth: dict, tags: dict | None = None) -> str:
        paths = {}
        for kind, lists in (("annotations", truth), ("tags", tags)):
            if lists is not None:
                path = tmp_path / f"{kind}.json"
                path.write_text(json.dumps(lists))
                paths[kind] = str(path)
        name = new_name()
        register_weak_dataset(name, images=str(tmp_path), **paths)
        return name

    return register


def predictions(content: dict, *, perfect: bool) -> dict[str, list[tuple[np.ndarray, str, float]]]:
    """Masks, class names and scores by file name: the objects that are no crowd, moved a little."""
    random = np.random.default_rng(5)
    api = COCO()
    api.imgs = {image["id"]: image for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    found: dict[str, list] = {image["file_name"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        if perfect and entry["iscrowd"]:
            continue
        mask = api.annToMask(entry).astype(bool)
        score = round(float(random.random()), 1)  # some are the same
        if not perfect:
            mask = np.roll(mask, random.integers(-4, 5, 2), (0, 1))
        name = api.imgs[entry["image_id"]]["file_name"]
        found[name].append((mask, names[entry["category_id"]], score))
    return found


def evaluate(name: str, found: dict, folder, build=COCOInstanceEvaluator) -> dict:
    evaluator = build(name, output_dir=str(folder)) if folder else build(name)
    evaluator.reset()
    classes = ["cat", "bird", "dog"]
    for record in DatasetCatalog.get(name):
        items = found[record["file_name"].rsplit("/", 1)[-1]]
        instances = Instances(SIZE)
        masks = torch.from_numpy(np.array([mask for mask, *_ in items]).reshape(-1, *SIZE))
        instances.pred_masks = masks
        instances.pred_boxes = BitMasks(masks).get_bounding_boxes()
        instances.pred_classes = torch.tensor([classes.index(c) for _, c, _ in items]).long()
        instances.scores = torch.tensor([score for *_, score in items], dtype=torch.float32)
        evaluator.process([record], [{"instances": instances}])
    return evaluator.evaluate()


def test_a_sane_file_gives_what_pycocotools_says(registered, content, tmp_path):
    name = registered(content)
    figures = evaluate(name, predictions(content, perfect=False), tmp_path / "out")["segm"]
    results = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    for result in results:
        del result["bbox"]  # by which areas would be taken
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(str(tmp_path / "annotations.json"))
        direct = COCOeval(api, api.loadRes(results), "segm")
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
    keys = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    assert [figures[key] for key in keys] == [100 * value for value in direct.stats[:6]]
    assert 20 < figures["AP"] < 90
    by_class = direct.eval["precision"][:, :, :, 0, -1].mean(axis=(0, 1)) * 100
    assert [figures[f"AP-{c}"] for c in ("cat", "bird", "dog")] == pytest.approx(by_class.tolist())


@pytest.mark.parametrize("ids", IDS)
def test_perfect_predictions_whatever_the_annotation_ids(registered, content, tmp_path, ids):
    truth = copy.deepcopy(content)
    seen: dict[int, int] = {}
    for number, entry in enumerate(truth["annotations"]):
        of_image = seen[entry["image_id"]] = seen.get(entry["image_id"], -1) + 1
        del entry["id"]
        if IDS[ids]:
            entry["id"] = IDS[ids](number, of_image)
    check_perfect(registered(truth), content, tmp_path)


@pytest.mark.parametrize("image_ids", [None, [7, "1", "10", 2, 5, 4, 12, 9]])
@pytest.mark.parametrize("category_ids", [None, [0, 1, 2], ["2", "10", "1"], [7, 100, 50]])
def test_perfect_predictions_whatever_the_other_ids(
    registered, content, tmp_path, image_ids, category_ids
):
    truth = copy.deepcopy(content)
    for key, list_of, ids in (
        ("image_id", "images", image_ids),
        ("category_id", "categories", category_ids),
    ):
        if ids is None:
            continue
        new = {entry["id"]: number for entry, number in zip(truth[list_of], ids, strict=True)}
        for entry in truth[list_of]:
            entry["id"] = new[entry["id"]]
        for entry in truth["annotations"]:
            entry[key] = new[entry[key]]
    tags = {**content, "annotations": []}
    check_perfect(registered(truth, tags), content, tmp_path)


def check_perfect(name: str, content: dict, folder) -> None:
    found = predictions(content, perfect=True)
    assert evaluate(name, found, folder / "out")["segm"]["AP"] == pytest.approx(100)
    voc = evaluate(name, found, None, VOCInstanceEvaluator)["voc_instance"]
    assert voc["mAP75"] == pytest.approx(100)
