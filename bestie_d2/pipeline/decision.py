"""What is done with a stage, and why: nothing finished is made anew unless it is asked for."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bestie_d2.errors import InputError
from bestie_d2.pipeline.record import StageRecord
from bestie_d2.pipeline.sources import Change, Found, Sources, described
from bestie_d2.pipeline.stage_job import StageJob
from bestie_d2.storage.files import hash_of_folder

SKIP, RUN, RESUME, REDO = "skip", "run", "resume", "redo"
KEEP = "keep"  # before --from: taken as it is
CHECK = "check"  # depends on what an earlier stage will have made
CHANGED = "changed"  # out of date: --redo makes it anew
UNTOUCHED = (SKIP, KEEP)


@dataclass(frozen=True)
class Decision:
    """What happens to a stage, why, and what its result will depend on.

    Attributes:
        sources: None where it is left as it is.
        details: a line for each thing that changed.
    """

    state: str
    reason: str
    sources: Sources | None = None
    details: tuple[str, ...] = ()


def keep(job: StageJob, first: str) -> Decision:
    """Take a stage before ``--from`` as it is.

    Raises:
        InputError: it is not finished.
    """
    if StageRecord(job.folder).manifest is None or not os.path.exists(job.product):
        raise InputError(f"--from {first}: the stage {job.name!r} before it is not finished")
    return Decision(KEEP, f"comes before {first}")


def decide(job: StageJob, *, pending: Collection[str] = (), redo: Collection[str] = ()) -> Decision:
    """What to do with a stage.

    Args:
        pending: stages that will be made before it.
        redo: stages that are asked to be made anew.
    """
    record = StageRecord(job.folder)
    pipeline, found = job.pipeline, record.found
    inputs = pipeline.inputs_of(job.name)
    missing = [name for name in inputs if name in pending]
    hashes = {n: hash_of_folder(pipeline.product_of(n)) for n in inputs if n not in missing}
    sources = job.sources(hashes)
    after = f"after {' and '.join(missing)}"
    if found is None:
        return Decision(RUN, after if missing else "not there yet", sources)
    changes = sources.changes(found, pending=missing)
    if job.name in redo:
        if found.instead_of and not found.finished and not changes:
            return Decision(RESUME, "its --redo was interrupted", sources)
        return Decision(REDO, "as --redo asks for", sources)
    if changes:
        return _of_changed(job, record, found, sources, changes)
    if found.finished and not os.path.exists(job.product):
        return Decision(CHANGED, f"finished, but {job.product} is gone", sources)
    if missing:
        return Decision(CHECK, after, sources)
    remark = f" ({found.not_compared})" if found.not_compared else ""
    if found.finished:
        return Decision(SKIP, f"finished, and nothing changed{remark}")
    return Decision(RESUME, f"was interrupted{remark}", sources)


def _of_changed(
    job: StageJob, record: StageRecord, found: Found, sources: Sources, changes: list[Change]
) -> Decision:
    details = tuple(described(changes))
    if not found.finished and not record.has_results:
        return Decision(
            RUN, "was begun with other settings, and has made nothing", sources, details
        )
    if all(change.stage and _was_redone(job, change.stage) for change in changes):
        names = " and ".join(change.stage for change in changes)
        return Decision(REDO, f"as --redo made {names} anew", sources, details)
    how = "finished" if found.finished else "was interrupted"
    return Decision(CHANGED, f"{how}, but is out of date", sources, details)


def _was_redone(job: StageJob, stage: str) -> bool:
    """Whether a stage that is read took the place of one that was moved aside; so what follows a
    stage that is made anew is made anew too, also when the command was stopped in between."""
    if stage not in job.pipeline.inputs_of(job.name):
        return False
    found = StageRecord(job.pipeline.folder_of(stage)).found
    return found is not None and bool(found.instead_of)


def refusal(changed: Mapping[str, Decision], jobs: Mapping[str, StageJob]) -> InputError:
    """The line that stops a run where stages are out of date, and says what to do."""
    names = list(changed)
    what = "; ".join(
        f"stage {name}: {', '.join(decision.details[:2]) or decision.reason}"
        f"{', ...' if len(decision.details) > 2 else ''}"
        for name, decision in changed.items()
    )
    kept = " and ".join(str(StageRecord(jobs[name].folder).next_kept()) for name in names)
    return InputError(
        f"{what}. To make {'it' if len(names) == 1 else 'them'} and what depends on it anew, add "
        f"--redo {' '.join(names)}: what is there is kept as {kept}. Or put back what "
        f"was changed: nothing of {'it' if len(names) == 1 else 'them'} was touched"
    )
