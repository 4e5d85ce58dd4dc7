"""Export pseudo labels: a trained model's instances on a training set, as one COCO file.

    python tools/export_pseudo_labels.py --config-file configs/bestie_voc.yaml --output labels.json
        [--dataset NAME] [--jobs N] [--skip-bad] [--overwrite] [--score-threshold S] [--min-area A]
        [--top-k K] [--ignore-tags] [--num-machines N --machine-rank K] [KEY VALUE ...]

Takes the last checkpoint of OUTPUT_DIR unless MODEL.WEIGHTS is given here. Run again after an
interruption, it goes on where it stopped. Where the data set has image tags, only their classes get
labels: BESTIE gives what it takes for another class to the tagged ones, instances of other models
are left out; the file says so in its "info". A training set's tags are known, a test set's are not:
to evaluate a model there is tools/train_net.py --eval-only.
"""

import argparse

from bestie_d2.engine.command_line import (
    labeling_config,
    labeling_parser,
    parse_options,
    run_tool,
    sharing,
)
from bestie_d2.errors import InputError
from bestie_d2.runs.labeling_run import LabelingRun
from bestie_d2.runs.pseudo_label_export import LabelRecipe, export_pseudo_labels

# To Mask R-CNN an object without a label is background, at least as wrong as a false label. Right
# are, of BESTIE's labels on the embedded shapes, 71 % of 7 below 0.1, 88 % of 40 from there to 0.2;
# on nuclei none of 3 below 0.1, 21 % of 34 to 0.2, 53 % of 34 to 0.3. On photographs a threshold of
# 0.3 loses, though most labels below it are wrong (docs/results.md).
SCORE_THRESHOLD = 0.1
SCORE_HELP = (
    "leave out what scores lower (default: %(default)s, MODEL.BESTIE.TEST.CENTER_THRESHOLD's "
    "own default); the histogram that is printed shows, where there is truth, how many are right"
)
AREA_HELP = (
    "leave out what has fewer pixels (default: %(default)s, as MODEL.BESTIE.TEST.MIN_AREA has had "
    "its say)"
)


def parse_arguments() -> argparse.Namespace:
    parser = labeling_parser(__doc__)
    add = parser.add_argument
    add("--output", required=True, metavar="JSON", help="the COCO file")
    add("--score-threshold", default=SCORE_THRESHOLD, type=float, metavar="S", help=SCORE_HELP)
    add("--min-area", default=1, type=int, metavar="A", help=AREA_HELP)
    add("--top-k", type=int, metavar="K", help="most labels of an image (default: no limit)")
    add("--ignore-tags", action="store_true", help="let images have untagged classes too")
    arguments = parse_options(parser)
    if not 0 <= arguments.score_threshold <= 1:
        raise InputError(f"--score-threshold {arguments.score_threshold:g}: expected 0 to 1")
    if arguments.min_area < 1:
        raise InputError(f"--min-area {arguments.min_area}: expected 1 or more pixels")
    if arguments.top_k is not None and arguments.top_k < 1:
        raise InputError(f"--top-k {arguments.top_k}: expected 1 or more")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    cfg, dataset = labeling_config(arguments)
    run = LabelingRun.open(cfg, dataset, **sharing(arguments))
    rules = (arguments.score_threshold, arguments.min_area, arguments.top_k)
    recipe = LabelRecipe(not arguments.ignore_tags, *rules)
    report = export_pseudo_labels(run, arguments.output, recipe, overwrite=arguments.overwrite)
    print(report.table(run.class_names))
    print(*report.histogram(), *report.describe(), sep="\n")
    print(f"pseudo labels written to {arguments.output}")


if __name__ == "__main__":
    run_tool(main)
