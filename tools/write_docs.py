"""Write the page of the docs that is made of the code: docs/config.md, of bestie_d2/config.py.

python tools/write_docs.py [--output FILE]
"""

import argparse
import inspect
from pathlib import Path

from bestie_d2 import config
from bestie_d2.engine.command_line import run_tool
from bestie_d2.report.config_page import config_page
from bestie_d2.storage.files import replacing

PAGE = Path(__file__).resolve().parents[1] / "docs" / "config.md"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default=PAGE, type=Path, metavar="FILE", help="%(default)s")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    with replacing(arguments.output) as file:
        file.write(config_page(inspect.getsource(config)))


if __name__ == "__main__":
    run_tool(main)
