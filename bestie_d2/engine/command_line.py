"""How every tool ends: one clear line for bad input, a hint for Ctrl-C, the rest as it comes; and
what those take that label a data set, or use a trained model."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.utils.comm import is_main_process
from torch import distributed
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from bestie_d2.checks.training import check_config
from bestie_d2.data import register_subset
from bestie_d2.data.loader_workers import SHARED_MEMORY_FULL, lacks_semaphores
from bestie_d2.engine.configuration import (
    WEIGHTS,
    load_config,
    load_run_config,
    with_trained_weights,
)
from bestie_d2.errors import RAISED, InputError
from bestie_d2.storage.machine_shares import Machines, ShareDone

__all__ = [  # with what a tool needs of Detectron2: tools import nothing else than this package
    "add_machines",
    "add_model_options",
    "default_argument_parser",
    "input_error_line",
    "is_main_process",
    "labeling_config",
    "labeling_parser",
    "machines_of",
    "model_config",
    "parse_options",
    "reason_of",
    "run_tool",
    "sharing",
]

EXIT_BAD_INPUT = 2
EXIT_LOST_WORKER = 1  # not of the input: the same command may do next time
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_TERMINATED = 143  # 128 + SIGTERM
STOPPED_BY = (signal.SIGINT, signal.SIGTERM)  # what says so
LOST_WORKER = re.compile(r"DataLoader worker \(pid.*?\) (is killed|exited)[^.]*")  # PyTorch's words
BUS_ERROR = "Bus error"
LOST_CONNECTION = (ConnectionError, EOFError, FileNotFoundError)  # of a worker's socket
WAITS_FOR_A_WORKER = "_try_get_data"  # of PyTorch's loader
OF_GLOO = re.compile(r"gloo.*(Connection|Socket|Timed out)", re.DOTALL | re.IGNORECASE)


class Terminated(KeyboardInterrupt):
    """SIGTERM has come, which batch systems and Kubernetes send, and what was done is saved."""


def input_error_line(error: BaseException) -> str | None:
    """The one line of an ``InputError``, also of one that a worker or child process raised, and of
    shared memory that is too small to begin with.

    PyTorch hands on the latter's whole traceback as the message, the line itself at the end.
    """
    if lacks_semaphores(error):
        return SHARED_MEMORY_FULL
    text = str(error)
    if RAISED in text and isinstance(error, ProcessRaisedException):
        return text.rsplit(RAISED, 1)[1].strip().splitlines()[0]
    return text if isinstance(error, InputError) else None


def reason_of(error: BaseException) -> str:
    """What went wrong, in a line."""
    text = " ".join((input_error_line(error) or str(error)).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def _lost_process_line(error: BaseException) -> str | None:
    """The one line of what PyTorch raises where a process has been killed: one that loads pictures,
    or one of several that train."""
    told = str(error) if isinstance(error, RuntimeError) else ""
    if isinstance(error, ProcessRaisedException):  # a traceback
        told = str(error).strip().rpartition("\n")[2]
    ended = isinstance(error, distributed.DistBackendError | ProcessExitedException)
    if ended or OF_GLOO.search(told):
        return (
            "another of the processes that work together has ended: its own line says why, or the "
            "system that ended it; go on with --resume"
        )
    if lost := LOST_WORKER.search(told):
        told = lost.group()
    elif isinstance(error, LOST_CONNECTION) and any(
        frame.f_code.co_name == WAITS_FOR_A_WORKER
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ):  # its connection is closed a moment before the system counts it as ended
        told = "a DataLoader worker has exited unexpectedly"
    else:
        return None
    if BUS_ERROR in told:  # of older versions of PyTorch, whose workers write before they ask
        return f"{told}: {SHARED_MEMORY_FULL}"
    return (
        f"{told}: the system kills one where memory, or shared memory, is short; lower "
        "DATALOADER.NUM_WORKERS, and go on with --resume"
    )


def _worth_a_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or (input_error_line(error) or _lost_process_line(error)) is None


def _terminate(*_: object) -> None:
    raise Terminated


def _end_as_ever() -> None:
    """In a child that was forked: pools end theirs by SIGTERM, wherever these are."""
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_end_as_ever)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, by an exception that files and children are closed by;
    a training has a handler of its own meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool's main function and leave the process with the right exit code."""
    # The training loop logs a traceback of what is told in one line here.
    logging.getLogger("detectron2.engine.train_loop").addFilter(_worth_a_traceback)
    # PyTorch tells of a lost worker in a signal's handler, also while a line is logged.
    logging.raiseExceptions = False
    try:
        with _terminable():
            main()
    except ShareDone as done:
        print(done)
    except Exception as error:
        line, code = input_error_line(error), EXIT_BAD_INPUT
        if line is None:
            line, code = _lost_process_line(error), EXIT_LOST_WORKER
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(code)
    except Terminated:
        print("terminated; what was written so far is kept", file=sys.stderr)
        sys.exit(EXIT_TERMINATED)
    except KeyboardInterrupt:
        print("interrupted; what was written so far is kept", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def labeling_parser(doc: str, *, config_required: bool = True) -> argparse.ArgumentParser:
    """The options of all tools that label a data set by a trained model; ``doc`` is the tool's."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    add = parser.add_argument
    add("--config-file", required=config_required, metavar="FILE", help="of the trained model")
    add("--dataset", help="default: the first of DATASETS.TRAIN")
    add_jobs(parser)
    add_machines(parser)
    add("--skip-bad", action="store_true", help="go on after unreadable images")
    add("--overwrite", action="store_true", help="replace the output")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    return parser


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """The option of the tools that share their images among processes."""
    told = "processes that share the images, one a GPU (default: 1)"
    parser.add_argument("--jobs", default=1, type=int, metavar="N", help=told)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """The options of the tools that run pipelines."""
    add_jobs(parser)
    told = "processes of each training and evaluation, one a GPU (default: 1)"
    parser.add_argument("--num-gpus", default=1, type=int, metavar="N", help=told)


def processes_of(arguments: argparse.Namespace) -> dict[str, int]:
    """What the options of :func:`add_processes` say, as a pipeline calls it.

    Raises:
        InputError: there is no process.
    """
    if arguments.num_gpus < 1:
        raise InputError(f"--num-gpus {arguments.num_gpus}: expected 1 or more")
    return {"jobs": arguments.jobs, "processes": arguments.num_gpus}


def add_machines(parser: argparse.ArgumentParser) -> None:
    """The options of the tools that share their images among machines."""
    add = parser.add_argument
    told = "machines that share the images, with the same --output in a folder that all see"
    add("--num-machines", default=1, type=int, metavar="N", help=f"{told} (default: 1)")
    add("--machine-rank", default=0, type=int, metavar="K", help="of this machine, from 0")


def machines_of(arguments: argparse.Namespace) -> Machines:
    """What the options of :func:`add_machines` say."""
    return Machines(arguments.num_machines, arguments.machine_rank)


def sharing(arguments: argparse.Namespace) -> dict[str, Any]:
    """Who shares the images, and whether bad ones are left out, as ``LabelingRun.open`` takes it,
    of a tool with the options of :func:`labeling_parser`."""
    machines = machines_of(arguments)
    return {"jobs": arguments.jobs, "skip_bad": arguments.skip_bad, "machines": machines}


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which trained model a tool uses; :func:`model_config` makes a configuration of them."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--run", metavar="FOLDER", help="the OUTPUT_DIR of a training")
    model.add_argument("--config-file", metavar="FILE", help="of the trained model")
    parser.add_argument("--weights", metavar="W", help="in place of the last checkpoint")


def model_config(arguments: argparse.Namespace) -> CfgNode:
    """The configuration of that model, with its weights and the ``KEY VALUE`` pairs of ``opts``."""
    overrides = list(arguments.opts)
    if arguments.weights:
        overrides += [WEIGHTS, arguments.weights]
    if arguments.run:
        return load_run_config(arguments.run, overrides)
    return with_trained_weights(load_config(arguments.config_file, overrides), overrides)


def parse_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What the command line says, with at least one job."""
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs}: expected 1 or more")
    machines, rank = getattr(arguments, "num_machines", 1), getattr(arguments, "machine_rank", 0)
    if not 0 <= rank < machines:
        raise InputError(
            f"--num-machines {machines} --machine-rank {rank}: expected 1 or more, and a rank from "
            "0 to below it"
        )
    return arguments


def labeling_config(arguments: argparse.Namespace) -> tuple[CfgNode, str]:
    """The configuration, checked and with trained weights, and the data set that is labelled."""
    cfg = load_config(arguments.config_file, arguments.opts)
    check_config(cfg)
    cfg = with_trained_weights(cfg, arguments.opts)
    name = arguments.dataset or (cfg.DATASETS.TRAIN or ("",))[0]
    return cfg, register_subset(name, cfg.DATASETS.SUBSET)
