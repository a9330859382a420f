"""How many frames in work at a time are of use: as many as keep the slowest stage busy.

A frame holds one stage at a time; with stages that take s_1..s_n, ``n_frames`` in work give
min(n_frames / sum(s), 1 / max(s)) results per second. More of them only wait, and make results
older. So the window follows what the stages take, below the user's limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
import math
import statistics

from dnn_offload.runtime.frames import StageTimes

REMEMBERED = 9       # answers
LEAST = 2            # the next head is made while the last answer is on its way
BUSY_SHARE = 0.95    # of its time the slowest stage shall be busy


def useful_window(stages_ms: Sequence[float]) -> int:
    """Frames that keep the slowest stage busy.

    Args:
        stages_ms: Time of a frame at each place that takes one at a time.
    """
    slowest_ms = max(stages_ms, default=0.0)
    if slowest_ms <= 0.0:
        return LEAST
    return max(math.ceil(BUSY_SHARE * sum(stages_ms) / slowest_ms), LEAST)


class StageWatch:
    """What the stages took lately, of one plan. Written by one thread, read by any."""

    def __init__(self) -> None:
        self._epoch = -1
        self._lately: deque[tuple[float, ...]] = deque(maxlen=REMEMBERED)
        self._useful = LEAST

    def note(self, epoch: int, times: StageTimes) -> None:
        """A frame was answered."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._lately.clear()
        self._lately.append((
            times.preprocess_ms + times.head_ms + times.encode_ms + times.rest_ms,
            times.uplink_ms, times.decode_ms + times.tail_ms, times.downlink_ms,
            times.finish_ms,
        ))
        middle = [statistics.median(stage) for stage in zip(*self._lately, strict=True)]
        self._useful = useful_window(middle)

    def window(self, most: int) -> int:
        """Frames in work that are of use now, at most ``most``."""
        return min(self._useful, most)
