"""Processes that train or evaluate together: how they are started, and how they meet.

Each knows its place by the environment variables that ``torchrun`` sets, whoever starts it. They
meet over NCCL where the model is on GPUs, one for each, and else over gloo.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import torch
import torch.multiprocessing as mp
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from bestie_d2.engine.command_line import EXIT_INTERRUPTED, EXIT_TERMINATED, STOPPED_BY, Terminated
from bestie_d2.errors import InputError
from bestie_d2.storage.processes import end_with_parent

RANK, WORLD_SIZE = "RANK", "WORLD_SIZE"  # of all processes
LOCAL_RANK, LOCAL_WORLD_SIZE = "LOCAL_RANK", "LOCAL_WORLD_SIZE"  # of those of this machine
ADDRESS, PORT = "MASTER_ADDR", "MASTER_PORT"  # where the first process waits for the others
RESTARTS = "TORCHELASTIC_RESTART_COUNT"  # of torchrun, by each machine's own count
MOST_RESTARTS, MACHINES = "TORCHELASTIC_MAX_RESTARTS", "GROUP_WORLD_SIZE"  # of torchrun too
NEW_STORES = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # "1": another place for each start
AGENTS_STORE = "TORCHELASTIC_USE_AGENT_STORE"  # "True" where torchrun itself has the place to meet
STARTED = {RANK, WORLD_SIZE, ADDRESS, PORT}
AUTO = "auto"  # --dist-url: any free port of this machine
THIS_MACHINE = "127.0.0.1"


def launch(work: Callable[[Namespace], None], arguments: Namespace) -> None:
    """Do the work in this process, if ``torchrun`` or its like has started it or if no other is
    wanted; else in ``--num-gpus`` new ones, on each of ``--num-machines`` that get the command.

    Args:
        work: a function of a module, since it travels to other processes; it joins the others by
            :func:`joined`.
        arguments: with those of Detectron2's ``default_argument_parser``.

    Raises:
        InputError: the flags do not fit each other or the machine.
        Terminated, KeyboardInterrupt: SIGTERM or Ctrl-C came, and all processes have ended.
    """
    count, machines = arguments.num_gpus, arguments.num_machines
    if os.environ.keys() >= STARTED:
        if (count, machines) != (1, 1):
            raise InputError(
                "--num-gpus and --num-machines: the processes are started from outside (RANK and "
                "WORLD_SIZE are set, as by torchrun), so leave them out"
            )
        work(arguments)
        return
    if count < 1 or not 0 <= arguments.machine_rank < machines:
        raise InputError(
            f"--num-gpus {count} --num-machines {machines} --machine-rank {arguments.machine_rank}:"
            " expected 1 or more of both, and a rank from 0 to below the number of machines"
        )
    if torch.cuda.is_available() and count > torch.cuda.device_count():
        raise InputError(f"--num-gpus {count}: this machine has {torch.cuda.device_count()}")
    if count * machines == 1:
        work(arguments)
        return
    address, port = _meeting_place(arguments.dist_url, machines)
    places = {WORLD_SIZE: count * machines, LOCAL_WORLD_SIZE: count, ADDRESS: address, PORT: port}
    first = count * arguments.machine_rank
    context = mp.spawn(_start, (work, arguments, places, first), nprocs=count, join=False)
    _wait_for(context)


def _meeting_place(url: str, machines: int) -> tuple[str, int]:
    """Address and port that ``--dist-url`` names."""
    if url == AUTO and machines == 1:
        with socket.create_server((THIS_MACHINE, 0)) as free:
            return THIS_MACHINE, free.getsockname()[1]
    parts = urlsplit(url)
    try:
        if parts.scheme == "tcp" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:
        pass  # a port that is no number
    raise InputError(
        f"--dist-url {url}: expected tcp://HOST:PORT, a free port of the machine of rank 0, the "
        "same on all machines"
    )


def _start(
    number: int,
    work: Callable[[Namespace], None],
    arguments: Namespace,
    places: dict[str, str | int],
    first: int,
) -> None:
    places = {**places, RANK: first + number, LOCAL_RANK: number}
    os.environ.update({name: str(value) for name, value in places.items()})
    end_with_parent()
    torch.set_num_threads(max(1, torch.get_num_threads() // arguments.num_gpus))
    try:
        work(arguments)
    except KeyboardInterrupt as stopped:  # PyTorch would take it for a good end
        sys.exit(EXIT_TERMINATED if isinstance(stopped, Terminated) else EXIT_INTERRUPTED)


def _wait_for(context: mp.SpawnContext) -> None:
    """Wait until all processes have ended; what would stop this one is handed on to them. They end
    so too where another machine was told."""
    told: list[int] = []
    of_code = {EXIT_TERMINATED: signal.SIGTERM, EXIT_INTERRUPTED: signal.SIGINT}

    def hand_on(signum: int, _: object) -> None:
        told.append(signum)
        for process in context.processes:
            if process.is_alive():
                os.kill(process.pid, signum)

    before = {number: signal.signal(number, hand_on) for number in STOPPED_BY}
    try:
        while not context.join():
            pass
    except mp.ProcessExitedException as error:
        told += [of_code[error.exit_code]] if error.exit_code in of_code else []
        if not told:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        raise Terminated if signal.SIGTERM in told else KeyboardInterrupt


def _check_restarts() -> None:
    """Refuse restarts over machines in a place of torchrun's, which lasts: each machine counts its
    own, so after one they would wait for each other under different names."""
    several = int(os.environ.get(MACHINES, 1)) > 1 and int(os.environ.get(MOST_RESTARTS, 0)) > 0
    lasts = os.environ.get(AGENTS_STORE) == "True" and os.environ.get(NEW_STORES) != "1"
    if several and lasts:
        raise InputError(
            f"torchrun --max-restarts on several machines: set {NEW_STORES}=1 where it is started "
            "on each, or they may wait for each other for ever after a restart"
        )


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Work together with the other processes, if there are any, in the block.

    Args:
        device: of the model, ``MODEL.DEVICE``.

    Raises:
        InputError: there is no GPU for this process, or the others are not met.
    """
    if not (os.environ.keys() >= STARTED and int(os.environ[WORLD_SIZE]) > 1):
        yield
        return
    rank, total = int(os.environ[RANK]), int(os.environ[WORLD_SIZE])
    local, here = int(os.environ.get(LOCAL_RANK, 0)), int(os.environ.get(LOCAL_WORLD_SIZE, 1))
    on_gpu = torch.device(device).type == "cuda"
    _check_restarts()
    if on_gpu:
        if torch.device(device).index is not None:
            raise InputError(
                f"MODEL.DEVICE is {device!r}, but each of {total} processes takes a GPU of its own:"
                " set it to 'cuda'"
            )
        if local >= torch.cuda.device_count():
            found = torch.cuda.device_count()
            raise InputError(f"{here} processes want a GPU each, this machine has {found}")
        torch.cuda.set_device(local)
    try:
        store, *_ = next(rendezvous("env://", timeout=DEFAULT_TIMEOUT))
        if os.environ.get(AGENTS_STORE) == "True":  # with addresses of those that have ended
            store = distributed.PrefixStore(f"start_{os.environ[RESTARTS]}", store)
        distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store,
            rank=rank,
            world_size=total,
            timeout=DEFAULT_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ[ADDRESS]}:{os.environ[PORT]}"
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"process {rank} of {total} does not meet the others at {where}: {reason}"
        ) from error
    for start in range(0, total, here):  # every process has to make all groups
        group = distributed.new_group(list(range(start, start + here)))
        if start <= rank < start + here:
            comm._LOCAL_PROCESS_GROUP = group
    comm.synchronize()
    yield
    # Not where the block fails: the others, which still wait for this process, could hold it.
    distributed.destroy_process_group()
