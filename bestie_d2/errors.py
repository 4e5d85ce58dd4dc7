"""The one exception that means: the input is wrong, not the program."""

import contextlib
import re
from collections.abc import Iterable, Iterator

LONGEST = 2_000  # letters of a line; of what a file holds, more says no more
TAIL = 500  # of which so many are the end, which says what to do
# What a terminal obeys, what begins a line, and what UTF-8 cannot hold.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
RAISED = f"{__name__}.InputError: "  # in front of the line at the end of a traceback


class InputError(ValueError):
    """Bad input, told in one line that names the file, key or image and says what to do.

    Tools print that line alone and exit with code 2 (``bestie_d2.engine.command_line``). What it
    repeats of a file is made harmless: control characters become blanks, and a long line is cut.
    PyTorch makes another one of the whole traceback of a loader's process: its end is the line.
    """

    def __init__(self, line: str) -> None:
        line = CONTROL.sub(" ", line.rpartition(RAISED)[2].strip())
        cut = len(line) > LONGEST
        super().__init__(f"{line[: LONGEST - TAIL]} ... {line[-TAIL:]}" if cut else line)


@contextlib.contextmanager
def naming(where: str) -> Iterator[None]:
    """Puts the file or option in front of what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def not_parsed(path: str, what: str, error: Exception) -> InputError:
    """Of a file that is not ``what`` it should be, perhaps for its encoding."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b"\n") + 1
        found = f"line {line} is not in {error.encoding.upper()} ({error.reason})"
        return InputError(f"{path}: {found}: save the file as UTF-8")
    return InputError(f"{path}: not {what} ({error})")


def check_choice(key: str, value: object, choices: Iterable) -> None:
    """Refuse a configuration key's value that is none of the choices."""
    if value not in choices:
        raise InputError(f"{key} is {value!r}; choose from {tuple(choices)}")


def check_choices(key: str, values: Iterable, choices: Iterable) -> None:
    """Refuse an empty list, and one with anything else than the choices."""
    unknown = sorted(set(values) - set(choices))
    if unknown or not values:
        raise InputError(f"{key} has {unknown or 'nothing'}; choose from {tuple(choices)}")
