"""Run the stages of a pipeline: skip what is finished, go on with what was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from bestie_d2.engine.command_line import reason_of
from bestie_d2.errors import InputError
from bestie_d2.pipeline.decision import CHANGED, RESUME, UNTOUCHED, Decision, decide, keep, refusal
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.log import logging_to
from bestie_d2.pipeline.record import StageRecord
from bestie_d2.pipeline.stage_job import StageJob
from bestie_d2.pipeline.stages import run_stage
from bestie_d2.storage.processes import only_run_in

INTERRUPTED = "interrupted (Ctrl-C)"


@dataclass(frozen=True)
class StageResult:
    """A row of the final table; ``seconds`` of the last run that worked on the stage."""

    stage: str
    state: str
    seconds: float
    text: str


def run_pipeline(
    pipeline: Pipeline,
    *,
    first: str = "",
    last: str = "",
    redo: Collection[str] = (),
    dry_run: bool = False,
    after_failure: Callable[[], None] = lambda: None,
) -> list[StageResult]:
    """Run all stages, or those from ``first`` to ``last``; say of each what is done and why.

    Args:
        first: earlier stages are taken as they are.
        redo: stages to make anew, with those whose inputs that changes; what is there is kept
            beside, as ``<stage>.1``.
        dry_run: only say it; nothing is written.
        after_failure: called when a stage fails or is interrupted, before that is raised.

    Returns:
        A result for each stage up to ``last``, none in a dry run.

    Raises:
        InputError: from the configurations, all loaded before anything is run; a finished stage, or
            an interrupted one that holds results, is out of date, and ``redo`` does not name it;
            another run is working in the output; or from a stage.
    """
    names = list(pipeline.stages)
    start = names.index(first) if first else 0
    end = names.index(last) + 1 if last else len(names)
    if start >= end:
        raise InputError(f"--from {first} comes after --until {last}")
    left_out = [name for name in redo if name not in names[start:end]]
    if left_out:
        raise InputError(f"--redo {left_out[0]}: --from and --until leave that stage out")
    jobs = [StageJob.load(pipeline, name) for name in names[:end]]
    plan = Plan(jobs, names[:start], first, redo)
    if dry_run:
        plan.tell()
        return []

    def failed() -> None:
        if redo:
            print("to go on from here, give the same command without --redo", flush=True)
        after_failure()

    with only_run_in(pipeline.output, "output"):
        plan.check()
        return [_result(plan, job, failed) for job in jobs]


@dataclass(frozen=True)
class Plan:
    """The stages of a run.

    Attributes:
        jobs: in the order in which they run.
        kept: names of those before ``first``, which are taken as they are.
        first: as ``--from`` names it.
        redo: stages that are asked to be made anew.
    """

    jobs: Sequence[StageJob]
    kept: Collection[str]
    first: str
    redo: Collection[str]

    def decision(self, job: StageJob, pending: Collection[str] = ()) -> Decision:
        """What is done with a stage when ``pending`` others will have been made."""
        if job.name in self.kept:
            return keep(job, self.first)
        return decide(job, pending=pending, redo=self.redo)

    def decisions(self) -> dict[str, Decision]:
        """What is known of all stages before any is run, by name."""
        found: dict[str, Decision] = {}
        for job in self.jobs:
            pending = [name for name, decision in found.items() if decision.state not in UNTOUCHED]
            found[job.name] = self.decision(job, pending)
        return found

    def tell(self) -> None:
        """Print it."""
        for name, decision in self.decisions().items():
            tell(name, decision)

    def check(self) -> None:
        """Refuse to run anything while a stage is out of date.

        Raises:
            InputError: names the stages, and says what to do.
        """
        decisions = self.decisions()
        changed = {name: d for name, d in decisions.items() if d.state == CHANGED}
        if changed:
            for name, decision in decisions.items():
                tell(name, decision)
            raise refusal(changed, {job.name: job for job in self.jobs})


def tell(name: str, decision: Decision) -> None:
    """Print what is done with a stage, and what changed, line by line."""
    print(f"{name:9s} {decision.state:7s} {decision.reason}", flush=True)
    for line in decision.details:
        print(f"{'':17s} {line}", flush=True)


def table(results: Sequence[StageResult]) -> str:
    """A row for each stage."""
    rows = [[row.stage, row.state, f"{row.seconds:.0f} s", row.text] for row in results]
    return tabulate(rows, ["stage", "", "time", "figures"], colalign=("left", "left", "right"))


def _result(plan: Plan, job: StageJob, after_failure: Callable[[], None]) -> StageResult:
    """Do what is to be done with a stage whose inputs are made."""
    decision = plan.decision(job)
    tell(job.name, decision)
    if decision.state == CHANGED:
        raise refusal({job.name: decision}, {job.name: job})
    if decision.state not in UNTOUCHED:
        _run(job, decision, after_failure)
    manifest = StageRecord(job.folder).manifest
    return StageResult(job.name, decision.state, manifest["seconds"], manifest["text"])


def _run(job: StageJob, decision: Decision, after_failure: Callable[[], None]) -> None:
    record = StageRecord(job.folder)
    resumed = decision.state == RESUME
    if not resumed:
        with only_run_in(job.folder, "output"):  # what another run works on is not moved
            record.set_aside()
    with only_run_in(job.folder, "output"):
        record.begin(decision.sources, resume=resumed)
        start = time.monotonic()
        try:
            with logging_to(job.folder):
                figures = run_stage(job)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            record.fail(INTERRUPTED if interrupted else reason_of(error))
            after_failure()
            raise
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
