"""One data set of a configuration: read as a training reads it, counted, and told of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from bestie_d2.checks.checked_records import LISTS, paths_of, read_records, with_weak_labels
from bestie_d2.checks.configuration import check_test_sets, check_train_sets
from bestie_d2.checks.findings import Findings
from bestie_d2.checks.image_check import ImageCheck, ImageResult, packed
from bestie_d2.checks.tally import Tally
from bestie_d2.data import MAPPER_REGISTRY, ImageReader
from bestie_d2.data.images import describe_traits
from bestie_d2.evaluation.truth import has_truth, read_truth
from bestie_d2.model_keys import num_classes
from bestie_d2.storage.processes import mapping

WEAK_LABELS = "WeakInstanceMapper"  # the INPUT.MAPPER that takes more than images and tags
NO_INSTANCES = "pseudo instances"
LEFT_OUT = "true objects"
TRAITS = "pictures that are not taken as they are stored"
POINTS = "cues beside their class"


@dataclass
class SetReport:
    """What is told of a data set, and its records that nothing is wrong with."""

    lines: list[str] = field(default_factory=list)
    good: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class SetCheck:
    """How the data sets of a configuration are looked through.

    Attributes:
        findings: takes what is wrong.
        jobs: processes that share the images.
    """

    cfg: CfgNode
    findings: Findings
    jobs: int = 1

    def training_set(self, name: str) -> SetReport:
        """All that training reads of a set."""
        before = self.findings.count
        records = read_records(self.cfg, name, self.findings)
        attached = self._as_trained(name, records)
        weak_labels = self.cfg.INPUT.MAPPER == WEAK_LABELS
        paths = paths_of(self.cfg, name, weak_labels=weak_labels)
        masks = not self.cfg.INPUT.MAPPER
        report = self._read(f"training set {name}", name, attached, paths, masks=masks)
        if self.findings.count == before:  # else the training's own check would say it again
            with self.findings.catching(LISTS):
                self._load_as_a_training(name)
                if masks:
                    self._tell_left_out(name)
        return report

    def test_set(self, name: str, *, read_images: bool) -> SetReport:
        """All that the evaluation of a training reads of a set.

        Args:
            read_images: False where they have been read as those of a training set.
        """
        before = self.findings.count
        report = SetReport([f"test set {name}: the images of the training set"])
        if read_images:
            records = read_records(self.cfg, name, self.findings)
            paths = paths_of(self.cfg, name, weak_labels=False)
            report = self._read(f"test set {name}", name, records, paths)
        if self.findings.count == before:
            with self.findings.catching(LISTS):
                check_test_sets(_with_sets(self.cfg, "TEST", name))
                if has_truth(name):
                    self._tell_left_out(name)
        return report

    def _tell_left_out(self, name: str) -> None:
        """What an evaluation, or a training on masks, leaves out of the true objects."""
        for line in read_truth(name).notices:
            if line not in self.findings.notices.get(LEFT_OUT, []):
                self.findings.notice(LEFT_OUT, line)

    def _as_trained(self, name: str, records: list[dict]) -> list[dict]:
        mapper = self.cfg.INPUT.MAPPER
        if not mapper:
            return records
        records = [{k: v for k, v in r.items() if k != "annotations"} for r in records]
        if mapper == WEAK_LABELS and records:
            return with_weak_labels(self.cfg, name, records, self.findings)
        return records

    def _load_as_a_training(self, name: str) -> None:
        if self.cfg.INPUT.MAPPER:
            MAPPER_REGISTRY.get(self.cfg.INPUT.MAPPER).load_records(self.cfg, name)
        else:
            check_train_sets(_with_sets(_with_sets(self.cfg, "TRAIN", name), "TEST"))

    def _read(
        self, title: str, name: str, records: list[dict], paths: list[str], *, masks: bool = False
    ) -> SetReport:
        report = SetReport([f"{title}: {len(records)} images", *paths])
        if not records:
            return report
        threshold = self.cfg.DATASETS.CUE_THRESHOLD
        tally = Tally(list(MetadataCatalog.get(name).thing_classes), len(records))
        check = image_check_of(self.cfg, masks=masks)
        traits: Counter[str] = Counter()
        for record, result in self._results(title, records, check):
            for kind, line in result.problems:
                self.findings.add(kind, line)
            tally.add(record, result)
            traits.update(result.traits)
            if not result.problems:
                report.good.append(record)
        for line in describe_traits(traits, len(records), check.reader.intensity):
            self.findings.notice(TRAITS, f"{name}: {line}")
        for class_name in tally.never:
            self.findings.notice(f"classes that no image of {name} has", class_name)
        if tally.pseudo_instances == 0:
            self.findings.notice(NO_INSTANCES, f"{name}: training would start without any")
        if tally.places.remark:
            self.findings.notice(POINTS, f"{name}: {tally.places.remark}")
        report.lines += [tally.table(), *tally.describe(threshold)]
        return report

    def _results(
        self, title: str, records: list[dict], check: ImageCheck
    ) -> Iterator[tuple[dict, ImageResult]]:
        """Each record with what was found, while the bar moves."""
        with mapping(self.jobs) as run:
            results = run(check, map(packed, records))
            bar = tqdm(results, total=len(records), desc=title, unit="image")
            yield from zip(records, bar, strict=True)


def image_check_of(cfg: CfgNode, *, masks: bool = False) -> ImageCheck:
    """What a configuration reads of an image."""
    return ImageCheck(
        masks=masks,
        reader=ImageReader.from_config(cfg),
        num_classes=num_classes(cfg),
        threshold=cfg.DATASETS.CUE_THRESHOLD,
        min_area=cfg.MODEL.BESTIE.MIN_AREA,
        long_side=cfg.INPUT.BESTIE.LONG_SIDE,
    )


def _with_sets(cfg: CfgNode, key: str, *names: str) -> CfgNode:
    """The configuration with these sets alone as ``DATASETS.TRAIN`` or ``DATASETS.TEST``."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS[key] = names
    cfg.freeze()
    return cfg
