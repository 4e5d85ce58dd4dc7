"""A trained model on pictures of one's own: what it finds, in the files of other tools."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from PIL import Image
from pycocotools import mask as mask_api
from torch import nn
from tqdm import tqdm

from bestie_d2.data import ImageReader
from bestie_d2.data.picture_files import MARK_OF_RESULTS
from bestie_d2.engine.predictor import PredictionRecipe, class_names, find_objects
from bestie_d2.errors import InputError
from bestie_d2.runs.labeling_run import LabelingRun, read_or_refuse
from bestie_d2.runs.pseudo_label_export import DETECTIONS
from bestie_d2.storage.machine_shares import ONE_MACHINE, Machines, wait_until_begun
from bestie_d2.storage.processes import only_run_in
from bestie_d2.storage.results import Results
from bestie_d2.structures import LabeledImage, ObjectMask
from bestie_d2.writers import WRITERS
from bestie_d2.writers.writer import Writer

UNREADABLE = "unreadable"  # of a result, in place of objects: why
PICTURE = "picture"  # of a result: which one it is of, for others may come to have its name
RESULTS = ".results"  # in the output folder


@dataclass(frozen=True)
class PredictionRun(LabelingRun):
    """A trained model and the pictures that it is used on; unreadable ones are passed over."""

    recipe: PredictionRecipe = field(default_factory=PredictionRecipe)

    @staticmethod
    def of(
        cfg: CfgNode,
        pictures: Mapping[str, str],
        recipe: PredictionRecipe,
        *,
        jobs: int = 1,
        machines: Machines = ONE_MACHINE,
    ) -> PredictionRun:
        """``pictures`` are paths by name, as ``data.picture_files.find_pictures`` gives them."""
        records = [{"image_id": name, "file_name": path} for name, path in pictures.items()]
        names = enumerate(class_names(cfg), start=1)
        categories = [{"id": number, "name": name} for number, name in names]
        return PredictionRun(cfg, "", records, categories, jobs, True, machines, recipe)

    def settings(self) -> dict[str, str]:
        """What a picture's result depends on; other pictures may come and go."""
        known = super().settings()
        of_set = {"data set", "images and tags"}
        return {
            **{key: value for key, value in known.items() if key not in of_set},
            DETECTIONS: str(self.cfg.TEST.DETECTIONS_PER_IMAGE),
            **{key: str(value) for key, value in asdict(self.recipe).items()},
        }

    def items(self, cfg: CfgNode, share: Sequence[dict]) -> Iterator[dict | InputError]:
        """Each picture as it is, the next one read meanwhile: no more than two are in memory."""
        allow_large_pictures()
        read = partial(read_or_refuse, partial(_with_picture, ImageReader.from_config(cfg)))
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(read, share[0])
            for record in share[1:]:
                item, coming = coming.result(), reader.submit(read, record)
                yield item
                del item
            yield coming.result()

    def see(self, model: nn.Module, item: dict) -> dict:
        return {"objects": find_objects(self.cfg, model, self.recipe, item["picture"])}

    def unreadable(self, error: InputError) -> dict:
        return {UNREADABLE: str(error)}


def allow_large_pictures() -> None:
    """Have Pillow open pictures of any size; it takes those above 178 million pixels for an
    attack."""
    Image.MAX_IMAGE_PIXELS = None


def _with_picture(reader: ImageReader, record: dict) -> dict:
    return {**record, "picture": reader.read(record["file_name"])}


def predict(
    run: PredictionRun, output: str, formats: Iterable[str], *, overwrite: bool = False
) -> list[str]:
    """Find the objects in all pictures and write them in these formats of ``writers`` into a
    folder; goes on where a run of the same settings was stopped. Ends by ``ShareDone`` on a machine
    that is not the first one.

    Returns:
        Why pictures could not be read, a line each; the others are written all the same.
    """
    allow_large_pictures()
    results = run.machines.results(Path(output, RESULTS))

    def do(share: int) -> None:
        records = run.machines.share_of(run.records, share)
        names = [record["image_id"] for record in records]
        known = {name: result.get(PICTURE) for name, result in results.of(names)}
        left = [r for r in records if known.get(r["image_id"]) != _state(r["file_name"])]
        results.forget([record["image_id"] for record in left])
        run.execute(left, objects_of, "predict", results)

    with run.machines.first_alone(only_run_in(output, "--output")):
        if run.machines.rank:
            wait_until_begun(results, run.settings())
        else:
            _begin(results, output, run.settings(), overwrite)
        with run.machines.sharing(output, do):
            paths = {record["image_id"]: record["file_name"] for record in run.records}
            errors = _write(results, paths, output, run.class_names, formats)
            results.remove()
    return errors


def _begin(results: Results, output: str, settings: Mapping[str, str], overwrite: bool) -> None:
    begun = results.settings is not None
    others = [name for name in os.listdir(output) if not name.startswith(".")]
    if others and not begun and not overwrite:
        raise InputError(
            f"--output {output}: holds {sorted(others)[0]} already; --overwrite replaces files "
            "of the same names, another --output leaves them"
        )
    Path(output, MARK_OF_RESULTS).touch()
    results.begin(settings, overwrite=overwrite)


def _write(
    results: Results,
    paths: Mapping[str, str],
    output: str,
    classes: Sequence[str],
    formats: Iterable[str],
) -> list[str]:
    """Hand the pictures to the writers; returns why some could not be read. Where none could,
    nothing is written."""
    writers: list[Writer] = []
    errors = []
    for name, result in tqdm(results.of(paths), "write", len(paths), unit="image", smoothing=0):
        if UNREADABLE in result:
            errors.append(result[UNREADABLE])
            continue
        image = labeled_image(str(name), paths[str(name)], result)
        writers = writers or [WRITERS[key](output, classes, file_names=paths) for key in formats]
        for writer in writers:
            writer.add(image)
    for writer in writers:
        writer.close()
    return errors


def objects_of(item: Mapping, output: Mapping) -> dict[str, Any]:
    """What is kept of a picture: which it is, its size and its objects, JSON values."""
    height, width = item["picture"].shape[:2]
    known = {PICTURE: _state(item["file_name"]), "height": height, "width": width}
    return {**known, "objects": [*map(_packed, output["objects"])]}


def _state(path: str) -> list:
    """Tells a file, and what is in it now, from others."""
    status = os.stat(path)
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]


def _packed(found: ObjectMask) -> list:
    rle = mask_api.encode(np.asfortranarray(found.mask, np.uint8))
    return [found.class_id, found.score, *found.top_left, rle["size"], rle["counts"].decode()]


def labeled_image(name: str, path: str, result: Mapping[str, Any]) -> LabeledImage:
    """A picture from what :func:`objects_of` kept of it."""
    objects = []
    for class_id, score, top, left, size, counts in result["objects"]:
        mask = mask_api.decode({"size": size, "counts": counts}).astype(bool)
        objects.append(ObjectMask(class_id, score, (top, left), mask))
    return LabeledImage(name, path, result["height"], result["width"], objects)
