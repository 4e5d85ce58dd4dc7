"""The docs' page of all keys, docs/config.md, out of the comments of bestie_d2/config.py.

Its text alone is read: what stands above an assignment and behind it is what the page says of it.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bestie_d2.errors import InputError

INTRODUCTION = """\
# Configuration keys

<!-- Made by tools/write_docs.py: change the comments of bestie_d2/config.py. -->

Every key that this package adds to Detectron2's, or gives another default. All others are
[Detectron2's](https://detectron2.readthedocs.io/en/latest/modules/config.html#yaml-config-references);
`configs/Base-BESTIE.yaml` sets those that belong to the released recipe. A key is set in a yaml, on
the file that its `_BASE_` names (of a list, `[a.yaml, b.yaml]`, each with its own bases goes over
those before it), or behind a command as `KEY VALUE`.

Defaults are the released recipe's. Where the paper's text says otherwise, its value stands beside
([the two compared](method.md#the-paper-and-the-released-recipe)); the column *symbol* has the
paper's, or that of the paper of the built-in WSSS. How lengths are chosen by the size of objects:
[own_data.md](own_data.md#2-lengths-follow-the-objects)."""
TOP = "Beside all nodes"
SYMBOLS = {  # as a comment begins with them, and as the page shows them
    **{letter: letter for letter in ("C", "W", "p")},
    **{"alpha": "α", "epsilon": "ε", "lambda": "λ", "psi": "ψ", "sigma": "σ"},
    **{f"lambda_{of}": f"λ<sub>{of}</sub>" for of in ("sem", "center", "offset")},
}
CODE = re.compile(r"\$?[A-Za-z]\w*(?:\.\w+)*")


@dataclass(frozen=True)
class Entry:
    """An assignment of the file.

    Attributes:
        key: such as ``MODEL.PAM.ALPHA``; of a node, its name.
        default: the expression that it is set to; "" of a node.
        text: its comments, on one line.
    """

    key: str
    default: str
    text: str

    @property
    def node(self) -> str:
        """The node whose table it stands in."""
        return self.key.rpartition(".")[0] if self.default else self.key

    @property
    def symbol(self) -> str:
        """The paper's symbol, as the page shows it."""
        return SYMBOLS.get(self._parts[0], "")

    @property
    def explanation(self) -> str:
        """The comments without the symbol."""
        return self._parts[1] if self.symbol else self.text

    @property
    def _parts(self) -> tuple[str, str]:
        first, _, rest = self.text.partition(": ")
        return first, rest


def read_entries(source: str) -> list[Entry]:
    """The assignments to keys in the functions of a file, from top to bottom.

    Raises:
        InputError: a key without a comment.
    """
    lines, comments = source.splitlines(), _comments(source)
    found = []
    for function in ast.parse(source).body:
        for target, value, statement in _assignments(function):
            above = statement.lineno - 1
            while above in comments and lines[above - 1].lstrip().startswith("#"):
                above -= 1
            numbers = [*range(above + 1, statement.lineno), statement.end_lineno]
            text = " ".join(comments[number] for number in numbers if number in comments)
            is_node = value == "CfgNode()"
            if not (text or is_node):
                raise InputError(f"config.py, line {statement.lineno}: {target} has no comment")
            found.append(Entry(target, "" if is_node else value, text))
    return found


def _comments(source: str) -> dict[int, str]:
    """The comments by their lines, counted from 1."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _assignments(function: ast.stmt) -> Iterator[tuple[str, str, ast.Assign]]:
    """Full keys and values; a name of its own for a node (``node = cfg.MODEL.PAM``) is followed."""
    names = {"cfg": ""}
    for statement in function.body if isinstance(function, ast.FunctionDef) else ():
        if isinstance(statement, ast.Assign):
            (target,), value = statement.targets, statement.value
            if isinstance(target, ast.Name):
                names[target.id] = _full_key(value, names)
            else:
                yield _full_key(target, names), ast.unparse(value), statement


def _full_key(expression: ast.expr, names: Mapping[str, str]) -> str:
    name, _, rest = ast.unparse(expression).partition(".")
    return f"{names[name]}.{rest}".strip(".")


def config_page(source: str) -> str:
    """The page in Markdown: a table of keys for each node, in the order of the file."""
    entries = read_entries(source)
    parts = [INTRODUCTION]
    for node in dict.fromkeys(entry.node for entry in entries):
        inside = [entry for entry in entries if entry.node == node]
        parts.append(f"## {node or TOP}")
        parts += [_prose(entry.text) for entry in inside if not entry.default]
        keys = [entry for entry in inside if entry.default]
        parts += [_table(keys)] if keys else []
    return "\n\n".join(parts) + "\n"


def _table(entries: Sequence[Entry]) -> str:
    with_symbols = any(entry.symbol for entry in entries)
    rows = [["key", "default", *["symbol"] * with_symbols, ""]]
    rows.append(["---"] * len(rows[0]))
    for entry in entries:
        symbol = [entry.symbol] * with_symbols
        default = f"`{entry.default}`"
        rows.append([f"`{entry.key}`", default, *symbol, _prose(entry.explanation)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _prose(text: str) -> str:
    """A comment as Markdown: names of keys and functions as code."""

    def as_code(word: re.Match[str]) -> str:
        name = word[0]
        return f"`{name}`" if "_" in name or ("." in name and name.isupper()) else name

    return CODE.sub(as_code, escape(text, quote=False)).replace("|", "\\|")
