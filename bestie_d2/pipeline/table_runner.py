"""Run the rows of a table one after the other, each in a process of its own.

A row that fails is told at the end and the others go on; a kill loses nothing: given again, the
command skips what is finished and goes on with what was interrupted.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bestie_d2.engine.command_line import EXIT_INTERRUPTED, EXIT_TERMINATED, Terminated, run_tool
from bestie_d2.errors import InputError
from bestie_d2.evaluation.base import table as text_table
from bestie_d2.pipeline.definition import Pipeline
from bestie_d2.pipeline.runner import run_pipeline
from bestie_d2.pipeline.spent_time import PROCESSOR_SECONDS, SECONDS
from bestie_d2.pipeline.state import StageRecord
from bestie_d2.pipeline.table import Row, Table, read_table
from bestie_d2.pipeline.table_results import collect, is_finished, read_results, write_results
from bestie_d2.storage.processes import end_with_parent, only_run_in

MINUTE = 60
STOPPED = {EXIT_INTERRUPTED: KeyboardInterrupt, EXIT_TERMINATED: Terminated}
AfterRow = Callable[[Pipeline], object]


def run_table(
    table: Table,
    results: Path,
    *,
    only: Collection[str] = (),
    redo: Collection[str] = (),
    processes: Mapping[str, Any] = MappingProxyType({}),
    after_row: AfterRow = lambda pipeline: None,
    start: Callable[..., int] | None = None,
) -> None:
    """Run all rows, or those named ``only``; the JSON ``results`` is brought up to date before the
    first and after each.

    Args:
        redo: stages that the rows make anew, where they do not share them.
        processes: how many, by the fields of a pipeline that say it.
        after_row: called with a row's pipeline, finished or failed, in the row's process, so a
            function of a module; its errors are passed over.
        start: calls a function with arguments, in place of :func:`in_a_process`.

    Raises:
        InputError: in the end, if rows have failed.
    """
    start = start or in_a_process
    chosen = [row for row in table.rows.values() if not only or row.name in only]
    failed: dict[str, str] = {}
    with only_run_in(table.output, "output"):
        _update(table, results)
        for number, row in enumerate(chosen, 1):
            print(f"\n== row {number} of {len(chosen)}: {row.name}", flush=True)
            broken = _begun_in_vain(table, row) if row.shares_from in failed else ""
            if broken:  # it would fail again
                failed[row.name] = f"{row.shares_from} did not finish {broken}"
                print(f"left out: {failed[row.name]}", flush=True)
                continue
            code = start(run_row, table.path, row.name, tuple(redo), dict(processes), after_row)
            if code in STOPPED:
                raise STOPPED[code]
            if code:
                failed[row.name] = f"exit code {code}, see above"
            _update(table, results)
    print(f"\n{overview(table, results)}\n\nfigures: {results}", flush=True)
    if failed:
        lines = "; ".join(f"{name} ({why})" for name, why in failed.items())
        raise InputError(f"{len(failed)} of {len(chosen)} rows failed: {lines}")


def _begun_in_vain(table: Table, row: Row) -> str:
    """The stages begun and not finished among those that a row would take, and what these need."""
    pipeline = table.pipeline_of(table.rows[row.shares_from])
    records = {stage: StageRecord(pipeline.folder_of(stage)) for stage in pipeline.stages}
    unfinished = [stage for stage, record in records.items() if record.manifest is None]
    needed = pipeline.reduced_to([stage for stage in row.shared if stage in unfinished]).stages
    begun = [stage for stage in unfinished if records[stage].started is not None]
    return ", ".join(stage for stage in begun if stage in needed)


def _update(table: Table, results: Path) -> None:
    write_results(results, collect(table, read_results(results)))


def overview(table: Table, results: Path) -> str:
    """A line for each row: how far it is, and how long its own stages took."""
    columns: dict[str, list[str]] = {"row": [], "minutes": [], "of processors": [], "state": []}
    for row in collect(table, read_results(results))["rows"]:
        state = "finished" if is_finished(row) else f"has {', '.join(row['stages']) or 'nothing'}"
        times = [
            f"{sum(stage.get(key, 0) for stage in row['stages'].values()) / MINUTE:.1f}"
            for key in (SECONDS, PROCESSOR_SECONDS)
        ]
        for column, value in zip(columns.values(), (row["name"], *times, state), strict=True):
            column.append(value)
    return text_table(columns)


def describe_rows(
    table: Table, only: Collection[str], redo: Collection[str], processes: Mapping[str, Any]
) -> None:
    """Say of each row what would be done and why; nothing is written."""
    for row in table.rows.values():
        if not only or row.name in only:
            pipeline = replace(table.pipeline_of(row), **processes)
            print(f"\n== row {row.name}", flush=True)
            try:
                run_pipeline(pipeline, redo=_of_row(redo, pipeline), dry_run=True)
            except InputError as error:
                print(f"{'':9s} {error}", flush=True)


def run_row(
    path: str, name: str, redo: Sequence[str], processes: Mapping[str, Any], after_row: AfterRow
) -> None:
    """Make a row, and before it what it shares and is not finished."""
    table = read_table(path)
    row = table.rows[name]
    pipeline = replace(table.pipeline_of(row), **processes)
    _make_shared(table, row, row.shared, processes)
    try:
        figures = run_pipeline(pipeline, redo=_of_row(redo, pipeline))
        print(f"\n{pipeline.name}, {pipeline.test_set}:\n{figures}", flush=True)
    finally:
        with suppress(Exception):  # hides no error, and what is finished is finished
            after_row(pipeline)


def _of_row(redo: Collection[str], pipeline: Pipeline) -> list[str]:
    return [name for name in pipeline.stages if name in redo and name not in pipeline.shared]


def _make_shared(
    table: Table, row: Row, wanted: Collection[str], processes: Mapping[str, Any]
) -> None:
    """Make ``wanted`` stages, of those that a row shares, where they are made, and what they need;
    nothing else there."""
    if not wanted:
        return
    owner = table.rows[row.shares_from]
    pipeline = replace(table.pipeline_of(owner), **processes)
    theirs = pipeline.reduced_to([stage for stage in wanted if stage not in pipeline.shared])
    shared = [stage for stage in owner.shared if stage in wanted or stage in theirs.stages]
    _make_shared(table, owner, shared, processes)
    if theirs.stages:
        print(f"what it takes of {owner.name}:", flush=True)
        run_pipeline(theirs)


def in_a_process(function: Callable, *arguments: Any) -> int:
    """Call a function of a module in a process that starts from nothing, and ends with this one, as
    do the processes that it starts; its exit code as a tool, negative for a signal."""
    call = partial(function, *arguments)
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(call,))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt as stopped:
        if process.pid:  # it saves what it has
            told = signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT
            os.kill(process.pid, told)
        process.join()
        raise
    return process.exitcode or 0


def _child(call: Callable[[], None]) -> None:
    os.setpgid(0, 0)  # a group with the loaders' processes, which outlive a killed parent
    end_with_parent(group=True)
    run_tool(call)
