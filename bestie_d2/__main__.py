"""``bestie COMMAND ...``, also ``python -m bestie_d2 COMMAND ...``: the tools, by their names.

Each command is a script of ``tools/``, run as if it was given to Python, so ``bestie check-data``
and ``python tools/check_data.py`` are one.
"""

from __future__ import annotations

import ast
import difflib
import sys
from pathlib import Path
from types import ModuleType

from bestie_d2.shipped import TOOLS, shipped

SHORT = {"train_net": "train"}  # the names of commands are else those of the scripts
OF_A_CHECKOUT = ("setup_env", "run_table", "write_docs")  # of its own environment and docs
EXIT_BAD_INPUT = 2


def commands() -> dict[str, Path]:
    """The scripts of the tools by the names of their commands."""
    scripts = sorted(shipped(TOOLS).glob("[!_]*.py"))
    return {
        SHORT.get(path.stem, path.stem.replace("_", "-")): path
        for path in scripts
        if path.stem not in OF_A_CHECKOUT
    }


def describe(known: dict[str, Path]) -> str:
    """The commands with what each does, a line each."""
    width = max(map(len, known))
    lines = ["usage: bestie COMMAND [--help] ...", ""]
    for name, path in known.items():
        purpose = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name:{width}}  {purpose.splitlines()[0]}")
    return "\n".join(lines)


def main() -> None:
    known, words = commands(), sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(describe(known))
        return
    if words[0] not in known:
        meant = difflib.get_close_matches(words[0], known, 1) or known
        print(f"error: no command {words[0]!r}, try {', '.join(meant)}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    sys.argv[:2] = [f"bestie {words[0]}"]  # as its usage calls it
    run(known[words[0]])


def run(script: Path) -> None:
    """Run a script as the program; ``runpy`` would put its own path into ``sys.argv``."""
    module = ModuleType("__main__")
    module.__file__ = str(script)  # what processes that are started import
    before, sys.modules["__main__"] = sys.modules["__main__"], module
    try:
        exec(compile(script.read_bytes(), script, "exec"), vars(module))
    finally:
        sys.modules["__main__"] = before


if __name__ == "__main__":
    main()
