"""Yaml files of people, whose slips are told in one line."""

from __future__ import annotations

from itertools import chain
from typing import IO

import yaml

from bestie_d2.errors import InputError, naming

MOST_NODES, MOST_BITS = 100_000, 64  # of a yaml file; of a whole number in it


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, but a key that is given twice is a mistake: it would take the last. So
    are numbers, and aliases of aliases, that a few words make larger than anything can print."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self.sizes: dict[yaml.Node, int] = {}  # of nodes, with all that aliases repeat

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        node = super().compose_node(parent, index)
        if node is not None and node not in self.sizes:
            inside = node.value if isinstance(node, yaml.CollectionNode) else ()
            parts = chain(*inside) if isinstance(node, yaml.MappingNode) else inside
            size = self.sizes[node] = 1 + sum(self.sizes.get(part, 1) for part in parts)
            if size > MOST_NODES:
                line = node.start_mark.line + 1
                raise InputError(f"line {line} holds more than {MOST_NODES} values by its aliases")
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        if value.bit_length() > MOST_BITS:
            line = node.start_mark.line + 1
            raise InputError(f"line {line} gives a whole number of more than {MOST_BITS} bits")
        return value

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node, seen = super().compose_mapping_node(anchor), set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise InputError(f"line {line} gives the key {key.value!r} once more")
            seen.add(key.value)
        return node


StrictLoader.add_constructor("tag:yaml.org,2002:int", StrictLoader.construct_yaml_int)


def load_strict_yaml(path: str, where: str) -> dict:
    """What a yaml file says, named ``where`` in errors; nothing if it is empty."""
    try:
        with open(path, encoding="utf-8") as file, naming(where):
            content = yaml.load(file, StrictLoader)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: no yaml ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{where}: expected keys and values")
    return content or {}
