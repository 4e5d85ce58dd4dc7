"""docs/troubleshooting.md quotes lines that the code really prints."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from documents import ROOT, blocks_of

PAGE = Path("docs/troubleshooting.md")
OURS = re.compile(r"(error|FloatingPointError): ")
OF_OTHERS = ("torch.OutOfMemoryError: ", "Killed")
LEAST_TEXT = 12  # letters of a template beside what is put in: others fit anything


def template_of(node: ast.JoinedStr | ast.Constant) -> tuple[str, str]:
    """What an f-string may become, as a pattern, and the text in it."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    fixed = [str(p.value) if isinstance(p, ast.Constant) else None for p in parts]
    pattern = "".join(".*" if text is None else re.escape(text) for text in fixed)
    return pattern, "".join(text or "" for text in fixed)


@functools.cache
def templates() -> list[re.Pattern[str]]:
    found = []
    for path in sorted((ROOT / "bestie_d2").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if isinstance(node, ast.JoinedStr) or is_text:
                pattern, text = template_of(node)
                found += [re.compile(pattern)] * (len(text) >= LEAST_TEXT and "\n" not in text)
    return found


def is_printed(line: str) -> bool:
    prefix = OURS.match(line)
    if prefix is None:
        return line.startswith(OF_OTHERS)
    return any(template.fullmatch(line[prefix.end() :]) for template in templates())


def test_every_quoted_line_is_one_of_the_code():
    lines = [line for block in blocks_of(PAGE) for line in block.text.splitlines()]
    assert len(lines) > 20
    assert [line for line in lines if not is_printed(line)] == []


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("error: checkpoint a.pth: no such file", True),
        ("error: checkpoint a.pth: no file of this name", False),
        ("error: MODEL.X is 3, expected more", True),
        ("error: data set 'a': none of its 3 images has a tag", True),
        ("error: data set 'a': none of its 3 images has a label", False),
        ("Killed", True),
        ("ValueError: data set 'a': none of its 3 images has a tag", False),
    ],
)
def test_what_is_no_line_of_the_code_is_found(line, known):
    assert is_printed(line) is known
