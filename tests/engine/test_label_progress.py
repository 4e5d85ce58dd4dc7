"""Figure 6: how many of the labels that are taught are right, written as training goes on."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from pycocotools import mask as mask_api

from bestie_d2.data.datasets import register_custom_datasets
from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.distributed import AUTO, joined, launch
from bestie_d2.engine.label_progress import LabelProgress, _as_labels
from bestie_d2.engine.trainer import Trainer
from bestie_d2.errors import InputError
from bestie_d2.evaluation.failures import all_counts
from bestie_d2.structures import InstanceTargets

MEASURED = {"true_positives", "labels", "objects", "precision", "recall", *all_counts({})}


@pytest.fixture(scope="module")
def measured_set(project) -> str:
    """The tiny set with its truth beside its points."""
    files = {"images": "images", "points": "points.json", "annotations": "annotations.json"}
    entry = {key: str(project / value) for key, value in files.items()}
    name = f"measured_{project.name}"
    register_custom_datasets([{"name": name, "weak_maps": str(project / "maps"), **entry}])
    return name


def config(project, dataset: str, *opts: str):
    keys = ["TEST.LABEL_PROGRESS.DATASET", dataset, "TEST.LABEL_PROGRESS.IMAGES", "4", *opts]
    return load_config(str(project / "tiny.yaml"), keys)


class Perfect(torch.nn.Module):
    """BESTIE's network as far as it is asked: certain of the weak map, offsets to the points."""

    device = torch.device("cpu")

    def __init__(self, model) -> None:
        super().__init__()
        self.criterion, self.weak_labels = model.criterion, model.weak_labels

    def predict_maps(self, image):
        height, width = image.shape[-2:]
        foreground = (image.float().mean(dim=0) > 120).float()
        probability = torch.stack([1 - foreground, foreground])
        return probability, torch.zeros(1, height, width), torch.zeros(2, height, width)


def test_labels_that_are_right_are_counted(project, measured_set):
    cfg = config(project, measured_set)
    model = Perfect(Trainer.build_model(cfg))
    # Each of the 4 x 2 squares is a component with one point. Refinement from points sends a pixel
    # whose offset is 0 to the nearest point: its own, as the squares lie apart.
    figures = LabelProgress(cfg).measure(model)
    right = {"true_positives": 8, "labels": 8, "objects": 8, "precision": 100.0, "recall": 100.0}
    right |= all_counts({"objects-right": 8, "instances-right": 8})
    expected = {f"{kind}_labels/{k}": v for kind in ("pseudo", "refined") for k, v in right.items()}
    assert figures == expected


def test_pseudo_and_refined_labels_are_told_apart(project, measured_set, tmp_path):
    points = json.loads((project / "points.json").read_text())
    first_of_each = points["points"][::2]  # of the left square; the right one gets none
    points["points"] = [
        {**entry, "point": [entry["point"][0] + aside, entry["point"][1]]}
        for entry in first_of_each
        for aside in (-3, 3)
    ]
    (tmp_path / "points.json").write_text(json.dumps(points))
    cfg = config(project, measured_set, "DATASETS.CUES", str(tmp_path / "points.json"))
    figures = LabelProgress(cfg).measure(Perfect(Trainer.build_model(cfg)))
    # No component has exactly one point, but every pixel is nearest to one of the image's two.
    assert figures["pseudo_labels/labels"] == 0
    assert figures["refined_labels/labels"] == 8
    assert figures["pseudo_labels/objects"] == figures["refined_labels/objects"] == 8


@pytest.mark.parametrize(("count", "measured"), [(2, [0, 5]), (4, [0, 2, 3, 5]), (0, [*range(6)])])
def test_the_images_are_spread_over_the_set(project, measured_set, count, measured):
    cfg = config(project, measured_set, "TEST.LABEL_PROGRESS.IMAGES", str(count))
    assert [record["image_id"] for record in LabelProgress(cfg)._records] == measured


def test_labels_are_of_the_size_of_the_image():
    sem_seg = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0]])
    offset = torch.zeros(2, 2, 4)
    offset[1, 0, 2] = -1  # to the other pixel
    targets = InstanceTargets(None, offset, (sem_seg == 1).float())
    (label,) = _as_labels(targets, sem_seg, (4, 8))
    assert mask_api.decode(label["segmentation"]).tolist() == [
        *[[0, 0, 1, 1, 1, 1, 0, 0]] * 2,
        *[[0, 0, 0, 0, 0, 0, 0, 0]] * 2,
    ]


def test_without_refinement_there_are_pseudo_labels_alone(project, measured_set):
    cfg = config(project, measured_set, "MODEL.BESTIE.REFINEMENT.ENABLED", "False")
    figures = LabelProgress(cfg).measure(Perfect(Trainer.build_model(cfg)))
    assert set(figures) == {f"pseudo_labels/{name}" for name in MEASURED}


def test_it_is_written_with_every_evaluation(project, measured_set, tmp_path):
    opts = ("SOLVER.MAX_ITER", "22", "TEST.EVAL_PERIOD", "20", "OUTPUT_DIR", str(tmp_path))
    trainer = Trainer(config(project, measured_set, *opts, "DATASETS.TEST", "()"))
    trainer.train()
    assert trainer.model.training
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    by_iteration = {line["iteration"]: line for line in lines if "refined_labels/labels" in line}
    assert list(by_iteration) == [19, 21]  # after 20 steps, and after the last
    for line in by_iteration.values():
        assert line["pseudo_labels/true_positives"] == 8
        assert {f"refined_labels/{name}" for name in MEASURED} <= set(line)


def test_a_set_without_truth_is_refused(project):
    with pytest.raises(InputError, match=r"DATASET: 'tiny_train' has no true masks"):
        LabelProgress(config(project, "tiny_train"))


def train_as_one_of_two(arguments: Namespace) -> None:
    """A process of two on the processor."""
    seen = []
    taught = LabelProgress._taught_labels

    def noting(self, model, record):
        assert not model.training
        seen.append(record["image_id"])
        return taught(self, model, record)

    LabelProgress._taught_labels = noting
    with joined("cpu"):
        trainer = Trainer(load_config(arguments.yaml, arguments.opts))
        trainer.train()
        assert all(module.training for module in trainer.model.modules())
        folder = Path(trainer.cfg.OUTPUT_DIR)
        (folder / f"seen_{comm.get_rank()}.json").write_text(json.dumps(seen))


@pytest.mark.slow
def test_two_processes_share_the_images_and_meet_the_evaluation_in_one_order(
    project, measured_set, tmp_path
):
    yaml = tmp_path / "two.yaml"
    text = (project / "tiny.yaml").read_text().replace("tiny_", "two_")
    entry = f"""
    - name: "measured"
      images: "{project}/images"
      points: "{project}/points.json"
      annotations: "{project}/annotations.json"
      weak_maps: "{project}/maps"
  TRAIN:"""
    yaml.write_text(text.replace("\n  TRAIN:", entry))
    opts = [
        "TEST.LABEL_PROGRESS.DATASET", "measured",
        "TEST.EVAL_PERIOD", "1",
        "SOLVER.MAX_ITER", "2",
        "OUTPUT_DIR", str(tmp_path),
    ]  # fmt: skip
    flags = {"num_gpus": 2, "num_machines": 1, "machine_rank": 0, "dist_url": AUTO}
    launch(train_as_one_of_two, Namespace(yaml=str(yaml), opts=opts, **flags))
    seen = [json.loads((tmp_path / f"seen_{rank}.json").read_text()) for rank in (0, 1)]
    assert seen == [[0, 2, 4] * 2, [1, 3, 5] * 2]
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    measured = [line for line in lines if "pseudo_labels/labels" in line]
    assert measured
    for line in measured:
        assert line["pseudo_labels/labels"] == line["pseudo_labels/true_positives"] == 12
        assert line["refined_labels/objects"] == 12
