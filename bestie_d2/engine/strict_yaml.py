"""A yaml file as keys and values, with every mistake told."""

from __future__ import annotations

import yaml

from bestie_d2.errors import InputError


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, but a key that is given twice is a mistake: it would take the last."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                line = key.start_mark.line + 1
                raise InputError(f"line {line} gives the key {key.value!r} once more")
            seen.add(key.value)
        return node


def load_strict_yaml(path: str, where: str) -> dict:
    """What a file says; nothing if it is empty.

    Args:
        where: the option that names it, for the errors.

    Raises:
        InputError: no such file, no yaml, no keys and values, or a key twice.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, _StrictLoader)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: no yaml ({' '.join(str(error).split())})") from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected keys and values")
    return content
