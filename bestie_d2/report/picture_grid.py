"""The section of the report that shows pictures: what each stage makes of images."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import cast

import numpy as np
import torch
from PIL import Image

from bestie_d2.checks.training import check_trained_classes
from bestie_d2.data import EvaluationMapper, WeakInstanceMapper
from bestie_d2.data.names import relative_name
from bestie_d2.engine.label_progress import taught_targets
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.evaluation.label_quality import instances_of_targets
from bestie_d2.modeling.meta_arch import BESTIE
from bestie_d2.pictures import dataset
from bestie_d2.pictures.dataset import KnownLabels
from bestie_d2.pictures.overlays import KIND_COLORS, MaskSet
from bestie_d2.pictures.sheets import Layers, draw_layers
from bestie_d2.pipeline.definition import FINDERS
from bestie_d2.report.page import Block, attempt
from bestie_d2.report.run_files import Run, StageFiles
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

Found = Mapping[Hashable, dict[str, MaskSet]]  # instances by image id and title

TRAINING_IMAGES, TEST_IMAGES = 8, 4  # shown, however many there are
EXPORTED, PREDICTION = "exported labels", "prediction, "  # titles of pictures
SIDE, CUE_RADIUS = 256, 1 / 36  # pixels of a picture's longer side, about; share of the shorter


def pictures(run: Run) -> list[Block]:
    """Images spread over both sets, and the worst of the test set, with everything that is made or
    known of them."""
    blocks: list[Block] = []
    for title, training in (("Training images", True), ("Test images", False)):
        blocks += [("heading", title), *attempt(title, _grid, run, training)]
    return blocks


def _grid(run: Run, training: bool) -> list[Block]:
    """A row for each image: what models make of it, the truth, in training its weak and exported
    labels."""
    stages = run.finished("bestie")[-1:] if training else run.finished(*FINDERS)
    if not stages and not training:
        return [("text", "No model that finds instances has been trained yet.")]
    labels = run.labels if training else KnownLabels(run.test_set)
    judged, worst = ("", []) if training else run.worst_images
    by_id = {record["image_id"]: record for record in labels.records}
    records = [by_id.pop(image_id) for image_id in worst[:TEST_IMAGES] if image_id in by_id]
    records += dataset.spread_over([*by_id.values()], TRAINING_IMAGES if training else TEST_IMAGES)
    counts = (len(records), len(labels.records), labels.name)
    blocks: list[Block] = [("grid_note", *counts, training, dataset.MIN_SCORE, judged, KIND_COLORS)]
    found: Found = {record["image_id"]: {} for record in records}
    for stage in stages:
        add = _add_taught if training else _add_predictions
        blocks += attempt(stage.name, add, run, stage, records, found)

    def row(record: dict) -> list[Block]:
        image_id = record["image_id"]
        layers = Layers(run.reader.read(record["file_name"]), instances=found[image_id])
        if training:
            layers.weak_map = labels.weak_map(record)
            layers.cues = labels.cues(record, above=run.cfg.DATASETS.CUE_THRESHOLD)
            with suppress(InputError):  # told among the pseudo labels
                if run.exported is not None:
                    exported = dataset.mask_set(record, run.exported.get(image_id, []))
                    layers.instances[EXPORTED] = exported
        layers.instances |= labels.truth(record)
        dataset.mark_failures(layers.instances, EXPORTED if training else PREDICTION + judged)
        return [_pictures(record, layers, labels.class_names)]

    for record in records:
        blocks += attempt(record["file_name"], row, record)
    return blocks


@torch.no_grad()
def _add_taught(run: Run, stage: StageFiles, records: Sequence[dict], found: Found) -> None:
    """The labels that a finished BESTIE training learned from, at the images' size: pseudo labels
    and, if it refines any, refined labels as its model has them."""
    cfg, train_set = stage.load(), run.train_set
    check_trained_classes(cfg, train_set)
    model = cast(BESTIE, load_trained_model(cfg)[0].eval())  # what such a stage trains
    mapper = WeakInstanceMapper(**{**WeakInstanceMapper.from_config(cfg), "augmentations": []})
    for record in WeakInstanceMapper.load_records(cfg, train_set):
        if record["image_id"] in found:
            item = mapper(record)
            for kind, targets in taught_targets(model, item).items():
                masks, classes, _ = instances_of_targets(targets, item["sem_seg"])
                labels = MaskSet(masks, classes, foreground=item["sem_seg"] > 0)
                found[record["image_id"]][kind.replace("_", " ")] = labels


def _add_predictions(run: Run, stage: StageFiles, records: Sequence[dict], found: Found) -> None:
    cfg = stage.load()
    model, mapper = load_trained_model(cfg)[0].eval(), EvaluationMapper(cfg, is_train=False)
    for record in records:
        masks = dataset.predicted_masks(model, mapper(record))
        found[record["image_id"]][PREDICTION + stage.name] = masks


def _pictures(record: dict, layers: Layers, class_names: Sequence[str]) -> Block:
    """The pictures of one image, each with the classes that it shows."""
    classes: dict[str, Iterable] = {title: of.classes for title, of in layers.instances.items()}
    if layers.cues is not None:
        classes["cues"] = layers.cues.classes
    if layers.weak_map is not None:
        classes["weak map"] = np.setdiff1d(layers.weak_map, (BACKGROUND_INDEX, IGNORE_INDEX)) - 1
    pictures = []
    drawn = draw_layers(layers, side=SIDE, largest=SIDE, cue_radius=CUE_RADIUS)
    for title, pixels in drawn.items():
        counts = Counter(class_names[int(class_id)] for class_id in classes.get(title, ()))
        words = [name if n == 1 else f"{n} {name}" for name, n in sorted(counts.items())]
        content = ", ".join(words) or ("nothing" if title in classes else "")
        became = Counter(layers.instances[title].kinds or () if title in layers.instances else ())
        content += f" ({', '.join(f'{n} {kind}' for kind, n in became.items())})" * bool(became)
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=80)
        data = base64.b64encode(file.getvalue()).decode()
        pictures.append((title, content, data, pixels.shape[1], pixels.shape[0]))
    return ("pictures", relative_name(record), pictures)
