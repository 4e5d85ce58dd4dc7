"""The failures by kind that a run's stages have counted, and what to mend for the largest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bestie_d2.engine.label_progress import PSEUDO, REFINED
from bestie_d2.engine.trainer import METRICS_FILE
from bestie_d2.evaluation.base import PERCENT
from bestie_d2.evaluation.failures import (
    ALARM,
    FRAGMENT,
    INSTANCES,
    KINDS,
    LEAKED,
    MERGED,
    MISSED,
    OBJECTS,
    REPEATED,
    RIGHT,
    WRONG,
)
from bestie_d2.pipeline.stages import WEAK_COMPONENTS
from bestie_d2.report.run_files import Run, read_lines

HEAD = ("stage", "of", *(f"{kind}, %" for kind in KINDS), "to mend first")
BEFORE = "what it was trained on, by the rows before; then longer training"
MAPS = {
    MERGED: "neighbours that touch: sharper maps (MODEL.WSSS.TEST.PAMR); refinement parts the rest",
    LEAKED: "maps that reach too far: a lower MODEL.WSSS.TEST.BACKGROUND_POWER, longer training",
    FRAGMENT: "maps of parts of objects: a higher MODEL.WSSS.PSEUDO or TEST.BACKGROUND_POWER",
    WRONG: "classes taken for each other: longer training of the WSSS network and its classifier",
    MISSED: "objects that no map shows: longer training of the WSSS network",
    ALARM: "maps of ground: a lower MODEL.WSSS.TEST.BACKGROUND_POWER, a larger BESTIE.MIN_AREA",
}
BESTIE = {
    REPEATED: "centers too close to each other: a larger MODEL.BESTIE.TEST.KERNEL",
    MERGED: "neighbours that share a center: a smaller MODEL.BESTIE.TEST.KERNEL, longer training",
    LEAKED: "masks that reach too far, as the weak maps taught: see their row",
    FRAGMENT: "objects that fall apart: a larger MODEL.BESTIE.TEST.KERNEL; or as the maps taught",
    WRONG: "classes taken for each other, as the weak maps taught: see their row",
    MISSED: "objects that no label taught: cues and maps (see their rows), then longer training",
    ALARM: "unsure instances: a higher score_threshold of the stage export; else the weak maps",
}
ADVICE: dict[str, Mapping[str, str]] = {  # by what is found
    "cues": {
        REPEATED: "several peaks of an object: a larger MODEL.PAM.CUES.KERNEL or SMOOTHING",
        WRONG: "classes taken for each other: longer training of the classifier",
        MISSED: "objects without a cue: a lower DATASETS.CUE_THRESHOLD, longer training",
        ALARM: "cues beside objects: a higher DATASETS.CUE_THRESHOLD, longer training",
    },
    "components": MAPS,
    "pseudo labels": {
        **MAPS,
        MERGED: "neighbours that touch and have one cue: missed cues first, then the maps",
        MISSED: "components without exactly one cue: cues first, then the maps",
    },
    "refined labels": BESTIE,
    "exported labels": BESTIE,
    "instances": BESTIE,
}


class Counted(NamedTuple):
    """What was counted of a stage, the name of what it finds, and objects and instances by kind."""

    title: str
    found: str
    counts: Mapping[str, float]

    def rows(self) -> Iterator[list[str | float | None]]:
        """One for the objects, one for what was found: shares of each kind, in percent."""
        for what, name in ((OBJECTS, "true objects"), (INSTANCES, self.found)):
            numbers = {kind: self.counts.get(f"{what}-{kind}") for kind in KINDS}
            total = sum(filter(None, numbers.values()))
            shares = [
                PERCENT * n / total if n is not None and total else None for n in numbers.values()
            ]
            failed = {kind: n for kind, n in numbers.items() if n and kind != RIGHT}
            worst = max(failed, key=failed.__getitem__) if failed else ""
            mend = ADVICE.get(self.found, {}).get(worst, BEFORE) if worst else None
            yield [self.title, f"{total:,.0f} {name}", *shares, mend]


def counted_stages(run: Run) -> Iterator[Counted]:
    """In the order of the chain, each with the set whose truth it was compared with."""
    train_set, test_set = run.pipeline.train_set, run.pipeline.test_set
    found = {"cues": "cues", "maps": "components", "export": "exported labels"}
    for stage in run.finished(*found, "bestie"):
        if stage.kind == "bestie":
            measured_on = stage.settings().get("TEST.LABEL_PROGRESS.DATASET")
            last = {key: curve[-1][1] for key, curve in stage.curves().items()}
            for kind in (PSEUDO, REFINED):
                name = kind.replace("_", " ")
                yield Counted(f"{stage.name}, {measured_on}", name, _under(kind, last))
        else:
            counts = _under("failures", (stage.manifest or {})["figures"])
            yield Counted(f"{stage.name}, {train_set}", found[stage.kind], counts)
    for evaluated in run.finished("evaluate")[-1:]:
        finders = {stage.name: "instances" for stage in run.finished("bestie")}
        finders |= {stage.name: "masks" for stage in run.finished("mrcnn", "mrcnn_truth")}
        for name, what in {WEAK_COMPONENTS: "components", **finders}.items():
            for measured in read_lines(evaluated.folder, name, METRICS_FILE)[-1:]:
                counts, title = _under("failures", measured), name.replace("_components", " maps")
                least = "" if what == "components" else f", score {counts.get('score', 0):.2f} on"
                yield Counted(f"{title}, {test_set}{least}", what, counts)


def failure_rows(run: Run) -> list[list[str | float | None]]:
    """Rows under ``HEAD``; none where nothing was counted."""
    counted = [stage for stage in counted_stages(run) if f"{OBJECTS}-{RIGHT}" in stage.counts]
    return [row for stage in counted for row in stage.rows()]


def _under(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    """The values whose names begin with a prefix, without it."""
    start = f"{prefix}/"
    return {key.removeprefix(start): n for key, n in values.items() if key.startswith(start)}
