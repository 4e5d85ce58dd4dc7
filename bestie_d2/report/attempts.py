"""Parts of the report that may not be to be had: it is written at any time, of what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from bestie_d2.engine.command_line import reason_of
from bestie_d2.report.page import paragraph

Item = TypeVar("Item")


def attempt(build: Callable[[], list[str]], what: str) -> list[str]:
    """Some HTML, or a paragraph that says why it is not to be had.

    Whatever goes wrong is told, not raised: files may be wrong, or just being written.
    """
    try:
        return build()
    except Exception as error:
        return [paragraph(f"{what} cannot be shown: {reason_of(error)}")]


def attempt_each(
    items: Iterable[Item], build: Callable[[Item], object], name: Callable[[Item], str]
) -> tuple[dict[str, object], list[str]]:
    """What is built of each item, by its name; and a paragraph for each that can't be."""
    built: dict[str, object] = {}
    problems: list[str] = []
    for item in items:

        def add(item: Item = item) -> list[str]:
            built[name(item)] = build(item)
            return []

        problems += attempt(add, name(item))
    return built, problems
