"""docs/config.md: it has every key as it is, and what is said of it in config.py."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg

from bestie_d2 import config
from bestie_d2.errors import InputError
from bestie_d2.report.config_page import Entry, config_page, read_entries

PAGE = Path(__file__).resolve().parents[2] / "docs" / "config.md"
SOURCE = '''
"""No key."""


def add(cfg):
    # Modules to import,
    # in order.
    cfg.MODULES = []
    # Lengths in pixels | steps.
    cfg.MODEL.NEW = CfgNode()
    node = cfg.MODEL.NEW
    node.ALPHA = 0.7  # alpha: of MODEL.NEW, as add_keys has it
    node.SIDES = (1, 2)  # two: "#" is no color

    # No key's.

    node.LAST = "a"  # a < b
'''
TABLES = """\
## Beside all nodes

| key | default |  |
| --- | --- | --- |
| `MODULES` | `[]` | Modules to import, in order. |

## MODEL.NEW

Lengths in pixels \\| steps.

| key | default | symbol |  |
| --- | --- | --- | --- |
| `MODEL.NEW.ALPHA` | `0.7` | α | of `MODEL.NEW`, as `add_keys` has it |
| `MODEL.NEW.SIDES` | `(1, 2)` |  | two: "#" is no color |
| `MODEL.NEW.LAST` | `'a'` |  | a &lt; b |
"""


def leaves(node: CfgNode, above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield above + name, value


def test_the_page_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert page == config_page(inspect.getsource(config)), "run tools/write_docs.py"


def test_every_key_stands_there_with_its_default():
    plain, ours = get_cfg(), get_cfg()
    config.add_bestie_config(ours)
    before = dict(leaves(plain))
    wanted = {key: value for key, value in leaves(ours) if key not in before}
    rows = re.findall(r"^\| `([A-Z][\w.]+)` \| `(.+?)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    told = dict(rows)
    assert len(rows) == len(told) > 100
    assert told.pop("MODEL.DEVICE") == "'cuda' if torch.cuda.is_available() else 'cpu'"
    assert {key: ast.literal_eval(value) for key, value in told.items()} == wanted


def test_comments_above_and_behind_a_key_are_its_text():
    alpha = "alpha: of MODEL.NEW, as add_keys has it"
    assert read_entries(SOURCE)[:3] == [
        Entry("MODULES", "[]", "Modules to import, in order."),
        Entry("MODEL.NEW", "", "Lengths in pixels | steps."),
        Entry("MODEL.NEW.ALPHA", "0.7", alpha),
    ]
    assert config_page(SOURCE).endswith(TABLES)


def test_a_key_without_a_comment_is_refused():
    with pytest.raises(InputError, match=r"config\.py, line 3: A\.B has no comment"):
        read_entries("def add(cfg):\n    cfg.A = CfgNode()\n    cfg.A.B = 1\n")
