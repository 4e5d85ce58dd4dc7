"""Yaml files on their bases, and keys and values, into a configuration.

Every mistake is an ``InputError`` that names the file or key, and what fits.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from reprlib import repr as shortened

from detectron2 import model_zoo
from detectron2.config import CfgNode

from bestie_d2.errors import InputError, naming
from bestie_d2.shipped import config_path
from bestie_d2.storage.strict_yaml import load_strict_yaml

BASE = "_BASE_"
MOST_FILES = 50  # of which a configuration is made
MODEL_ZOO = "model_zoo://"  # a _BASE_ out of the installed Detectron2's own configurations
KINDS = {
    bool: "True or False", int: "a whole number", float: "a number", str: "text", list: "a list",
    tuple: "a list", dict: "keys and values", CfgNode: "keys and values",
}  # fmt: skip
CLOSE, NEAR = 0.75, 0.5  # similarity of two keys (1: equal), and of two that have one last part
MOST_HINTS = 3  # for a key without the ones above it


@dataclass(frozen=True)
class _Layer:
    """A file that a configuration is made of: the path of one of the model zoo, or the content of
    another, which is named ``where`` in errors."""

    where: str
    content: str | dict


def merge_file(cfg: CfgNode, path: str, where: str) -> None:
    """Merge a yaml file on its ``_BASE_``, a file or a list of them, each of which goes over those
    before it."""
    for number, layer in enumerate(_layers(path, where)):
        if number == MOST_FILES:
            raise InputError(f"{where}: takes more than {MOST_FILES} files, by {BASE}")
        if isinstance(layer.content, str):
            cfg.merge_from_file(layer.content)
            continue
        with naming(layer.where):
            set_keys(cfg, _keys_of_file(layer.content, cfg))


def _layers(path: str, where: str, above: tuple[str, ...] = ()) -> Iterator[_Layer]:
    """A yaml file behind all that it stands on; ``above`` are the files that it is a base of."""
    content = load_strict_yaml(path, where)
    bases = content.pop(BASE, None)
    if bases is None or isinstance(bases, str):
        bases = [bases] if bases else []
    if not isinstance(bases, list) or not all(base and isinstance(base, str) for base in bases):
        raise InputError(f"{where}: {BASE} is {bases!r}, expected a file name or a list of them")
    above = (*above, os.path.realpath(path))
    if len(above) > MOST_FILES:
        raise InputError(f"{where}: {BASE} goes more than {MOST_FILES} files deep")
    for base in bases:
        named = f"{where}: {BASE} {base}"
        if base.startswith(MODEL_ZOO):
            yield _Layer(named, _file_of_zoo(base, named))
            continue
        file = config_path(base, beside=os.path.dirname(path))
        named = f"{where}: {BASE} {file}"
        if not os.path.isfile(file):
            raise InputError(f"{named}: no such file")
        if os.path.realpath(file) in above:
            raise InputError(f"{named}: is a base of itself")
        yield from _layers(file, named, above)
    yield _Layer(where, content)


def _file_of_zoo(base: str, named: str) -> str:
    """The path of ``model_zoo://NAME``."""
    name = base.removeprefix(MODEL_ZOO)
    if os.path.isabs(name) or ".." in name.split("/"):  # Detectron2 runs what a file asks for
        raise InputError(f"{named} is no file of the model zoo")
    try:
        path = model_zoo.get_config_file(name)
    except RuntimeError as error:
        raise InputError(f"{named}: {' '.join(str(error).split())}") from None
    if not os.path.isfile(path):
        raise InputError(f"{named} is no file of the model zoo")
    return path


def _keys_of_file(content: Mapping, cfg: CfgNode, above: str = "") -> Iterator[tuple[str, object]]:
    """What a yaml file says, as full keys and values."""
    for name, value in content.items():
        if isinstance(value, dict) and isinstance(cfg.get(name), CfgNode):
            yield from _keys_of_file(value, cfg[name], f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def set_keys(cfg: CfgNode, pairs: Iterable[tuple[str, object]]) -> None:
    """Set keys in place; texts are read as yacs reads them, whole numbers do for floats."""
    for key, value in pairs:
        default: object = cfg
        for name in key.split("."):
            if not isinstance(default, CfgNode) or name not in default:
                raise InputError(f"{key}: no such key{_hint(cfg, key)}")
            default = default[name]
        if isinstance(default, float):
            is_text_of_one = isinstance(value, str) and value.lstrip("+-").isdigit()
            value = f"{value}.0" if type(value) is int or is_text_of_one else value
        # yacs takes None for anything: right where it is written, not where a value is forgotten.
        if isinstance(default, CfgNode) or (value is None and default is not None):
            raise _wrong_kind(key, value, default)
        try:
            cfg.merge_from_list([key, value])
        except ValueError:
            raise _wrong_kind(key, value, default) from None


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
    *_, last = wanted.split(".")
    by_last_part: dict[str, list[str]] = {}
    for other in known:
        by_last_part.setdefault(other.rpartition(".")[2], []).append(other)
    close = partial(difflib.get_close_matches, wanted)
    count, similarity = (1, NEAR) if "." in key else (MOST_HINTS, 0)
    meant = (
        close(by_last_part.get(last, []), count, similarity)
        or close([other for other in known if other.count(".") == key.count(".")], 1, CLOSE)
        or close(known, 1, CLOSE)
    )
    for alike in () if meant else difflib.get_close_matches(last, by_last_part, 1, CLOSE):
        meant = close(by_last_part[alike], 1, 0)  # misspelled, and below another key
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def _all_keys(cfg: CfgNode, above: str = "") -> Iterator[str]:
    for name, value in cfg.items():
        yield above + name
        if isinstance(value, CfgNode):
            yield from _all_keys(value, f"{above}{name}.")
