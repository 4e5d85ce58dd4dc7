"""Rows of the failures by kind, from figures of stages written by hand."""

from __future__ import annotations

import json
from types import SimpleNamespace

from bestie_d2.evaluation.failures import all_counts
from bestie_d2.report.failure_table import ADVICE, BEFORE, HEAD, failure_rows
from bestie_d2.report.sections import failures

CUES = {"objects-right": 3, "objects-missed": 1, "instances-right": 3}
REFINED = {"objects-right": 1, "objects-merged": 2, "instances-merged": 1}
MASKS = {"objects-right": 1, "instances-right": 1, "instances-false alarm": 3}


class StandIn:
    """A run as far as the table asks it."""

    pipeline = SimpleNamespace(train_set="set", test_set="other set")

    def __init__(self, *stages: SimpleNamespace) -> None:
        self.stages = stages

    def finished(self, *kinds: str) -> list[SimpleNamespace]:
        return [stage for stage in self.stages if stage.kind in kinds]


def counted(prefix: str, counts: dict) -> dict:
    return {f"{prefix}/{name}": n for name, n in all_counts(counts).items()}


def stage(kind: str, folder: object = "", curves: dict | None = None, **figures: int):
    curves = {key: [(9, 0.0), (19, n)] for key, n in (curves or {}).items()}
    manifest = {"figures": figures}
    return SimpleNamespace(
        **{"name": kind, "kind": kind, "folder": str(folder), "manifest": manifest},
        curves=lambda: curves,
        settings=lambda: {"TEST.LABEL_PROGRESS.DATASET": "third set"},
    )


def test_a_row_of_objects_and_one_of_what_was_found_for_each_stage(tmp_path):
    (tmp_path / "mrcnn").mkdir()
    line = {**counted("failures", MASKS), "failures/score": 0.254}
    (tmp_path / "mrcnn" / "metrics.json").write_text(json.dumps(line))
    bestie = stage("bestie", curves=counted("refined_labels", REFINED))
    cues = stage("cues", **counted("failures", CUES))
    masks, evaluate = stage("mrcnn"), stage("evaluate", tmp_path)
    rows = failure_rows(StandIn(cues, stage("maps", maps=4), bestie, masks, evaluate))
    shares = {tuple(row[:2]): list(row[2:-1]) for row in rows}
    none = None  # there is no such kind of these
    assert shares == {
        ("cues, set", "4 true objects"): [75, 0, 0, 0, 0, 0, 25, none],
        ("cues, set", "3 cues"): [100, 0, 0, 0, 0, 0, none, 0],
        ("bestie, third set", "3 true objects"): [100 / 3, 0, 200 / 3, 0, 0, 0, 0, none],
        ("bestie, third set", "1 refined labels"): [0, 0, 100, 0, 0, 0, none, 0],
        ("mrcnn, other set, score 0.25 on", "1 true objects"): [100, 0, 0, 0, 0, 0, 0, none],
        ("mrcnn, other set, score 0.25 on", "4 masks"): [25, 0, 0, 0, 0, 0, none, 75],
    }
    merged = ADVICE["refined labels"]["merged"]
    assert [row[-1] for row in rows] == [
        *(ADVICE["cues"]["missed"], None, merged, merged, None, BEFORE)
    ]
    assert {len(row) for row in rows} == {len(HEAD)}


def test_nothing_was_counted():
    old = stage("bestie", curves={"pseudo_labels/objects": 8})
    assert failures(StandIn(old, stage("cues", cues=3))) == [("text", "Not counted yet.")]
