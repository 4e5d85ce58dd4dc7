"""What a pipeline's run has left on disk, finished or not, as the report reads it."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Hashable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from bestie_d2.data import ImageReader
from bestie_d2.data.labels.coco_json import IMAGE_LISTS, category_indices, load_json
from bestie_d2.engine.command_line import reason_of
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import METRICS_FILE
from bestie_d2.errors import InputError
from bestie_d2.evaluation.failures import FILE as FAILURES_FILE
from bestie_d2.pictures.dataset import KnownLabels
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.stage_job import StageJob, sets_of
from bestie_d2.pipeline.state import CONFIG_FILE, StageRecord, flattened
from bestie_d2.storage.files import read_json
from bestie_d2.storage.processes import running_in

MAX_POINTS = 120  # of a drawn curve, however long the training
LABEL_KEYS = ("image_id", "category_id", "segmentation", "score")
Curve = list[tuple[int, float]]  # (iteration, value) by rising iteration


class StageFiles:
    """A stage of a run: what the finished stage wrote down (``manifest``, or None), how far it is
    (``state``, in words), and the text of the configuration that is trained ("" for none)."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self.name, self.kind = name, pipeline.stages[name].kind
        self.folder, self.product = pipeline.folder_of(name), pipeline.product_of(name)
        self.config = _text_of(self.folder, CONFIG_FILE)
        self.manifest: dict | None = None
        record = StageRecord(self.folder)
        self.kept = record.kept
        try:
            self.manifest = record.manifest
            self.state = self._state(record.started is not None, record.failure)
        except InputError as error:
            self.state = f"damaged: {error}"

    def _state(self, begun: bool, failure: str) -> str:
        if self.manifest:
            gone = not os.path.exists(self.product)
            return "finished" + (f", but {os.path.basename(self.product)} is gone" if gone else "")
        if failure:
            return f"failed: {failure}"
        if running := running_in(self.folder):
            return f"running: {running}"
        return "begun, not finished" if begun else "not there yet"

    def settings(self) -> dict[str, Any]:
        """The configuration's values by key; none where it is no yaml."""
        try:
            return flattened(yaml.safe_load(self.config))
        except (yaml.YAMLError, AttributeError):
            return {}

    def curves(self) -> dict[str, Curve]:
        """The finite values of all that was measured, by name; of iterations that were gone over
        again, those written last."""
        found: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for line in read_lines(self.folder, METRICS_FILE):
            iteration: Any = line.get("iteration")
            for key, value in line.items() if isinstance(iteration, int) else ():
                if isinstance(value, (int, float)) and math.isfinite(value):
                    found[key][iteration] = float(value)
        return {key: sorted(points.items()) for key, points in found.items()}

    def load(self) -> CfgNode:
        """The configuration with the trained weights. The data sets are those that the pipeline
        registers: this one may name them where they lay before they were moved."""
        keys = ["MODEL.WEIGHTS", self.product, "DATASETS.CUSTOM", "[]"]
        return load_config(os.path.join(self.folder, CONFIG_FILE), keys)


class Run:
    """All stages of a run, in the order in which they run, why those that are ``problems`` cannot
    be run as they are configured, and the labels of the training set.

    What is wrong with a file is raised, as InputError, where it is first asked for.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.stages = [StageFiles(pipeline, name) for name in pipeline.stages]
        self.problems: dict[str, str] = {}
        self._trainings: dict[str, CfgNode] = {}  # of the last stage of each kind
        for name, entry in pipeline.stages.items():
            if pipeline.kind_of(name).trains:
                try:  # this registers the data sets, too
                    self._trainings[entry.kind] = StageJob(pipeline, name).configs[name]
                except Exception as error:
                    self.problems[name] = reason_of(error)

    def finished(self, *kinds: str) -> list[StageFiles]:
        """The finished stages of these kinds."""
        return [stage for stage in self.stages if stage.manifest and stage.kind in kinds]

    def product_of(self, *kinds: str) -> str:
        """What the last finished stage of these kinds has made; "" if there is none."""
        return next((stage.product for stage in self.finished(*kinds)[::-1]), "")

    @cached_property
    def cfg(self) -> CfgNode:
        """That of the last stage that trains BESTIE, or of the last training where none does."""
        if not self._trainings:
            raise InputError(next(iter(self.problems.values()), "no stage trains anything"))
        return self._trainings.get("bestie", list(self._trainings.values())[-1])

    @property
    def train_set(self) -> str:
        return sets_of(self.pipeline, self.cfg)[0]

    @property
    def test_set(self) -> str:
        return sets_of(self.pipeline, self.cfg)[1]

    @cached_property
    def labels(self) -> KnownLabels:
        """Weak labels of the training set, where they are made or given, and truth if known."""
        sets = self.cfg.DATASETS
        maps = self.product_of("maps", "cam_maps") or sets.WEAK_MAPS
        cues = self.product_of("cues") or sets.CUES
        return KnownLabels(self.train_set, weak_maps=maps, cues=cues)

    @cached_property
    def reader(self) -> ImageReader:
        return ImageReader.from_config(self.cfg, "RGB")

    @cached_property
    def worst_images(self) -> tuple[str, list[Hashable]]:
        """The last stage whose failures on the test set were counted by image, but for training on
        true masks, and ids of the images, the worst first; "" and none."""
        for evaluated in self.finished("evaluate")[-1:]:
            for stage in self.finished("bestie", "mrcnn")[::-1]:
                below = (stage.name, "inference", self.test_set, FAILURES_FILE)
                with suppress(OSError, ValueError, KeyError, TypeError):  # none, or damaged
                    images = read_json(os.path.join(evaluated.folder, *below))["images"]
                    return stage.name, [image["image_id"] for image in images]
        return "", []

    @cached_property
    def exported(self) -> dict[Hashable, list[dict]] | None:
        """The pseudo labels that were exported last, with ``category_id`` 0..C-1, of each image of
        their file; None if there are none."""
        path = self.product_of("export")
        if not path:
            return None
        data = load_json(path, {**IMAGE_LISTS, "annotations": LABEL_KEYS})
        contiguous = category_indices(path, data, self.labels.class_names)
        found: dict[Hashable, list[dict]] = {image["id"]: [] for image in data["images"]}
        for label in data["annotations"]:
            label["category_id"] = contiguous[label["category_id"]]
            found.setdefault(label["image_id"], []).append(label)
        return found


def read_lines(*path: str) -> list[dict]:
    """The JSON objects of a file, one a line; none without the file. A line that is none, such as
    the last one of a training that was killed, is passed over."""
    found = []
    for line in _text_of(*path).splitlines():
        with suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [content for content in found if isinstance(content, dict)]


def thinned(curve: Curve) -> Curve:
    """At most ``MAX_POINTS`` points, evenly chosen, the last one among them."""
    return curve[:: -max(1, math.ceil(len(curve) / MAX_POINTS))][::-1]


def _text_of(*path: str) -> str:
    with suppress(OSError):
        return Path(*path).read_text(encoding="utf-8", errors="replace")
    return ""
