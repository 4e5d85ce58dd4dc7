"""How every tool ends: one clear line for bad input, a hint for Ctrl-C, the rest as it comes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from detectron2.engine import default_argument_parser, launch
from detectron2.utils.comm import is_main_process
from torch.multiprocessing import ProcessRaisedException

from bestie_d2.errors import InputError

__all__ = [  # with what a tool needs of Detectron2: tools import nothing else than this package
    "default_argument_parser",
    "input_error_line",
    "is_main_process",
    "launch",
    "reason_of",
    "run_tool",
]

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
RAISED = f"{InputError.__module__}.{InputError.__name__}: "


def input_error_line(error: BaseException) -> str | None:
    """The one line of an ``InputError``, also of one that a worker or child process raised.

    PyTorch hands those on with their whole traceback as the message, the line itself at the end.
    """
    text = str(error)
    if RAISED in text and isinstance(error, (InputError, ProcessRaisedException)):
        return text.rsplit(RAISED, 1)[1].strip().splitlines()[0]
    return text if isinstance(error, InputError) else None


def reason_of(error: BaseException) -> str:
    """What went wrong, in a line."""
    text = " ".join((input_error_line(error) or str(error)).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def _worth_a_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or input_error_line(error) is None


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool's main function and leave the process with the right exit code."""
    # The training loop logs a traceback of what is told in one line here.
    logging.getLogger("detectron2.engine.train_loop").addFilter(_worth_a_traceback)
    try:
        main()
    except (InputError, ProcessRaisedException) as error:
        line = input_error_line(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted; what was written so far is kept", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
