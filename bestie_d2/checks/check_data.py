"""Everything that the training of a configuration would read: looked through, nothing trained."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from bestie_d2.checks.checked_records import LISTS
from bestie_d2.checks.configuration import (
    check_class_names,
    check_config,
    check_sides_of_images,
    read_label_progress,
)
from bestie_d2.checks.findings import Findings
from bestie_d2.checks.set_check import SetCheck, SetReport
from bestie_d2.data.paths import ROOT_VARIABLE, datasets_root
from bestie_d2.errors import InputError
from bestie_d2.weights.checkpoint import BestieCheckpointer

CONFIGURATION = "configuration"
WEIGHTS = "weights"
LABEL_PROGRESS = "TEST.LABEL_PROGRESS"


@dataclass
class DataReport:
    """What there is, what is wrong, and the good records of each training set by its name."""

    lines: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    good: dict[str, list[dict]] = field(default_factory=dict)

    def add(self, report: SetReport) -> None:
        self.lines += ["", *report.lines]

    def describe(self) -> list[str]:
        return [*self.lines, *self.findings.describe()]


def check_data(cfg: CfgNode, *, jobs: int = 1) -> DataReport:
    """Read all sets, and the weights, that a training would read.

    Args:
        jobs: processes that share the images.
    """
    report = DataReport()
    findings = report.findings
    with findings.catching(CONFIGURATION):
        check_config(cfg)
    with findings.catching(CONFIGURATION):
        _check_output(cfg.OUTPUT_DIR)
    report.lines.append(_root_line())
    if not findings.problems:
        _tell_sides(cfg, report)
    _check_weights(cfg, report)
    train, test = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    if not train:
        findings.add(CONFIGURATION, "DATASETS.TRAIN is empty: name a data set to train on")
    check = SetCheck(cfg, findings, jobs)
    for name in train:
        set_report = check.training_set(name)
        report.add(set_report)
        report.good[name] = set_report.good
    for name in test:
        report.add(check.test_set(name, read_images=name not in train))
    if not findings.problems:
        with findings.catching(LISTS):
            check_class_names(cfg)
        with findings.catching(LABEL_PROGRESS):
            _check_label_progress(cfg)
    return report


def _tell_sides(cfg: CfgNode, report: DataReport) -> None:
    """Sizes that the backbone refuses: no mistake of the data, and cured by a key."""
    try:
        check_sides_of_images(cfg)
    except InputError as error:
        report.lines.append(f"before you train: {error}")


def _root_line() -> str:
    state = "" if os.environ.get(ROOT_VARIABLE) else " (not set)"
    return f"{ROOT_VARIABLE}{state}: {os.path.abspath(datasets_root())}"


def _check_output(folder: str) -> None:
    """Refuse a folder that cannot be made; nothing is made."""
    for path in (Path(folder), *Path(folder).parents):
        if path.exists() and not path.is_dir():
            raise InputError(f"OUTPUT_DIR {folder}: cannot be made a folder ({path} is a file)")


def _check_weights(cfg: CfgNode, report: DataReport) -> None:
    path = cfg.MODEL.WEIGHTS
    if "://" in path:
        report.lines.append(f"MODEL.WEIGHTS: {path}, not looked at: fetched when training starts")
    elif path:
        report.lines.append(f"MODEL.WEIGHTS: {os.path.abspath(path)}")
        if not os.path.isfile(path):
            report.findings.add(WEIGHTS, f"MODEL.WEIGHTS {path}: no such file")
            return
        with report.findings.catching(WEIGHTS):
            BestieCheckpointer(nn.Module())._load_file(path)  # as its load() does first


def _check_label_progress(cfg: CfgNode) -> None:
    if cfg.TEST.LABEL_PROGRESS.DATASET:
        read_label_progress(cfg)
