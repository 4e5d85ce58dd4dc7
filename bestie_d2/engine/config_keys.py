"""Setting the keys of a configuration, with every mistake told."""

from __future__ import annotations

import ast
import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping
from reprlib import repr as shortened

from detectron2.config import CfgNode

from bestie_d2.errors import InputError

KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "keys and values",
    CfgNode: "keys and values",
}
CLOSE, NEAR = 0.75, 0.5  # similarity of two keys (1: equal), and of two that have one last part
MOST_HINTS = 3  # for a key without the ones above it


def key_value_pairs(
    content: Mapping, cfg: CfgNode, above: str = ""
) -> Iterator[tuple[str, object]]:
    """What a yaml file says, as full keys and values."""
    for name, value in content.items():
        default = cfg.get(name)
        if isinstance(value, dict) and isinstance(default, CfgNode):
            yield from key_value_pairs(value, default, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def set_keys(cfg: CfgNode, pairs: Iterable[tuple[str, object]]) -> None:
    """Set keys in place; texts are read as yacs reads them, whole numbers do for floats.

    Raises:
        InputError: there is no such key, or its value is of another kind.
    """
    for key, value in pairs:
        default = _default_of(cfg, key)
        if isinstance(default, float):
            value = _as_float(value)
        # yacs takes None for anything: right where it is written, not where a value is forgotten.
        if isinstance(default, CfgNode) or (value is None and default is not None):
            raise _wrong_kind(key, value, default)
        try:
            cfg.merge_from_list([key, value])
        except ValueError:
            raise _wrong_kind(key, value, default) from None


def _default_of(cfg: CfgNode, key: str) -> object:
    node: object = cfg
    for name in key.split("."):
        if not isinstance(node, CfgNode) or name not in node:
            raise InputError(f"{key}: no such key{_hint(cfg, key)}")
        node = node[name]
    return node


def _as_float(value: object) -> object:
    """A whole number, or the text of one, as a float."""
    if type(value) is int:
        return float(value)
    is_text_of_one = isinstance(value, str) and value.lstrip("+-").isdigit()
    return f"{value}.0" if is_text_of_one else value


def _wrong_kind(key: str, value: object, default: object) -> InputError:
    expected = KINDS.get(type(default), "another kind of value")
    if value is None:
        return InputError(f"{key} is empty, expected {expected}")
    if isinstance(value, str):
        with contextlib.suppress(ValueError, SyntaxError):  # then it is a text
            value = ast.literal_eval(value)
    found = KINDS.get(type(value), type(value).__name__)
    return InputError(f"{key} is {shortened(value)} ({found}), expected {expected}")


def _hint(cfg: CfgNode, key: str) -> str:
    """The existing keys that may be meant by one that does not exist, as a question."""
    wanted, known = key.upper(), list(_all_keys(cfg))
    last = _last(wanted)
    same_name = [other for other in known if _last(other) == last]
    if "." in key:
        meant = difflib.get_close_matches(wanted, same_name, 1, NEAR)
    else:
        meant = difflib.get_close_matches(wanted, same_name, MOST_HINTS, 0)
    as_deep = [other for other in known if other.count(".") == key.count(".")]
    for candidates in (as_deep, known):
        meant = meant or difflib.get_close_matches(wanted, candidates, 1, CLOSE)
    if not meant:  # misspelled, and below another key than it was looked for
        names = difflib.get_close_matches(last, {_last(other) for other in known}, 1, CLOSE)
        found = [other for other in known if _last(other) in names]
        meant = difflib.get_close_matches(wanted, found, 1, 0)
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _all_keys(cfg: CfgNode, above: str = "") -> Iterator[str]:
    for name, value in cfg.items():
        yield above + name
        if isinstance(value, CfgNode):
            yield from _all_keys(value, f"{above}{name}.")
