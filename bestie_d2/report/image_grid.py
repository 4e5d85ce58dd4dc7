"""The image grid: training images through all stages, test images through all trained models."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import cast

import numpy as np
import torch
from PIL import Image

from bestie_d2.checks.configuration import check_trained_classes
from bestie_d2.data import EvaluationMapper, WeakInstanceMapper
from bestie_d2.data.names import relative_name
from bestie_d2.engine.label_progress import taught_targets
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.evaluation.label_quality import instances_of_targets
from bestie_d2.modeling.meta_arch import BESTIE
from bestie_d2.pictures import dataset
from bestie_d2.pictures.dataset import KnownLabels, mask_set, predicted_masks, spread_over
from bestie_d2.pictures.drawing import MaskSet
from bestie_d2.pictures.sheets import Layers, draw_layers
from bestie_d2.report.run_files import Block, Run, StageFiles, attempt
from bestie_d2.structures import BACKGROUND_INDEX, IGNORE_INDEX

TRAINING_IMAGES, TEST_IMAGES = 8, 4  # shown, however many there are
FINDERS = ("bestie", "mrcnn", "mrcnn_truth")  # kinds of stages whose models find instances
SIDE = 256  # pixels of a picture's longer side, about
CUE_RADIUS = 1 / 36  # of the shorter side: these pictures are shown small

Found = dict[Hashable, dict[str, MaskSet]]  # instances by image id and title


def grid_section(run: Run) -> list[Block]:
    """Images spread over both sets, with everything that is made or known of them."""
    training = attempt("Training images", _training_images, run)
    test = attempt("Test images", _test_images, run)
    return [("heading", "Training images"), *training, ("heading", "Test images"), *test]


def _training_images(run: Run) -> list[Block]:
    labels, taught, exported, problems = run.labels, Found(), None, []
    records = spread_over(labels.records, TRAINING_IMAGES)
    for stage in run.finished("bestie")[-1:]:
        problems = attempt(stage.name, _add_taught, taught, stage, run, records)
    with suppress(InputError):  # told among the pseudo labels
        exported = run.exported

    def row_of(record: dict) -> list[Block]:
        layers = Layers(run.reader.read(record["file_name"]), labels.weak_map(record))
        layers.cues = labels.cues(record)
        if layers.cues is not None:
            layers.cues = layers.cues[layers.cues.scores > run.cfg.DATASETS.CUE_THRESHOLD]
        foreground = None if layers.weak_map is None else layers.weak_map > 0
        for title, found in taught.get(record["image_id"], {}).items():
            layers.instances[title] = replace(found, foreground=foreground)
        if exported is not None:
            found = mask_set(record, exported.get(record["image_id"], []))
            layers.instances["exported labels"] = found
        layers.instances |= labels.truth(record)
        return [_pictures(record, layers, labels.class_names)]

    note = (
        f"{len(records)} of the {len(labels.records):,} images of {labels.name}. Cues are colored "
        "by class, as the weak map is; a ring is as closed as its cue is sure. Labels are colored "
        "one by one; foreground of the weak map that none of them covers is grey. Pseudo labels "
        "are what the last trained BESTIE is given: the components with exactly one cue, or in a "
        "later round the labels exported before. Refined labels are its grouping of the weak map."
    )
    rows = [block for r in records for block in attempt(r["file_name"], row_of, r)]
    return [("text", note, True), *problems, *rows]


@torch.no_grad()
def _add_taught(found: Found, stage: StageFiles, run: Run, records: Sequence[dict]) -> list[Block]:
    """Add the labels that a finished BESTIE training learned from, at the images' size: pseudo
    labels and, if it refines any, refined labels as its model has them."""
    cfg, train_set = stage.load(), run.pipeline.train_set
    check_trained_classes(cfg, train_set)
    model = cast(BESTIE, load_trained_model(cfg)[0].eval())  # what such a stage trains
    mapper = WeakInstanceMapper(**{**WeakInstanceMapper.from_config(cfg), "augmentations": []})
    wanted = {record["image_id"] for record in records}
    for record in WeakInstanceMapper.load_records(cfg, train_set):
        if record["image_id"] in wanted:
            item = mapper(record)
            found[record["image_id"]] = {
                kind.replace("_", " "): MaskSet(*instances_of_targets(targets, item["sem_seg"]))
                for kind, targets in taught_targets(model, item).items()
            }
    return []


def _test_images(run: Run) -> list[Block]:
    models, predictions = run.finished(*FINDERS), {}
    if not models:
        return [("text", "No model that finds instances has been trained yet.")]
    labels = KnownLabels(run.pipeline.test_set)
    records = spread_over(labels.records, TEST_IMAGES)

    def predict(stage: StageFiles) -> list[Block]:
        cfg = stage.load()
        model, mapper = load_trained_model(cfg)[0].eval(), EvaluationMapper(cfg, is_train=False)
        found = {r["image_id"]: predicted_masks(model, mapper(r)) for r in records}
        predictions[f"prediction, {stage.name}"] = found
        return []

    def row_of(record: dict) -> list[Block]:
        layers = Layers(run.reader.read(record["file_name"]))
        layers.instances = {title: of[record["image_id"]] for title, of in predictions.items()}
        layers.instances |= labels.truth(record)
        return [_pictures(record, layers, labels.class_names)]

    problems = [block for stage in models for block in attempt(stage.name, predict, stage)]
    note = (
        f"{len(records)} of the {len(labels.records):,} images of {labels.name}. Predictions that "
        f"score above {dataset.MIN_SCORE:g} are drawn, the surest on top."
    )
    rows = [block for r in records for block in attempt(r["file_name"], row_of, r)]
    return [("text", note, True), *problems, *rows]


def _pictures(record: dict, layers: Layers, class_names: Sequence[str]) -> Block:
    """The pictures of one image, each with the classes that it shows."""
    shown: dict[str, Iterable] = {title: of.classes for title, of in layers.instances.items()}
    if layers.cues is not None:
        shown["cues"] = layers.cues.classes
    if layers.weak_map is not None:
        indices = np.unique(layers.weak_map)
        shown["weak map"] = indices[(indices != BACKGROUND_INDEX) & (indices != IGNORE_INDEX)] - 1
    pictures = []
    drawn = draw_layers(layers, side=SIDE, largest=SIDE, cue_radius=CUE_RADIUS)
    for title, pixels in drawn.items():
        counts = Counter(class_names[int(class_id)] for class_id in shown.get(title, ()))
        words = [name if n == 1 else f"{n} {name}" for name, n in sorted(counts.items())]
        content = ", ".join(words) or ("nothing" if title in shown else "")
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=80)
        data = base64.b64encode(file.getvalue()).decode()
        pictures.append((title, content, data, pixels.shape[1], pixels.shape[0]))
    return ("pictures", relative_name(record), pictures)
