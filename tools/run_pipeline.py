"""Run a whole chain of stages, from weak labels to Mask R-CNN and the figures of both.

    python tools/run_pipeline.py --config configs/pipelines/shapes.yaml [--from STAGE]
        [--until STAGE] [--redo STAGE ...] [--rounds N] [--jobs N] [--num-gpus N] [--dry-run]
        [STAGE.KEY VALUE ...] [output DIR] [train_set NAME] [test_set NAME]
    python tools/run_pipeline.py --config configs/pipelines/shapes.yaml --report

Stages: pam, cues, wsss, maps, bestie, export, mrcnn, mrcnn_truth (on true masks, to compare with),
evaluate; the file names those that are run. Each of N rounds puts bestie_roundI and export_roundI
behind export: BESTIE once more, on the instances that it exported last.
Each has its folder in the pipeline's output. Run again, a stage is skipped if it is finished and
nothing that its product depends on has changed, and gone on with if it was interrupted. If
something has changed, nothing is run: it is said what, and --redo STAGE makes that stage anew, and
those that read what it makes; what was there is kept beside, as STAGE.1. Nothing is ever deleted.
A key of a stage's configuration is overridden as bestie.SOLVER.MAX_ITER 2000, and the file's own
output, train_set and test_set by those words. In the end, and when
a stage fails, report.html in the output shows what there is; --report writes it at any time.
"""

import argparse
import itertools
import sys
from dataclasses import replace
from functools import partial

from bestie_d2.engine.command_line import add_processes, parse_options, processes_of, run_tool
from bestie_d2.pipeline.definition import PLACES, Pipeline, read_pipeline
from bestie_d2.pipeline.runner import run_pipeline
from bestie_d2.report import report_path, write_report


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="the pipeline")
    add("--from", dest="first", default="", metavar="STAGE", help="take earlier ones as they are")
    add("--until", dest="last", default="", metavar="STAGE", help="leave later ones out")
    add("--redo", nargs="+", default=[], metavar="STAGE", help="make it anew, keep the old folder")
    add("--rounds", type=int, default=0, metavar="N", help="train BESTIE on its own labels N times")
    add_processes(parser)
    add("--dry-run", action="store_true", help="only say what would be done, and why")
    add("--report", action="store_true", help="only write the report of what there is")
    add(
        "overrides",
        nargs=argparse.REMAINDER,
        help="STAGE.KEY VALUE pairs, and what the file names as output, train_set or test_set",
    )
    arguments = parse_options(parser)
    words = arguments.redo  # and pairs of a key and a value that stand behind them
    other = {*PLACES, *(word for word in words if "." in word)}
    arguments.redo = list(itertools.takewhile(lambda word: word not in other, words))
    arguments.overrides = words[len(arguments.redo) :] + arguments.overrides
    return arguments


def report_in_spite_of_a_failure(pipeline: Pipeline, redo: list[str]) -> None:
    """Write the report; what goes wrong with it is only told, lest it hides the first error."""
    if redo:
        print("to go on from here, give the same command without --redo", flush=True)
    print("writing the report (Ctrl-C leaves it out)", flush=True)
    try:
        print(f"report: {write_report(pipeline)}", flush=True)
    except KeyboardInterrupt:
        print("warning: interrupted, no report was written", file=sys.stderr)
    except Exception as error:
        print(f"warning: no report was written ({' '.join(str(error).split())})", file=sys.stderr)


def main() -> None:
    arguments = parse_arguments()
    config, overrides, exist = arguments.config, arguments.overrides, not arguments.report
    pipeline = read_pipeline(config, overrides, rounds=arguments.rounds, configs_exist=exist)
    pipeline = replace(pipeline, **processes_of(arguments))
    if arguments.report:
        print(f"report: {write_report(pipeline)}")
        return
    options = {"--from": [arguments.first], "--until": [arguments.last], "--redo": arguments.redo}
    for option, stages in options.items():
        for stage in filter(None, stages):
            pipeline.check_stage(option, stage)
    if not arguments.dry_run:
        print(f"report: {report_path(pipeline)}, when all is done", flush=True)
    table = run_pipeline(
        pipeline,
        first=arguments.first,
        last=arguments.last,
        redo=arguments.redo,
        dry_run=arguments.dry_run,
        after_failure=partial(report_in_spite_of_a_failure, pipeline, arguments.redo),
    )
    if table:
        print(f"\n{pipeline.name}, {pipeline.test_set}:\n{table}")
        print(f"\nreport: {write_report(pipeline)}")


if __name__ == "__main__":
    run_tool(main)
