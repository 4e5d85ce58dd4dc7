from __future__ import annotations

import logging

from detectron2.utils.events import EventStorage

from bestie_d2.engine.progress_printer import ProgressPrinter


def test_an_iteration_is_told_once_where_none_was_timed(caplog):
    """A training stopped right after its line writes once more; no step of it was timed."""
    caplog.set_level(logging.INFO)
    printer = ProgressPrinter(10)
    with EventStorage(4) as storage:
        printer.write()
        printer.write()
        storage.step()
        printer.write()
    told = [record.getMessage().split("iter: ")[1].split()[0] for record in caplog.records]
    assert told == ["4", "5"]
    assert "eta: 0:00:00" in caplog.records[1].getMessage()
