"""Extract instance cues from a trained PAM classifier: one cue file for a data set.

    python tools/extract_cues.py --config-file configs/pam_voc.yaml --output cues.json
        [--dataset NAME] [--alpha A [A ...]] [--jobs N] [--skip-bad] [--overwrite] [--draw N]
        [--num-machines N --machine-rank K] [KEY VALUE ...]

Takes the last checkpoint of OUTPUT_DIR unless MODEL.WEIGHTS is given here. Run again after an
interruption, it goes on where it stopped. With several alphas nothing is written: it says what each
would give, so that one can be chosen.
"""

import argparse
from functools import partial
from pathlib import Path

from bestie_d2.engine.command_line import (
    labeling_config,
    labeling_parser,
    parse_options,
    run_tool,
    sharing,
)
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.evaluation.weak_components import compare_summaries
from bestie_d2.model_keys import with_keys
from bestie_d2.pictures.dataset import KnownLabels, draw_found_cues
from bestie_d2.runs.cue_extraction import (
    ALPHA,
    CueRecipe,
    count_for_alphas,
    cues_of,
    extract_cue_file,
)
from bestie_d2.runs.labeling_run import LabelingRun


def parse_arguments() -> argparse.Namespace:
    parser = labeling_parser(__doc__)
    add = parser.add_argument
    add("--output", metavar="JSON", help="the cue file; not needed with several alphas")
    add("--alpha", nargs="+", default=[], metavar="A", help="in place of MODEL.PAM.ALPHA")
    add("--draw", default=0, type=int, metavar="N", help="draw N images to <output>-pictures_*.png")
    arguments = parse_options(parser)
    split_alphas(arguments)
    if len(arguments.alpha) > 1 and arguments.num_machines > 1:
        raise InputError("--num-machines goes with one alpha; several are only compared")
    if len(arguments.alpha) > 1 and (arguments.output or arguments.draw):
        raise InputError("--output and --draw go with one alpha; several are only compared")
    if len(arguments.alpha) <= 1 and not arguments.output:
        raise InputError("--output: name the cue file to write")
    return arguments


def split_alphas(arguments: argparse.Namespace) -> None:
    """Turn ``--alpha`` to numbers and give the KEY VALUE pairs behind it back to ``opts``."""
    words, numbers = arguments.alpha, []
    for word in words:
        try:
            numbers.append(float(word))
        except ValueError:
            if not numbers or not word[0].isalpha():  # no KEY either
                raise InputError(f"--alpha {word}: expected a number from 0 to 1") from None
            break
        if not 0 <= numbers[-1] <= 1:
            raise InputError(f"--alpha {numbers[-1]:g}: expected 0 to 1")
    arguments.alpha, arguments.opts = numbers, words[len(numbers) :] + arguments.opts


def main() -> None:
    arguments = parse_arguments()
    cfg, dataset = labeling_config(arguments)
    if len(arguments.alpha) == 1:
        cfg = with_keys(cfg, {ALPHA: arguments.alpha[0]})
    recipe = CueRecipe.from_config(cfg, dataset)
    run = LabelingRun.open(cfg, dataset, **sharing(arguments))
    if len(arguments.alpha) > 1:
        summaries = count_for_alphas(run, recipe, arguments.alpha)
        print(f"cues above {recipe.threshold:g} by alpha:\n{compare_summaries(summaries, 'alpha')}")
        return
    summary = extract_cue_file(run, arguments.output, recipe, overwrite=arguments.overwrite)
    print(summary.table(run.class_names))
    print(*summary.describe(recipe.threshold), f"cues written to {arguments.output}", sep="\n")
    if arguments.draw > 0:
        stem = Path(arguments.output).with_suffix("")
        model, _ = load_trained_model(cfg)
        labels = KnownLabels(dataset, weak_maps=recipe.weak_maps)
        find = partial(cues_of, recipe=recipe)
        number, prefix = arguments.draw, f"{stem}-pictures"
        for path in draw_found_cues(cfg, model, labels, find, number, prefix):
            print(path)


if __name__ == "__main__":
    run_tool(main)
