"""How often pictures come, by the frames that entered: what waiting is reckoned with. Pure."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
import math
import statistics

WINDOW = 24          # frames behind the period
LEAST_SPAN = 6       # between the first and the last of them
LONGEST_MS = 5000.0  # pictures that come more rarely wait for nothing


class FramePeriod:
    """Usual time between acquisitions; not thread-safe.

    A frame's number counts all that entered, so frames that were never reported do not matter,
    nor the order of the reports.
    """

    def __init__(self) -> None:
        self._frames: deque[tuple[int, float]] = deque(maxlen=WINDOW)

    def add(self, frame_seq: int, stamp_s: float) -> None:
        """Take a frame that has ended.

        Args:
            frame_seq: Its number, from 1; 0 = not said.
            stamp_s: Its acquisition.
        """
        if frame_seq <= 0 or not math.isfinite(stamp_s):
            return
        last, last_s = self._frames[-1] if self._frames else (0, math.inf)
        if frame_seq < last - WINDOW or (frame_seq < last and stamp_s > last_s):
            self._frames.clear()  # another life of the inference process
        self._frames.append((frame_seq, stamp_s))

    @property
    def period_ms(self) -> float:
        """Between two pictures [ms]; 0 = not known: too few, or stamps that say nothing."""
        if not self._frames:
            return 0.0
        frames = sorted(self._frames)
        if frames[-1][0] - frames[0][0] < LEAST_SPAN:
            return 0.0
        # The median: a pause of the camera, or a step of its clock, is no rate.
        period_ms = 1e3 * statistics.median(
            (later_s - stamp_s) / (later - seq)
            for (seq, stamp_s), (later, later_s) in pairwise(frames) if later > seq
        )
        return period_ms if 0.0 < period_ms <= LONGEST_MS else 0.0
