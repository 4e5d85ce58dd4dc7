"""Commands as the docs write them: taken apart, and compared with what their tools take."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import re
import runpy
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
from documents import ROOT

from bestie_d2.__main__ import commands
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.pipeline.definition import Pipeline, read_pipeline
from bestie_d2.pipeline.table import read_table

PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*(\|[A-Z]+)*$")  # FILE, DIR|FILE: the reader's own
ASSIGNMENT = re.compile(r"(\w+)=(.*)$", re.DOTALL)
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
NUMBER = "1"  # for the placeholder N
PACKAGE = ["-m", "bestie_d2"]
ACTIVATE = [".", ".venv/bin/activate"]  # the tests have their environment


class Wrong(Exception):
    """What is wrong with a command."""


class Parser(Exception):
    """Stops a tool as it is about to read its command line; holds the parser."""


def lines_of(text: str) -> Iterator[str]:
    """The commands of a block, without comments; a backslash continues a line."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.strip().startswith("#"):
            yield line.strip()


def words_of(line: str, variables: dict[str, str], *, optional: bool) -> list[str]:
    """A command's words, comments left out and variables put in. ``[what may be left out]`` is
    left out, or else stands there like the rest."""
    words, depth = [], 0
    for word in shlex.split(line, comments=True):
        opens = re.match(r"\[(?=[-A-Z])", word)
        depth += bool(opens)
        closes = depth > 0 and word.endswith("]")
        if optional or not depth:
            bare = word[bool(opens) : len(word) - closes]
            words += [VARIABLE.sub(lambda name: variables.get(name[1], name[0]), bare)]
        depth -= closes
    assignment = ASSIGNMENT.match(words[0]) if len(words) == 1 else None
    if assignment:
        variables[assignment[1]] = assignment[2]
        return []
    return [word for word in words if word not in ("...", "")]


@functools.cache
def script_of(path: Path) -> ModuleType:
    """The script, loaded and not run; its neighbors can be imported."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(path.parent), *sys.path]):
        spec.loader.exec_module(module)
    return module


def call_at_parser(path: Path) -> None:
    """Call what reads the script's command line, and nothing that comes after."""
    module = script_of(path)
    getattr(module, "parse_arguments", module.main)()


def stop(parser: argparse.ArgumentParser, *_: object) -> None:
    raise Parser(parser)


@functools.cache
def parser_of(path: Path) -> argparse.ArgumentParser:
    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            call_at_parser(path)
        except Parser as found:
            return found.args[0]
    raise AssertionError(f"{path} reads no command line")


def arguments_of(path: Path, words: Sequence[str]) -> argparse.Namespace:
    """What the script makes of its words.

    Raises:
        Wrong: it refuses them, or has no such option.
    """
    parser = parser_of(path)
    check_options(path, words)
    heard: list[str] = []

    def refuse(_: argparse.ArgumentParser, message: str) -> None:
        heard.append(message)
        raise SystemExit(2)

    with (
        mock.patch.object(sys, "argv", [path.name, *words]),
        mock.patch.object(argparse.ArgumentParser, "error", refuse),
    ):
        try:
            if hasattr(script_of(path), "parse_arguments"):
                return script_of(path).parse_arguments()
            return parser.parse_args(words)
        except SystemExit:
            raise Wrong(" ".join(heard)) from None
        except InputError as error:
            raise Wrong(str(error)) from None


def check_options(path: Path, words: Sequence[str]) -> None:
    known = parser_of(path)._option_string_actions
    for word in words:
        if word.startswith("--") and word.partition("=")[0] not in known:
            raise Wrong(f"{path.name} has no option {word}")


def script_and_words(words: Sequence[str]) -> tuple[Path, Sequence[str]] | None:
    """The script of this project that a command runs, and what it is given."""
    program, *rest = words
    if program == "torchrun":  # whose own options are PyTorch's
        start = next((i for i, word in enumerate(rest) if word == "-m" or word.endswith(".py")), 0)
        program, rest = "python", rest[start:]
    if program == "python" and rest[:2] == PACKAGE:
        program, *rest = ["bestie", *rest[2:]]
    if program == "bestie":
        if not rest or rest[0] not in commands():
            raise Wrong(f"bestie has no command {' '.join(rest[:1])}")
        return commands()[rest[0]], rest[1:]
    if program == "python" and rest and rest[0].endswith(".py"):
        if not (ROOT / rest[0]).is_file():
            raise Wrong(f"no script {rest[0]}")
        return ROOT / rest[0], rest[1:]
    return None


def check_command(words: Sequence[str]) -> None:
    """Refuse what could not be run as it is written, but for files that a user brings.

    Raises:
        Wrong: it says why.
    """
    words = [NUMBER if word == "N" else word for word in words]
    found = script_and_words(words)
    if found is None:
        check_other_program(words)
        return
    path, rest = found
    arguments = arguments_of(path, [re.sub(r"([a-z]+)\|[a-z|]+$", r"\1", word) for word in rest])
    try:
        check_configuration(path, arguments)
    except InputError as error:
        raise Wrong(str(error)) from None


def check_other_program(words: Sequence[str]) -> None:
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        unknown = [word for word in rest if "=" not in word and word not in targets]
    elif program == "pip" and rest[:1] == ["install"]:
        extras = re.findall(r"\w+", " ".join(re.findall(r"bestie_d2\[(.*)\]", " ".join(rest))))
        setup = (ROOT / "setup.py").read_text()
        unknown = [extra for extra in extras if f'"{extra}": [' not in setup]
    else:
        unknown = [] if list(words) == ACTIVATE else [program]
    if unknown:
        raise Wrong(f"unknown: {unknown[0]}")


def check_configuration(path: Path, arguments: argparse.Namespace) -> None:
    """Load the configuration that a command names with its overrides."""
    given = vars(arguments)
    pairs = [word for word in given.get("opts", ()) if word not in ("KEY", "VALUE")]
    if "config_file" in given:
        load_config(known_file(given["config_file"]), pairs)
    elif pairs:
        load_config("", pairs)
    if path.stem == "run_pipeline":
        check_pipeline(arguments)
    if path.stem == "run_table" and known_file(arguments.config):
        table = read_table(arguments.config)
        if unknown := set(real(arguments.only)) - table.rows.keys():
            raise Wrong(f"{table.name} has no row {unknown.pop()}")


def known_file(name: str | None) -> str:
    """The name of a configuration, "" of one that the reader has written."""
    ours = name and name.startswith(("configs/", str(ROOT)))
    return name if ours else ""


def real(words: Sequence[str]) -> list[str]:
    return [word for word in words if not PLACEHOLDER.match(word)]


def check_pipeline(arguments: argparse.Namespace) -> None:
    if not known_file(arguments.config):
        return
    pipeline: Pipeline = read_pipeline(
        arguments.config, arguments.overrides, rounds=arguments.rounds
    )
    for stage in real(filter(None, [arguments.first, arguments.last, *arguments.redo])):
        pipeline.check_stage("", stage)
    for entry in pipeline.stages.values():
        load_config(entry.config, entry.overrides)


def check_span(span: str) -> None:
    """Refuse a command in running text that names a script or an option that is not there; some of
    its options may be left out there."""
    try:
        program, *rest = words_of(span, {}, optional=True) or [""]
    except ValueError:  # a quotation mark alone: no command
        return
    if program in ("bestie", "python") and rest and not PLACEHOLDER.match(rest[-1]):
        found = script_and_words([program, *rest])
    elif program.endswith(".py") and any(word.startswith("--") for word in rest):
        near = ROOT / program if "/" in program else ROOT / "tools" / program
        if not near.is_file():
            raise Wrong(f"no script {program}")
        found = near, rest
    else:
        return
    if found:
        check_options(*found)


def run_line(line: str, variables: dict[str, str]) -> None:
    """Run a command of this project in this process, without what may be left out."""
    words = words_of(line, variables, optional=False)
    if not words or words == ACTIVATE:
        return
    found = script_and_words(words)
    assert found, f"{line}: only this project's commands can be run here"
    path, rest = found
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(path), *rest])
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            if end.code:
                pytest.fail(f"{line}: exit code {end.code}")
