"""Small files, damaged in ways that a seed decides: torn, with other bytes, with odd values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

# Values in the way that JSON writes them: of other types, not finite, negative, huge, deep, long,
# letters that are none, and a path that leads away.
ODD = (
    *("null", "true", "[]", "{}", "[[1]]", '{"a": 1}', '""', '"x"', '"2"', "1.5"),
    *("-1", "0", "1e308", "-1e999", "NaN", "4294967297", "9" * 400, "9" * 5_000),
    *("[" * 150 + "]" * 150, "[" * 900 + "]" * 900, "[" * 100_000, '{"a":' * 100_000),
    *(r'"\u0000"', r'"\ud800"', r'"a\nb"', r'"\u001b[2J"', '"../../a.png"', f'"{"x" * 100_000}"'),
    *("<a>" * 100_000, '<!DOCTYPE a [<!ENTITY b "c">]>', "!!python/object/apply:os.getcwd []"),
)
HERE = '"@@"'  # stands where an odd value will
WORD = re.compile(rb"[^<>\s,=\"/?:\[\]{}]+")
LONGEST_GAP, MOST_REPEATS, MOST_BYTES = 40, 1_000, 8


def damaged(content: bytes, chance: Random) -> bytes:
    """The content of a file with one or two damages."""
    for _ in range(chance.choice((1, 1, 2))):
        content = chance.choice((_odd, _odd, _odd, _torn, _other_bytes, _cut, _repeated))(
            content, chance
        )
    return content


def _torn(content: bytes, chance: Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _other_bytes(content: bytes, chance: Random) -> bytes:
    found = bytearray(content)
    for _ in range(chance.randint(1, MOST_BYTES) if found else 0):
        found[chance.randrange(len(found))] = chance.choice((0, 255, chance.randrange(256)))
    return bytes(found)


def _cut(content: bytes, chance: Random) -> bytes:
    start, gap = chance.randrange(len(content) + 1), chance.randint(1, LONGEST_GAP)
    return content[:start] + content[start + gap :]


def _repeated(content: bytes, chance: Random) -> bytes:
    start, gap = chance.randrange(len(content) + 1), chance.randint(1, LONGEST_GAP)
    part = content[start : start + gap] * chance.choice((1, 2, MOST_REPEATS))
    return content[:start] + part + content[start:]


def _odd(content: bytes, chance: Random) -> bytes:
    """With an odd value in place of one of JSON, whatever its depth, or of a word of other text."""
    odd = chance.choice(ODD)
    try:
        tree = [json.loads(content)]
    except (ValueError, RecursionError):
        words = list(WORD.finditer(content))
        if not words:
            return content
        word = chance.choice(words)
        bare = odd.strip('"') if chance.random() < 1 / 2 else odd
        return content[: word.start()] + bare.encode() + content[word.end() :]
    change = chance.choice(list(_changes(tree)))
    change()
    return json.dumps(tree[0] if tree else None).replace(HERE, odd).encode()


def _changes(node: Any) -> Iterator[Callable[[], object]]:
    """What may be done to a tree: a value replaced, or a member taken away."""
    members = dict(enumerate(node)) if isinstance(node, list) else node
    for key, value in members.items():
        yield lambda key=key: node.__setitem__(key, HERE.strip('"'))
        if isinstance(node, dict):
            yield lambda key=key: node.pop(key)
        if isinstance(value, (list, dict)):
            yield from _changes(value)
