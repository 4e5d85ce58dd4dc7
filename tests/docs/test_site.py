"""The pages as a site: links and anchors lead somewhere, every page is in the menu, keys exist."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_lines import check_options
from detectron2.config import CfgNode, get_cfg
from documents import DOCUMENTS, NOTEBOOKS, ROOT, spans_of

from bestie_d2.__main__ import commands
from bestie_d2.config import add_bestie_config

PAGES = [path for path in (*DOCUMENTS, *NOTEBOOKS) if path.parts[0] == "docs"]
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
ADDRESS = re.compile(r"\w+:")
KEY = re.compile(r"(?<![A-Z0-9_$.*])[A-Z][A-Z0-9_]*(?:\.[A-Z][A-Z0-9_]*)+")
NO_KEYS = {"STAGE.KEY", "A.B.C"}  # what stands for any key


def text_of(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def anchors_of(path: Path) -> set[str]:
    """Of the headings, as GitHub and MkDocs both make them."""
    headings = re.findall(r"^#+ (.+?) *$", FENCED.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in headings}


def menu(entries: list[Any]) -> Iterator[str]:
    """The pages of a menu of mkdocs.yml, from top to bottom."""
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from menu(value) if isinstance(value, list) else [value]


def site() -> dict[str, Any]:
    return yaml.safe_load(text_of(Path("mkdocs.yml")))


def problems_of_links(path: Path) -> list[str]:
    wrong = []
    for link in LINK.findall(FENCED.sub("", text_of(path))):
        if ADDRESS.match(link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / path.parent / name).resolve() if name else ROOT / path
        if not target.is_relative_to(ROOT) or not target.exists():
            wrong.append(f"{path}: {link}: no such file")
        elif anchor and anchor not in anchors_of(target.relative_to(ROOT)):
            wrong.append(f"{path}: {link}: no such heading")
        elif path.parts[0] == "docs" and not target.is_relative_to(ROOT / "docs"):
            wrong.append(f"{path}: {link}: leads out of the site")
    return wrong


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_links_lead_to_something(path):
    assert problems_of_links(path) == []


def test_every_page_is_in_the_menu_once():
    assert sorted(menu(site()["nav"])) == sorted(str(path.relative_to("docs")) for path in PAGES)


def test_a_broken_link_fails_the_build():
    assert site()["strict"] is True
    assert site()["validation"] == {
        **{"omitted_files": "warn", "absolute_links": "warn", "unrecognized_links": "warn"},
        "anchors": "warn",
    }


def test_the_site_asks_nothing_of_the_net():
    assert site()["theme"] == {"name": "readthedocs", "highlightjs": False}


def test_every_promise_has_its_test():
    lines = [line for line in text_of(Path("docs/reliability.md")).splitlines() if "::" in line]
    assert lines
    for path, name in re.findall(r"`(tests/\S+)::(\w+)`", "".join(lines)):
        assert f"def {name}(" in text_of(Path(path))


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_every_key_that_is_named_exists(path):
    cfg = get_cfg()
    add_bestie_config(cfg)

    def exists(key: str) -> bool:
        node: object = cfg
        for name in key.split("."):
            if not isinstance(node, CfgNode) or name not in node:
                return False
            node = node[name]
        return True

    named = set(KEY.findall(text_of(path))) - NO_KEYS
    assert sorted(key for key in named if not exists(key)) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_options_that_are_named_with_their_command_exist(path):
    for command, *words in filter(None, map(str.split, spans_of(path))):
        if command in commands():
            check_options(commands()[command], words)


def test_figures_of_the_zoo_stand_where_they_were_first_told():
    """But for the rows that a table's results are put into; nobody mends two places by hand."""
    rows = re.sub(
        r"<!-- table: .*?<!-- end", "", text_of(Path("docs/model_zoo.md")), flags=re.DOTALL
    )
    told = [Path("README.md"), Path("docs/own_data.md")]
    told += [path.relative_to(ROOT) for path in sorted((ROOT / "configs").rglob("*.yaml"))]
    known = set(re.findall(r"[\d.:]*\d", "\n".join(map(text_of, told))))
    found = set(re.findall(r"\d+[.:]\d+", rows))
    assert len(found) > 40
    assert found - known == set()


def test_what_is_wrong_is_found(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# A `b.C`\n```\n# D\n```\n")
    page = (
        "[1](a.md#e-f) [2](#g) [3](c.md) [4](../README.md#a-bc) [5](../README.md#d) [6](http://x)"
    )
    (tmp_path / "docs" / "a.md").write_text(f"## E, F\n{page}\n")
    monkeypatch.setattr("test_site.ROOT", tmp_path)
    anchors_of.cache_clear()
    assert problems_of_links(Path("docs/a.md")) == [
        "docs/a.md: #g: no such heading",
        "docs/a.md: c.md: no such file",
        "docs/a.md: ../README.md#a-bc: leads out of the site",
        "docs/a.md: ../README.md#d: no such heading",
    ]
    anchors_of.cache_clear()
