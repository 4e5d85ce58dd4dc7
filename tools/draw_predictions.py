"""Draw what a trained BESTIE makes of a data set: weak labels, maps, predictions and truth.

    python tools/draw_predictions.py --config-file FILE [--dataset NAME] [--num N] [KEY VALUE ...]

Takes the last checkpoint of OUTPUT_DIR unless MODEL.WEIGHTS is given here; writes
OUTPUT_DIR/pictures/predictions_1.png and on.
"""

import argparse
import os

from bestie_d2.checks.training import (
    check_config,
    check_is_bestie,
    check_trained_classes,
    classes_of,
)
from bestie_d2.data import register_subset
from bestie_d2.engine.command_line import run_tool
from bestie_d2.engine.configuration import load_config, with_trained_weights
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.pictures.dataset import draw_predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--dataset", help="default: the first of DATASETS.TEST")
    parser.add_argument("--num", default=6, type=int, help="how many images (default: 6)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config_file, arguments.opts)
    check_config(cfg)
    check_is_bestie(cfg, "draw_predictions")
    dataset = arguments.dataset or (cfg.DATASETS.TEST or ("",))[0]
    dataset = register_subset(dataset, cfg.DATASETS.SUBSET)
    classes_of(dataset, "--dataset")
    if arguments.num < 1:
        raise InputError(f"--num {arguments.num}: expected 1 or more")
    trained = with_trained_weights(cfg, arguments.opts)
    check_trained_classes(trained, dataset)
    model, _ = load_trained_model(trained)
    folder = os.path.join(cfg.OUTPUT_DIR, "pictures")
    for path in draw_predictions(cfg, model, dataset, arguments.num, folder):
        print(path)


if __name__ == "__main__":
    run_tool(main)
