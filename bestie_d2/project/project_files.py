"""The configurations and the pipeline of a new project."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bestie_d2.data.labels.annotation_tools.placing import POINTS
from bestie_d2.project.labeled_set import TRUTH
from bestie_d2.project.project_plan import BESTIE, PAM, PIPELINE, VAL_TRUTH, WSSS, Plan
from bestie_d2.project.project_settings import (
    CPU,
    Settings,
    as_yaml,
    length_settings,
    threshold_settings,
)

HEADS = {
    PAM: "Classifier of the tags: finds a point in each object, where none are given.",
    WSSS: "Segmentation network of the tags: makes the weak maps.",
    BESTIE: "BESTIE: instances from weak maps and points.",
}
SCORE_THRESHOLD = 0.1  # of exported labels: tools/export_pseudo_labels.py says why


def stage_settings(plan: Plan, stage: str) -> Settings:
    """What a configuration says beside its base."""
    settings: Settings = {}
    if plan.threshold:
        settings |= threshold_settings(plan.labeled, plan.machine)
    else:
        settings[f"MODEL.{stage.upper()}.NUM_CLASSES"] = (len(plan.labeled.classes), "")
    if stage == BESTIE:
        settings |= length_settings(plan.sizes, plan.machine)
    if stage == BESTIE and not plan.threshold:
        settings["DATASETS.WEAK_MAPS"] = (plan.place("pipeline/maps/weak_maps"), "")
        cues = plan.place("pipeline/cues/cues.json") if plan.finds_cues else ""
        settings["DATASETS.CUES"] = (cues, "")
    train, val = plan.set_names
    measured = [val] if plan.val and stage != WSSS else []
    return settings | {
        "DATASETS.CUSTOM": (_data_sets(plan), ""),
        "DATASETS.TRAIN": ([train], ""),
        "DATASETS.TEST": (measured, ""),
        "OUTPUT_DIR": (plan.place(f"{stage}_run"), ""),
    }


def _data_sets(plan: Plan) -> list[dict[str, Any]]:
    """The value of ``DATASETS.CUSTOM``; both sets have the classes in one order."""
    images, (train, val) = os.path.abspath(plan.request.images), plan.set_names
    maps = {"weak_maps": plan.place("weak_maps")} if plan.threshold else {}

    def data_set(name: str, **labels: str) -> dict[str, Any]:
        classes = [*plan.labeled.classes]  # a list of its own, which yaml writes out
        return {"name": name, "images": images, "classes": classes, **labels, **maps}

    found = [data_set(train, **{plan.labeled.kind: plan.train_labels})]
    if plan.val:
        found.append(data_set(val, **{TRUTH: plan.place(VAL_TRUTH)}))
    return found


def _base_of(plan: Plan, stage: str) -> str:
    if plan.threshold:
        return "configs/Base-BESTIE.yaml"
    of_points = stage == BESTIE and plan.labeled.kind == POINTS
    ending = plan.machine.points_from if of_points else plan.machine.tags_from
    return f"configs/{stage}_{ending}.yaml"


def write_files(plan: Plan, folder: Path, settings: Mapping[str, Settings]) -> None:
    """Write the configurations, and the pipeline where there are several."""
    for stage, keys in settings.items():
        text = as_yaml(HEADS[stage], _base_of(plan, stage), keys)
        (folder / f"{stage}.yaml").write_text(text, encoding="utf-8")
    if plan.threshold:
        return
    train, val = plan.set_names
    stages: dict[str, dict[str, Any]] = {name: {"config": f"{name}.yaml"} for name in plan.stages}
    if plan.machine is CPU:  # its networks have one backbone, and each starts from the one before
        for earlier, stage in zip(plan.stages, plan.stages[1:], strict=False):
            stages[stage]["weights_from"] = earlier
    stages |= {"cues": {}} if plan.finds_cues else {}
    stages |= {"maps": {}, "export": {"score_threshold": SCORE_THRESHOLD}}
    stages |= {"evaluate": {}} if plan.val else {}
    pipeline = {
        **{"name": Path(plan.place("")).name, "supervision": plan.labeled.kind},
        **{"output": plan.place("pipeline"), "train_set": train},
        **{"test_set": val if plan.val else train, "stages": stages},
    }
    text = yaml.safe_dump(pipeline, sort_keys=False, allow_unicode=True)
    (folder / PIPELINE).write_text(text, encoding="utf-8")
