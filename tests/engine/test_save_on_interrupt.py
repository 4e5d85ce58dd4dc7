from __future__ import annotations

import signal
from types import SimpleNamespace

from bestie_d2.engine.save_on_interrupt import SaveOnInterrupt


def test_after_the_last_step_a_signal_acts_at_once():
    """The last weights are saved, and the evaluation that follows has no step to wait for."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = SaveOnInterrupt()
    hook.before_train()
    for iteration, waits in ((0, True), (1, False)):
        hook.trainer = SimpleNamespace(iter=iteration, max_iter=2)
        hook.after_step()
        for number, handler in before.items():
            assert (signal.getsignal(number) != handler) == waits
