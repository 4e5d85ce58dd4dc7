"""Run the stages of a pipeline: skip what is finished, go on with what was interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from bestie_d2.engine.pipeline.definition import Pipeline
from bestie_d2.engine.pipeline.log import logging_to
from bestie_d2.engine.pipeline.record import Sources, StageRecord, hash_of_product
from bestie_d2.engine.pipeline.stage_job import StageJob
from bestie_d2.engine.pipeline.stages import run_stage
from bestie_d2.errors import InputError

SKIP, RUN, RESUME, REDO = "skip", "run", "resume", "redo"
KEEP = "keep"  # before --from: taken as it is
CHECK = "check"  # of a dry run: depends on what an earlier stage will have made
UNTOUCHED = (SKIP, KEEP)
DATA = "data"  # among a stage's inputs: what no other stage makes


@dataclass(frozen=True)
class Decision:
    """What happens to a stage, why, and what its result will depend on.

    Attributes:
        sources: None where it is left as it is, or inputs of it are not made yet.
    """

    state: str
    reason: str
    sources: Sources | None = None


@dataclass(frozen=True)
class StageResult:
    """A row of the final table; ``seconds`` of the last run that worked on the stage."""

    stage: str
    state: str
    seconds: float
    text: str


def run_pipeline(
    pipeline: Pipeline, *, first: str = "", last: str = "", dry_run: bool = False
) -> list[StageResult]:
    """Run all stages, or those from ``first`` to ``last``; say of each what is done and why.

    Args:
        first: earlier stages are taken as they are.
        dry_run: only say it; nothing is written.

    Returns:
        A result for each stage up to ``last``, none in a dry run.

    Raises:
        InputError: from the configurations, all loaded before anything is run, or from a stage.
    """
    names = list(pipeline.stages)
    start = names.index(first) if first else 0
    end = names.index(last) + 1 if last else len(names)
    if start >= end:
        raise InputError(f"--from {first} comes after --until {last}")
    jobs = [StageJob.load(pipeline, name) for name in names[:end]]
    to_be_made: set[str] = set()
    results = []
    for number, job in enumerate(jobs):
        decision = _keep(job, first) if number < start else _decide(job, to_be_made)
        print(f"{job.name:9s} {decision.state:7s} {decision.reason}", flush=True)
        if dry_run:
            to_be_made |= set() if decision.state in UNTOUCHED else {job.name}
            continue
        if decision.state not in UNTOUCHED:
            _run(job, decision)
        manifest = StageRecord(job.folder).manifest
        results.append(StageResult(job.name, decision.state, manifest["seconds"], manifest["text"]))
    return results


def table(results: Sequence[StageResult]) -> str:
    """A row for each stage."""
    rows = [[row.stage, row.state, f"{row.seconds:.0f} s", row.text] for row in results]
    return tabulate(rows, ["stage", "", "time", "figures"], colalign=("left", "left", "right"))


def _keep(job: StageJob, first: str) -> Decision:
    if StageRecord(job.folder).manifest is None or not os.path.exists(job.product):
        raise InputError(f"--from {first}: the stage {job.name!r} before it is not finished")
    return Decision(KEEP, f"comes before {first}")


def _decide(job: StageJob, to_be_made: Collection[str]) -> Decision:
    """What to do with a stage whose inputs are made, or will be (``to_be_made``)."""
    record = StageRecord(job.folder)
    manifest, started = record.manifest, record.started
    inputs = job.pipeline.inputs_of(job.name)
    missing = [name for name in inputs if name in to_be_made]
    if missing:
        return Decision(CHECK if manifest else RUN, f"after {' and '.join(missing)}")
    hashes = {name: hash_of_product(job.pipeline.product_of(name)) for name in inputs}
    sources = Sources(job.config_hash(), {DATA: job.data_hash(), **hashes})
    if manifest is not None:
        change = sources.difference(manifest)
        if not change and os.path.exists(job.product):
            return Decision(SKIP, "finished, and nothing changed")
        return Decision(REDO, change or f"{job.product} is gone", sources)
    if started is None:
        return Decision(RUN, "not there yet", sources)
    change = sources.difference(started)
    if change:
        return Decision(REDO, f"{change} since it was interrupted", sources)
    return Decision(RESUME, "was interrupted", sources)


def _run(job: StageJob, decision: Decision) -> None:
    record = StageRecord(job.folder)
    resumed = decision.state == RESUME
    record.begin(decision.sources, resume=resumed)
    start = time.monotonic()
    with logging_to(job.folder):
        figures = run_stage(job)
    seconds = round(time.monotonic() - start, 1)
    print(f"{'':9s} {seconds:.0f} s: {figures.text}", flush=True)
    record.finish(
        decision.sources,
        seconds=seconds,
        resumed=resumed,
        seeds={name: cfg.SEED for name, cfg in job.configs.items()},
        figures=figures.values,
        text=figures.text,
    )
