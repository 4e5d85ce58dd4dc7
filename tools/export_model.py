"""Export a trained BESTIE as one ONNX or TorchScript file that runs without Detectron2.

    python tools/export_model.py --run FOLDER | --config-file FILE --output FILE.onnx|FILE.ts
        [--weights W] [--overwrite] [KEY VALUE ...]

The file gives the network's maps for a picture of any size, which is tried before it is written;
examples/exported_model.py makes instances of them. docs/predict.md says more.
"""

import argparse

from bestie_d2.engine.command_line import add_model_options, model_config, run_tool
from bestie_d2.engine.model_export import FORMATS, TOLERANCE, export_model


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_options(parser)
    add = parser.add_argument
    add("--output", required=True, metavar="FILE", help=f"its name ends in {' or '.join(FORMATS)}")
    add("--overwrite", action="store_true", help="replace the output")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    difference = export_model(
        model_config(arguments), arguments.output, overwrite=arguments.overwrite
    )
    print(
        f"{arguments.output}: its maps of a picture of another size differ from the network's own "
        f"by {difference:.1g} of their largest value (allowed: {TOLERANCE:g})"
    )


if __name__ == "__main__":
    run_tool(main)
