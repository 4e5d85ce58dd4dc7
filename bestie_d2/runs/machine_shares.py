"""Several machines that label one data set, each a share of its images, through a shared folder.

The machine of rank 0 begins the unfinished results, beside the output; the others put theirs there.
A share is locked by who works on it. When its own is done, the first machine takes those of the
others, one after the other: it waits for their locks, which end with them, does what is left, as of
a machine that was lost or never came, and writes the output.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from bestie_d2.errors import InputError
from bestie_d2.storage.processes import InUse, only_run_for
from bestie_d2.storage.results import Results

SECONDS_BETWEEN_LOOKS = 1.0  # for what another machine does
SECONDS_TO_BEGIN = 600.0  # that the others give the first one


class ShareDone(Exception):
    """A machine that is not the first one has done its share; it is no error."""

    def __init__(self, machine: int, machines: int, output: str) -> None:
        done = f"the share of machine {machine} of {machines} is done"
        super().__init__(f"{done}; the machine of rank 0 writes {output}")


@contextmanager
def turn(output: str, share: int, machines: int, machine: int) -> Iterator[None]:
    """Be the only machine that works on a share while the block does; the first one waits for those
    that work on another than its own.

    Args:
        share: its number, that of the machine whose it is.
        machines, machine: how many there are, and the rank of this one.
    """
    with ExitStack() as held:
        for looks in itertools.count():
            try:
                if machines > 1:
                    held.enter_context(only_run_for(f"{output}.share-{share}-of-{machines}"))
                break
            except InUse as error:
                if machine == share:
                    raise
                if looks == 0:
                    print(f"waiting for machine {share}: {error}", flush=True)
                time.sleep(SECONDS_BETWEEN_LOOKS)
        yield


def wait_until_begun(results: Results, settings: Mapping[str, Any]) -> None:
    """Wait for the first machine to begin results of these settings; ``InputError`` if it does not
    in ``SECONDS_TO_BEGIN``."""
    wanted, end = json.loads(json.dumps(settings)), time.monotonic() + SECONDS_TO_BEGIN
    while results.settings != wanted:
        if time.monotonic() > end:
            raise InputError(
                f"--output {results.output}: the machine of rank 0 has begun nothing of these "
                f"options there in {SECONDS_TO_BEGIN:g} s; begin it, with the same options, in a "
                "folder that both see"
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)
