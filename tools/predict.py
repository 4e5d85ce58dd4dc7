"""Find objects in pictures of your own by a trained BESTIE or Mask R-CNN, and write their masks.

    python tools/predict.py --run FOLDER | --config-file FILE --input FILES|FOLDERS|GLOBS
        --output DIR [--weights W] [--confidence-threshold T] [--formats NAME ...] [--jobs N]
        [--tile S --overlap O] [--scale F] [--overwrite] [--num-machines N --machine-rank K]
        [KEY VALUE ...]

--run is the OUTPUT_DIR of a training, wherever it lies now; --config-file takes the last checkpoint
of its OUTPUT_DIR. Run again after an interruption, it goes on where it stopped. Pictures that
cannot be read are named and passed over; the exit code is 3 then. docs/predict.md says more.
"""

import argparse
import sys
from itertools import takewhile

from bestie_d2.data.picture_files import find_pictures
from bestie_d2.engine.command_line import (
    add_jobs,
    add_machines,
    add_model_options,
    machines_of,
    model_config,
    parse_options,
    run_tool,
)
from bestie_d2.engine.predictor import SCORE_THRESHOLD, PredictionRecipe, check_prediction
from bestie_d2.errors import check_choices
from bestie_d2.modeling.tiles import Tiling
from bestie_d2.runs.prediction import PredictionRun, predict
from bestie_d2.writers import WRITERS

EXIT_LEFT_OUT = 3  # some pictures could not be read; all others are written
FORMATS = ("overlay", "coco")  # to look at, and to go on with


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_options(parser)
    add, tiling = parser.add_argument, Tiling()
    add("--input", nargs="+", required=True, metavar="PATH", help="files, folders, 'patterns/**'")
    add("--output", required=True, metavar="DIR", help="the folder of all formats")
    add("--confidence-threshold", default=SCORE_THRESHOLD, type=float, metavar="T",
        help="leave out what scores lower (default: %(default)s)")  # fmt: skip
    add("--formats", nargs="+", default=FORMATS, metavar="NAME",
        help=f"out of {', '.join(WRITERS)} (default: {' '.join(FORMATS)})")  # fmt: skip
    add_jobs(parser)
    add_machines(parser)
    add("--tile", default=tiling.size, type=int, metavar="S",
        help="larger pictures are seen in tiles of this side, in pixels as the network sees them; "
        "0: never (default: %(default)s)")  # fmt: skip
    add("--overlap", type=int, metavar="O",
        help=f"of neighboring tiles (default: {tiling.overlap}, at most half a tile)")  # fmt: skip
    add("--scale", type=float, metavar="F",
        help="resize pictures by this factor for the network (default: as INPUT says)")  # fmt: skip
    add("--overwrite", action="store_true", help="write into a folder that holds files")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    arguments = parse_options(parser)
    words = list(arguments.formats)  # KEY VALUE pairs behind them are none
    names = [*takewhile(lambda word: not word.isupper(), words)]
    arguments.formats = [*dict.fromkeys(filter(None, ",".join(names).split(",")))]
    arguments.opts = words[len(names) :] + arguments.opts
    return arguments


def main() -> None:
    arguments = parse_arguments()
    overlap = arguments.overlap
    if overlap is None:
        overlap = min(Tiling().overlap, max(arguments.tile, 0) // 2)
    tiling = Tiling(arguments.tile, overlap)
    recipe = PredictionRecipe(arguments.confidence_threshold, tiling, arguments.scale)
    check_choices("--formats", arguments.formats, WRITERS)
    cfg = model_config(arguments)
    check_prediction(cfg)
    pictures = find_pictures(arguments.input, output=arguments.output)
    shared = {"jobs": arguments.jobs, "machines": machines_of(arguments)}
    run = PredictionRun.of(cfg, pictures, recipe, **shared)
    bad = predict(run, arguments.output, arguments.formats, overwrite=arguments.overwrite)
    print(f"{len(run.records) - len(bad)} of {len(run.records)} pictures in {arguments.output}")
    if bad:
        print(*[f"left out: {line}" for line in bad], sep="\n", file=sys.stderr)
        sys.exit(EXIT_LEFT_OUT)


if __name__ == "__main__":
    run_tool(main)
