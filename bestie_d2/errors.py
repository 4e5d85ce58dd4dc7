"""The one exception that means: the input is wrong, not the program."""

from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, told in one line that names the file, key or image and says what to do.

    Tools print that line alone and exit with code 2 (``bestie_d2.engine.command_line``).
    """


def check_choice(key: str, value: object, choices: Iterable) -> None:
    """Refuse a configuration key's value that is none of the choices."""
    if value not in choices:
        raise InputError(f"{key} is {value!r}; choose from {tuple(choices)}")


def check_choices(key: str, values: Iterable, choices: Iterable) -> None:
    """Refuse an empty list, and one with anything else than the choices."""
    unknown = sorted(set(values) - set(choices))
    if unknown or not values:
        raise InputError(f"{key} has {unknown or 'nothing'}; choose from {tuple(choices)}")
