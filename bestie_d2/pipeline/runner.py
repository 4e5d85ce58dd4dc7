"""Run the stages of a pipeline: skip what is finished, go on with what was interrupted.

Nothing finished is made anew unless it is asked for.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from bestie_d2.engine.command_line import Terminated, reason_of
from bestie_d2.errors import InputError
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.dependencies import Hashes
from bestie_d2.pipeline.spent_time import PROCESSOR_SECONDS, SECONDS, spent_time
from bestie_d2.pipeline.stage_job import StageJob
from bestie_d2.pipeline.stage_log import logging_to
from bestie_d2.pipeline.stages import run_stage
from bestie_d2.pipeline.state import Sources, StageRecord
from bestie_d2.storage.processes import only_run_in

CHANGED, RESUME = "changed", "resume"
SHOWN = 8  # lines of what changed, before they are only counted


@dataclass(frozen=True)
class Decision:
    """What happens to a stage, and why: "skip" and "keep" (comes before --from) leave it as it is;
    "run", "resume", "redo"; "check" (what it reads will be new); "changed" (--redo is needed)."""

    state: str
    reason: str
    sources: Sources | None = None  # what it is made from, where it is not left as it is
    details: Sequence[str] = ()  # a line for each thing that changed


def run_pipeline(
    pipeline: Pipeline,
    *,
    first: str = "",
    last: str = "",
    redo: Collection[str] = (),
    dry_run: bool = False,
    after_failure: Callable[[], None] = lambda: None,
) -> str:
    """Run all stages, or those from ``first`` to ``last``; say of each what is done and why.

    Args:
        redo: stages to make anew, with those whose inputs that changes; what is there is kept
            beside, as ``<stage>.1``.
        dry_run: only say it; nothing is written.
        after_failure: called when a stage fails or is interrupted, before that is raised.

    Returns:
        A table: what was done with each stage, its time over all runs that worked on it, on the
        clock and of the processors, and its figures; their sums. "" in a dry run.

    Raises:
        InputError: a configuration is wrong, or what holds results is out of date and not in
            ``redo``, both before anything is run; another run is working in the output; a stage's.
    """
    names = list(pipeline.stages)
    start = names.index(first) if first else 0
    end = names.index(last) + 1 if last else len(names)
    if start >= end:
        raise InputError(f"--from {first} comes after --until {last}")
    if left_out := [name for name in redo if name not in names[start:end]]:
        raise InputError(f"--redo {left_out[0]}: --from and --until leave that stage out")
    jobs = [StageJob(pipeline, name) for name in names[:end]]
    hashes = Hashes(pipeline.train_set, pipeline.test_set)
    with contextlib.nullcontext() if dry_run else only_run_in(pipeline.output, "output"):
        plan: dict[str, Decision] = {}
        for job in jobs:
            if why := _why_kept(job, "" if job.name in names[start:] else first):
                if not job.record.manifest or not os.path.exists(job.product):
                    raise InputError(f"stage {job.name}: {why}, but is not finished")
                plan[job.name] = Decision("keep", why)
            else:
                pending = [name for name, decision in plan.items() if decision.sources]
                plan[job.name] = _decide(job, hashes, redo, pending)
        changed = {name: decision for name, decision in plan.items() if decision.state == CHANGED}
        for name, decision in plan.items() if dry_run or changed else ():
            tell(name, decision)
        if dry_run:
            return ""
        if changed:
            raise _refusal(changed, pipeline)
        rows = []
        for number, job in enumerate(jobs, 1):
            decision = plan[job.name]
            if decision.sources:  # what it reads is made now
                decision = _decide(job, hashes, redo)
            tell(job.name, decision, f" (stage {number} of {len(jobs)})")
            if decision.state == CHANGED:
                raise _refusal({job.name: decision}, pipeline)
            if decision.sources:
                _run(job, decision.sources, decision.state == RESUME, after_failure)
                hashes.forget(job.product)
            made = job.record.manifest or {}
            times = [made[SECONDS], made.get(PROCESSOR_SECONDS, math.nan)]
            rows.append([job.name, decision.state, *times, made["text"]])
    return _table(rows)


def _why_kept(job: StageJob, first: str) -> str:
    """Why a stage is taken as it is, before the stage ``first`` or from elsewhere; "" if not."""
    if output := job.pipeline.shared.get(job.name):
        return f"is taken from {output}"
    return f"comes before --from {first}" if first else ""


def _table(rows: Sequence[list]) -> str:
    """A row for each stage: name, state, seconds, seconds of the processors (NaN where an older
    version did not count them), figures; and their sums."""
    sums = [sum(row[column] for row in rows) for column in (2, 3)]
    lines = [
        [name, state, *("-" if math.isnan(t) else f"{t:.0f} s" for t in times), text]
        for name, state, *times, text in [*rows, ["all", "", *sums, ""]]
    ]
    head = ["stage", "", "time", "of processors", "figures"]
    return tabulate(lines, head, colalign=("left", "left", "right", "right", "left"))


def _decide(
    job: StageJob, hashes: Hashes, redo: Collection[str], pending: Collection[str] = ()
) -> Decision:
    """What to do with a stage when ``pending`` others will have been made."""
    found = job.record.found
    missing = [name for name in job.inputs if name in pending]
    sources = job.sources(hashes, missing)
    after = f"after {' and '.join(missing)}" if missing else ""
    if found is None:
        return Decision("run", after or "not there yet", sources)
    changes = sources.changes(found)
    if job.name in redo:
        if found.instead_of and not found.finished and not changes:
            return Decision(RESUME, "its --redo was interrupted", sources)
        return Decision("redo", "as --redo asks for", sources)
    if changes:
        state, why = CHANGED, "finished, but is out of date"
        if not found.finished and not job.record.has_results:
            state, why = "run", "was begun with other settings, and has made nothing"
        elif all(_was_redone(job, stage) for stage in changes.values()):
            state, why = "redo", f"as --redo made {' and '.join(changes.values())} anew"
        elif not found.finished:
            why = "was interrupted, but is out of date"
        return Decision(state, why, sources, list(changes))
    if found.finished and not os.path.exists(job.product):
        return Decision(CHANGED, f"finished, but {job.product} is gone", sources)
    if after:
        return Decision("check", after, sources)
    remark = f" ({found.not_compared})" if found.not_compared else ""
    if found.finished:
        return Decision("skip", f"finished, and nothing changed{remark}")
    return Decision(RESUME, f"was interrupted{remark}", sources)


def _was_redone(job: StageJob, stage: str) -> bool:
    """Whether a stage that is read took the place of one that was moved aside: what follows is then
    made anew too, also when the command was stopped in between."""
    found = stage in job.inputs and StageRecord(job.pipeline.folder_of(stage)).found
    return bool(found and found.instead_of)


def _refusal(changed: Mapping[str, Decision], pipeline: Pipeline) -> InputError:
    """The line that stops a run where stages are out of date, and says what to do."""
    what = []
    for name, decision in changed.items():
        more = ", ..." if len(decision.details) > 2 else ""
        what.append(f"stage {name}: {', '.join(decision.details[:2]) or decision.reason}{more}")
    kept = " and ".join(str(StageRecord(pipeline.folder_of(n)).next_kept()) for n in changed)
    them = "it" if len(changed) == 1 else "them"
    return InputError(
        f"{'; '.join(what)}. To make {them} and what depends on it anew, add --redo "
        f"{' '.join(changed)}: what is there is kept as {kept}. Or put back what was changed: "
        f"nothing of {them} was touched"
    )


def tell(name: str, decision: Decision, which: str = "") -> None:
    """Print what is done with a stage, and what changed, line by line."""
    print(f"{name:9s} {decision.state:7s} {decision.reason}{which}", flush=True)
    more = len(decision.details) - SHOWN
    for line in [*decision.details[:SHOWN], *([f"and {more} more"] if more > 0 else [])]:
        print(f"{'':17s} {line}", flush=True)


def _run(job: StageJob, sources: Sources, resumed: bool, after_failure: Callable[[], None]) -> None:
    """Make a stage, or go on with it, and write down how it ended."""
    record = job.record
    if not resumed:
        with only_run_in(job.folder, "output"):  # what another run works on is not moved
            record.set_aside()
    with only_run_in(job.folder, "output"):
        record.begin(sources, resume=resumed)
        try:
            with spent_time(job.folder) as spent, logging_to(job.folder):
                figures, text = run_stage(job)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            by = "SIGTERM" if isinstance(error, Terminated) else "Ctrl-C"
            record.fail(f"interrupted ({by})" if interrupted else reason_of(error))
            after_failure()
            raise
        times = spent.total()
        print(f"{'':9s} {times[SECONDS]:.0f} s: {text}", flush=True)
        seeds = {name: cfg.SEED for name, cfg in job.configs.items()}
        result = {**times, "resumed": resumed, "seeds": seeds, "figures": figures}
        record.finish(sources, **result, text=text)
