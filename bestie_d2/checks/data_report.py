"""Everything that the training of a configuration would read: looked through, nothing trained.

What is wrong is found by the functions that a training refuses it with, but none of it ends the
search: all of it is counted, the first few of each kind are shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import nn
from tqdm import tqdm

from bestie_d2.checks import training as training_checks
from bestie_d2.checks.image_check import ImageCheck, Tally, packed
from bestie_d2.checks.normalization import normalization_remark
from bestie_d2.checks.weak_map_check import LISTED
from bestie_d2.data import EvaluationMapper, expand_path
from bestie_d2.data.images import UNREADABLE, describe_traits
from bestie_d2.data.labels import attach
from bestie_d2.data.labels.cue_files import read_cues_of_records
from bestie_d2.data.labels.index_png import check_maps_hold_classes
from bestie_d2.data.labels.instance_files import attach_instance_labels
from bestie_d2.data.labels.kept_classes import KEPT
from bestie_d2.data.labels.tags import remarks_of
from bestie_d2.data.names import label_name
from bestie_d2.data.paths import ROOT_VARIABLE, datasets_root
from bestie_d2.errors import InputError
from bestie_d2.evaluation.truth import has_truth, read_truth
from bestie_d2.model_keys import num_classes, with_keys
from bestie_d2.storage.processes import mapping
from bestie_d2.structures import PointCues
from bestie_d2.weights.checkpoint import BestieCheckpointer

CONFIGURATION = "configuration"  # kinds of problems and notices
LISTS = "lists of images, tags and classes"
CUES = "cues"
WEAK_MAPS = "weak maps"
LEFT_OUT = "true objects"


@dataclass
class DataReport:
    """What there is, and what is wrong: with a problem a training fails, with a notice not."""

    lines: list[str] = field(default_factory=list)  # on each set
    problems: dict[str, list[str]] = field(default_factory=dict)  # lines by kind
    notices: dict[str, list[str]] = field(default_factory=dict)
    good: dict[str, list[dict]] = field(default_factory=dict)  # records without, by training set

    def add(self, kind: str, problem: object) -> None:
        """Take down a problem: a line, or the error that says it."""
        self.problems.setdefault(kind, []).append(" ".join(str(problem).split()))

    def notice(self, kind: str, *lines: str) -> None:
        if lines:
            self.notices.setdefault(kind, []).extend(lines)

    @contextmanager
    def catching(self, kind: str) -> Iterator[None]:
        """What cannot be read in the block is a problem of this kind, and ends the block alone."""
        try:
            yield
        except (InputError, OSError) as error:
            self.add(kind, error)

    @property
    def count(self) -> int:
        """How many problems there are."""
        return sum(map(len, self.problems.values()))

    def describe(self) -> list[str]:
        """The lines, and a paragraph each for problems and notices, if there are any."""
        lines = list(self.lines)
        fails = "problems, with which a training fails"
        for title, kinds in {fails: self.problems, "worth a look": self.notices}.items():
            lines += ["", f"{title}:"] if kinds else []
            for kind, found in kinds.items():
                lines += [f"  {kind}: {len(found)}", *(f"    {line}" for line in found[:LISTED])]
                lines += [f"    and {len(found) - LISTED} more"] if len(found) > LISTED else []
        return lines


def check_data(cfg: CfgNode, *, jobs: int = 1) -> DataReport:
    """Read all sets, and the weights, that a training would read; ``jobs`` processes share the
    images."""
    report = DataReport()
    with report.catching(CONFIGURATION):
        training_checks.check_config(cfg)
    with report.catching(CONFIGURATION):
        for path in (Path(cfg.OUTPUT_DIR), *Path(cfg.OUTPUT_DIR).parents):
            if path.exists() and not path.is_dir():
                reason = f"cannot be made a folder ({path} is a file)"
                raise InputError(f"OUTPUT_DIR {cfg.OUTPUT_DIR}: {reason}")
    state = "" if os.environ.get(ROOT_VARIABLE) else " (not set)"
    report.lines.append(f"{ROOT_VARIABLE}{state}: {os.path.abspath(datasets_root())}")
    if not report.problems:
        try:  # no mistake of the data, and cured by a key
            training_checks.check_sides_of_images(cfg)
        except InputError as error:
            report.lines.append(f"before you train: {error}")
    weights = cfg.MODEL.WEIGHTS
    if "://" in weights:
        later = "not looked at: fetched when training starts"
        report.lines.append(f"MODEL.WEIGHTS: {weights}, {later}")
    elif weights:
        report.lines.append(f"MODEL.WEIGHTS: {os.path.abspath(weights)}")
        with report.catching("weights"):
            if not os.path.isfile(weights):
                raise InputError(f"MODEL.WEIGHTS {weights}: no such file")
            BestieCheckpointer(nn.Module())._load_file(weights)  # as its load() does first
    if "weights" not in report.problems and (remark := normalization_remark(cfg)):
        report.notice("mean and deviation", remark)
    if not cfg.DATASETS.TRAIN:
        report.add(CONFIGURATION, "DATASETS.TRAIN is empty: name a data set to train on")
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            _check_set(cfg, name, report, jobs, training=key == "TRAIN")
    if not report.problems:
        with report.catching(LISTS):
            training_checks.check_class_names(cfg)
        with report.catching("TEST.LABEL_PROGRESS"):
            if cfg.TEST.LABEL_PROGRESS.DATASET:
                training_checks.read_label_progress(cfg)
    return report


def _check_set(cfg: CfgNode, name: str, report: DataReport, jobs: int, *, training: bool) -> None:
    """All that training, or its evaluation, reads of a set."""
    mapper = training_checks.training_mapper(cfg) if training else EvaluationMapper
    before, needs = report.count, training_checks.needs_of(mapper)
    masks = "masks" in needs
    if not training and name in cfg.DATASETS.TRAIN:
        report.lines += ["", f"test set {name}: the images of the training set"]
    else:
        records = _read_records(cfg, name, report)
        if training and not masks:
            records = [{k: v for k, v in r.items() if k != "annotations"} for r in records]
        if "weak_maps" in needs and records:
            records = _with_weak_labels(cfg, name, records, report)
        title = f"{'training' if training else 'test'} set {name}"
        report.lines += ["", f"{title}: {len(records)} images", *_paths_of(cfg, name, needs)]
        good = _read_images(ImageCheck(cfg, masks=masks), name, records, report, jobs)
        report.good |= {name: good} if training else {}
    if report.count > before:
        return  # the training's own check would say it again
    with report.catching(LISTS):
        if not training:
            training_checks.check_test_sets(with_keys(cfg, {"DATASETS.TEST": (name,)}))
        elif masks:
            alone = {"DATASETS.TRAIN": (name,), "DATASETS.TEST": ()}
            training_checks.check_train_sets(with_keys(cfg, alone))
        else:
            mapper.load_records(cfg, name)
        if masks or (not training and has_truth(name)):
            told = report.notices.get(LEFT_OUT, ())
            report.notice(LEFT_OUT, *(n for n in read_truth(name).notices if n not in told))


def _read_records(cfg: CfgNode, name: str, report: DataReport) -> list[dict]:
    """The records of a registered data set; what is wrong with its lists is a problem."""
    records: list[dict] = []
    with report.catching(LISTS):
        classes = training_checks.classes_of(name)
        records = DatasetCatalog.get(name)
        report.notice(LISTS, *remarks_of(name))
        if not records:
            raise InputError(f"data set {name!r} has no images")
        attach.check_classes(classes, num_classes(cfg))
    return records


def _paths_of(cfg: CfgNode, name: str, needs: frozenset[str]) -> list[str]:
    """A line for each path of a data set; of weak labels, what the configuration puts there."""
    if name not in DatasetCatalog:
        return []
    known, node = MetadataCatalog.get(name).get, cfg.DATASETS
    paths = {"images": known("image_root"), "tags or points": known("tags")}
    paths["truth"] = known("json_file")
    if "weak_maps" in needs:
        paths["weak maps"] = expand_path(node.WEAK_MAPS) or known("weak_maps")
        paths["cues"] = expand_path(node.CUES) or known("cues")
        paths["instance labels"] = expand_path(node.INSTANCE_LABELS)
    return [f"  {what}: {os.path.abspath(path)}" for what, path in paths.items() if path]


def _with_weak_labels(
    cfg: CfgNode, name: str, records: list[dict], report: DataReport
) -> list[dict]:
    """The records with ``cues``, and with ``sem_seg_file_name`` and ``instance_labels`` if known;
    none where the data set has no weak labels."""
    node, metadata = cfg.DATASETS, MetadataCatalog.get(name)
    classes = metadata.thing_classes
    known = {"classes": classes, "kept": metadata.get(KEPT)}
    with report.catching(WEAK_MAPS):
        folder, cue_path = attach.weak_label_paths(name, weak_maps=node.WEAK_MAPS, cues=node.CUES)
        cues: dict[str, PointCues] = {}  # that can be used, by label name
        with report.catching(CUES):
            problem, remark = partial(report.add, CUES), partial(report.notice, CUES)
            cues = read_cues_of_records(
                cue_path, records, on_problem=problem, on_remark=remark, **known
            )
            without = (r["file_name"] for r in records if label_name(r) not in cues)
            report.notice("images that are not in the cues", *without)
        if not os.path.isdir(folder):
            raise InputError(f"weak maps {folder}: no such folder")
        maps = [attach.weak_map_path(folder, record) for record in records]
        in_maps = None
        with report.catching(WEAK_MAPS):
            in_maps = attach.classes_in_maps(name, folder)
        with report.catching(WEAK_MAPS):
            check_maps_hold_classes(folder, maps)
        records = [
            attach.with_weak_map(r, path, in_maps)
            | {"cues": cues.get(label_name(r), PointCues.empty())}
            for r, path in zip(records, maps, strict=True)
        ]
        labels = expand_path(node.INSTANCE_LABELS)
        if labels and not any(UNREADABLE in record for record in records):
            with report.catching("instance labels"):
                return attach_instance_labels(records, labels, classes)
    return records


def _read_images(
    check: ImageCheck, name: str, records: list[dict], report: DataReport, jobs: int
) -> list[dict]:
    """The records of which nothing is wrong; what there is goes into the report."""
    if not records:
        return []
    good, tally = [], Tally(list(MetadataCatalog.get(name).thing_classes), len(records))
    with mapping(jobs) as run:
        results = run(check, map(packed, records))
        bar = tqdm(results, total=len(records), desc=name, unit="image")
        for record, result in zip(records, bar, strict=True):
            tally.add(record, result)
            for kind, line in result.problems:
                report.add(kind, line)
            good += [] if result.problems else [record]
    traits = describe_traits(tally.traits, len(records))
    told = "pictures that are not taken as they are stored"
    report.notice(told, *(f"{name}: {line}" for line in traits))
    report.notice(f"classes that no image of {name} has", *tally.never)
    if tally.instances and not any(tally.instances):
        report.notice("pseudo instances", f"{name}: training would start without any")
    if tally.positions.remark:
        report.notice("cues beside their class", f"{name}: {tally.positions.remark}")
    report.lines += tally.describe(check.threshold)
    return good
