"""Several machines that label one data set, each a share of its images, through a shared folder.

The machine of rank 0 begins the unfinished results, beside the output; the others put theirs there.
A share is locked by who works on it. When its own is done, the first machine takes those of the
others, one after the other: it waits for their locks, which end with them, does what is left, as of
a machine that was lost or never came, and writes the output.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from bestie_d2.errors import InputError
from bestie_d2.storage.processes import InUse, only_run_for
from bestie_d2.storage.results import Results

SECONDS_BETWEEN_LOOKS = 1.0  # for what another machine does
SECONDS_TO_BEGIN = 600.0  # that the others give the first one

Item = TypeVar("Item")


class ShareDone(Exception):
    """A machine that is not the first one has done its share; it is no error."""


@dataclass(frozen=True)
class Machines:
    """Those that share the images of an output, and which of them this one is."""

    count: int = 1
    rank: int = 0

    def results(self, output: str | os.PathLike) -> Results:
        """The unfinished results that all of them put their own to."""
        return Results(output, shared=self.count > 1)

    def share_of(self, items: Sequence[Item], number: int) -> Sequence[Item]:
        return items[number :: self.count]

    def first_alone(self, lock: AbstractContextManager[None]) -> AbstractContextManager[None]:
        """The lock of the output is the first machine's; the others have those of their shares."""
        return nullcontext() if self.rank else lock

    @contextmanager
    def sharing(self, output: str | os.PathLike, do: Callable[[int], None]) -> Iterator[None]:
        """On the first machine, have all shares done, and keep them, while the block does.

        Args:
            do: does what is left of a share, by its number, that of the machine whose it is.

        Raises:
            ShareDone: this is another machine; its own share is done, and the rest is not its.
            InUse: another machine works on the share of this one.
        """
        if self.rank:
            with self._turn(output, self.rank):
                do(self.rank)
            done = f"the share of machine {self.rank} of {self.count} is done"
            raise ShareDone(f"{done}; the machine of rank 0 writes {output}")
        with ExitStack() as held:
            for share in range(self.count):
                held.enter_context(self._turn(output, share))
                do(share)
            yield

    @contextmanager
    def _turn(self, output: str | os.PathLike, share: int) -> Iterator[None]:
        """Be the only machine that works on a share while the block does; the first one waits for
        those that work on another than its own."""
        with ExitStack() as held:
            for looks in itertools.count():
                try:
                    if self.count > 1:
                        held.enter_context(only_run_for(f"{output}.share-{share}-of-{self.count}"))
                    break
                except InUse as error:
                    if self.rank == share:
                        raise
                    if looks == 0:
                        print(f"waiting for machine {share}: {error}", flush=True)
                    time.sleep(SECONDS_BETWEEN_LOOKS)
            yield


ONE_MACHINE = Machines()


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
