"""What a stage is made from, key by key, and what of it is not as it was."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

WIDTH = 60  # letters of a value that are printed
SHOWN = 8  # changes of a stage that are printed, before they are only counted
NOT_READ, NOT_MADE = "not read", "not made yet"  # in place of the hash of a product


@dataclass(frozen=True)
class Found:
    """What a stage's folder says that it was made, or begun, from.

    Attributes:
        config: values by key; None where an older version wrote down their hash alone.
        data: state of each part; None likewise.
        inputs: hash of each product of an earlier stage, by the stage's name.
        finished: whether the stage is.
        instead_of: the folder that was moved aside for it; "" for the first.
    """

    config: Mapping[str, object] | None
    data: Mapping[str, str] | None
    inputs: Mapping[str, str]
    finished: bool
    instead_of: str = ""

    @property
    def not_compared(self) -> str:
        """What an older version did not write down; "" if it is all there."""
        missing = {"configuration": self.config, "data": self.data}
        names = " and ".join(name for name, values in missing.items() if values is None)
        return f"written by an older version, {names} not compared" if names else ""


@dataclass(frozen=True)
class Change:
    """Something that is not as it was.

    Attributes:
        stage: whose product it is; "" for configuration and data.
    """

    what: str
    before: object
    now: object
    stage: str = ""

    def __str__(self) -> str:
        return f"{self.what} was {_shown(self.before)}, is {_shown(self.now)}"


@dataclass(frozen=True)
class Sources:
    """What a stage is made from now.

    Attributes:
        config: all that the pipeline and its configurations say of it, by key; JSON values.
        data: state of each part of the data that no stage makes.
        inputs: hash of each product of an earlier stage, by the stage's name.
        counted: the keys that its product depends on.
        defaults: of the keys, for records of versions that had fewer.
        models: stages whose names are in front of the keys, where there are several.
    """

    config: Mapping[str, object]
    data: Mapping[str, str]
    inputs: Mapping[str, str]
    counted: Collection[str] = field(default=())
    defaults: Mapping[str, object] = field(default_factory=dict)
    models: Collection[str] = ()

    @property
    def content(self) -> dict[str, Mapping]:
        """What is written down: all keys, as what counts may change."""
        return {"config": self.config, "data": self.data, "inputs": self.inputs}

    def changes(self, found: Found, *, pending: Collection[str] = ()) -> list[Change]:
        """What that counts is not as a run found it.

        A key that the record does not have was at its default; one that the configuration does not
        have any more does not count.

        Args:
            pending: stages whose products are not made yet: theirs are left out, if they were read.
        """
        changes = [] if found.config is None else list(self._of_config(found.config))
        changes += [] if found.data is None else _of_data(self.data, found.data)
        return [*changes, *_of_inputs(self.inputs, found.inputs, pending)]

    def _of_config(self, before: Mapping[str, object]) -> Iterator[Change]:
        named = {key.partition(".")[0] for key in before}
        new = set(self.models) - named  # told as a product that was not read
        for key in self.counted:
            if key.partition(".")[0] in new:
                continue
            was = before.get(key, self.defaults.get(key))
            if was != self.config[key]:
                yield Change(key, was, self.config[key])


def _of_data(now: Mapping[str, str], before: Mapping[str, str]) -> list[Change]:
    """Of the parts that both know: what a stage makes in place of one is among the inputs."""
    return [
        Change(part, before[part], state)
        for part, state in now.items()
        if part in before and before[part] != state
    ]


def _of_inputs(
    now: Mapping[str, str], before: Mapping[str, str], pending: Collection[str]
) -> list[Change]:
    now = {**now, **{name: before.get(name, NOT_MADE) for name in pending}}
    return [
        Change(f"product of {name}", before.get(name, NOT_READ), now.get(name, NOT_READ), name)
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def described(changes: Sequence[Change]) -> list[str]:
    """A line for each of the first changes, and how many more there are."""
    lines = [str(change) for change in changes[:SHOWN]]
    more = len(changes) - SHOWN
    return [*lines, f"and {more} more"] if more > 0 else lines


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."
