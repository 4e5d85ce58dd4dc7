"""The line of losses that a training prints, also where it was stopped right after it."""

from __future__ import annotations

from detectron2.utils.events import CommonMetricPrinter, get_event_storage


class ProgressPrinter(CommonMetricPrinter):
    """Detectron2's own, but for a second line of an iteration in a training's first steps.

    Those are not timed, so it counts on the iterations since its last line; where there are none,
    as in a training that is stopped right after one, it would divide by zero.
    """

    def write(self) -> None:
        if self._last_write is None or self._last_write[0] != get_event_storage().iter:
            super().write()
