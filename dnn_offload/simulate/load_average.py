"""The kernel's load average over one minute, made from how many processes want to run. Pure.

Linux averages every 5 s: ``L <- L * e + n * (1 - e)`` with ``e = exp(-5/60)`` and ``n`` the
runnable tasks at that moment (kernel/sched/loadavg.c). For a constant ``n`` from 0 that is
``L(t) = n * (1 - exp(-t/60))``: 63 % after a minute, which is why a plan made from it is a
minute late both ways.
"""

from __future__ import annotations

import math

PERIOD_S = 5.0
MINUTE_S = 60.0
_KEEP = math.exp(-PERIOD_S / MINUTE_S)
CALM = 1.25     # below this slow-down, a machine with several cores has idle ones


class LoadAverage:
    """Fed with time and runnable tasks, gives the average; clocks are passed in.

    Args:
        value: Average at the beginning.
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = value
        self._due_s = PERIOD_S

    def update(self, now_s: float, runnable: float) -> float:
        """Take how many tasks want to run now, seconds after the beginning; the average."""
        while now_s >= self._due_s - 1e-9:
            self.value = self.value * _KEEP + runnable * (1.0 - _KEEP)
            self._due_s += PERIOD_S
        return self.value


def runnable(edge_load: float, own_share: float, cores: int) -> float:
    """Tasks that want to run on a machine that slows us down so much.

    With ``n`` others, ours takes ``(n + 1) / cores`` times as long (``RunnableFactor``), hence
    ``n = cores * edge_load - 1``. Towards 1 the others fade out: where there are idle cores, a
    slow-down no longer tells how many are busy.

    Args:
        edge_load: Slow-down of the robot.
        own_share: Of the time, so much of it our inference computes or waits to, 0 .. 1.
        cores: Of the robot.
    """
    others = max(cores * edge_load - 1.0, 0.0)
    known = min(max((edge_load - 1.0) / (CALM - 1.0), 0.0), 1.0)
    return others * known + own_share
