"""Run the rows of a table of trainings one after the other, and keep their figures in a small JSON.

    python tools/run_table.py --config configs/tables/shapes.yaml [--only ROW ...]
        [--redo STAGE ...] [--results FILE] [--jobs N] [--num-gpus N] [--dry-run]
    python tools/run_table.py --config configs/tables/shapes.yaml --write-docs

Each row is a run of a pipeline, with its folder in the table's output; it may take stages from a
row before it, so that a variant trains only what differs. Killed at any time and given again, the
command goes on as tools/run_pipeline.py does; a row that fails is named at the end (exit code 2),
and the others go on. --redo STAGE makes a stage anew in the rows named by --only, keeping the old
folder. --write-docs puts the figures of the JSON alone into docs/results.md, docs/model_zoo.md
and README.md.
"""

import argparse
from pathlib import Path

from bestie_d2.engine.command_line import add_processes, parse_options, processes_of, run_tool
from bestie_d2.errors import InputError
from bestie_d2.pipeline.table import Table, read_table
from bestie_d2.pipeline.table_results import read_results
from bestie_d2.pipeline.table_runner import describe_rows, overview, run_table
from bestie_d2.report import write_report
from bestie_d2.report.results_page import PAGES, write_between_marks

ROOT = Path(__file__).resolve().parents[1]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="the table")
    add("--only", nargs="+", default=[], metavar="ROW", help="leave other rows out")
    add("--redo", nargs="+", default=[], metavar="STAGE", help="make it anew in these rows")
    add("--results", metavar="FILE", help="the JSON (default: docs/results/<name>.json)")
    add_processes(parser)
    add("--dry-run", action="store_true", help="only say what would be done, and why")
    add("--write-docs", action="store_true", help="only put the JSON's figures into the docs")
    return parse_options(parser)


def main() -> None:
    arguments = parse_arguments()
    table = read_table(arguments.config)
    default = ROOT / "docs" / "results" / f"{table.name}.json"
    results = Path(arguments.results) if arguments.results else default
    only, redo, processes = arguments.only, arguments.redo, processes_of(arguments)
    _check_options(arguments, table)
    if arguments.write_docs:
        content = read_results(results)
        if not content:
            raise InputError(f"--results {results}: no such file; it comes with the first row")
        for page, block in PAGES.items():
            write_between_marks(ROOT / page, table.name, block(content))
            print(f"written: {ROOT / page}")
        return
    print(overview(table, results), flush=True)
    if arguments.dry_run:
        describe_rows(table, only, redo, processes)
        return
    run_table(table, results, only=only, redo=redo, processes=processes, after_row=write_report)


def _check_options(arguments: argparse.Namespace, table: Table) -> None:
    if unknown := [name for name in arguments.only if name not in table.rows]:
        known = ", ".join(table.rows)
        raise InputError(f"--only: {unknown[0]!r} is no row of {table.name}, which has {known}")
    if arguments.redo and not arguments.only:
        raise InputError("--redo: say with --only in which rows")
    for stage in arguments.redo:
        for name in arguments.only:
            pipeline = table.pipeline_of(table.rows[name])
            pipeline.check_stage("--redo", stage)
            if stage in pipeline.shared:
                owner = table.rows[name].shares_from
                raise InputError(f"--redo {stage}: row {name} takes it from {owner}; redo it there")


if __name__ == "__main__":
    run_tool(main)
