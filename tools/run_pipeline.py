"""Run a whole chain of stages, from weak labels to Mask R-CNN and the figures of both.

    python tools/run_pipeline.py --config configs/pipelines/shapes.yaml [--from STAGE]
        [--until STAGE] [--rounds N] [--dry-run] [STAGE.KEY VALUE ...]

Stages: pam, cues, wsss, maps, bestie, export, mrcnn, mrcnn_truth (on true masks, to compare with),
evaluate; the file names those that are run. Each of N rounds puts bestie_roundI and export_roundI
behind export: BESTIE once more, on the instances that it exported last.
Each has its folder in the pipeline's output. Run again, a stage is skipped if it is finished and
neither its configuration nor what it reads has changed, gone on with if it was interrupted, and
made anew else: what is in its folder is removed then. A key of a stage's configuration is
overridden as bestie.SOLVER.MAX_ITER 2000. In the end report.html in the output shows it all.
"""

from bestie_d2.engine.quiet import quiet_third_party_warnings

quiet_third_party_warnings()

import argparse  # noqa: E402

from bestie_d2.engine.command_line import run_tool  # noqa: E402
from bestie_d2.engine.pipeline.definition import read_pipeline  # noqa: E402
from bestie_d2.engine.pipeline.runner import run_pipeline, table  # noqa: E402
from bestie_d2.engine.report import report_path, write_report  # noqa: E402


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="the pipeline")
    add("--from", dest="first", default="", metavar="STAGE", help="take earlier ones as they are")
    add("--until", dest="last", default="", metavar="STAGE", help="leave later ones out")
    add("--rounds", type=int, default=0, metavar="N", help="train BESTIE on its own labels N times")
    add("--dry-run", action="store_true", help="only say what would be done, and why")
    add("overrides", nargs=argparse.REMAINDER, help="STAGE.KEY VALUE pairs")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    pipeline = read_pipeline(arguments.config, arguments.overrides, rounds=arguments.rounds)
    for option, stage in (("--from", arguments.first), ("--until", arguments.last)):
        if stage:
            pipeline.check_stage(option, stage)
    print(f"report: {report_path(pipeline)}, when all is done", flush=True)
    results = run_pipeline(
        pipeline, first=arguments.first, last=arguments.last, dry_run=arguments.dry_run
    )
    if results:
        print(f"\n{pipeline.name}, {pipeline.test_set}:\n{table(results)}")
        print(f"\nreport: {write_report(pipeline)}")


if __name__ == "__main__":
    run_tool(main)
