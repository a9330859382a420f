"""How large what crosses a cut really is: learnt from the frames that were sent. Pure.

A JPEG, and what zstd makes of a tensor, is as large as the picture is rich. The profile has seen
other pictures than the camera: half as large again, at 1 Mbit/s, are 30 ms that no estimate of the
link explains. What is learnt holds for that cut and codec alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
import math
import statistics

WINDOW = 15         # frames behind the median
MIN_FRAMES = 3      # fewer say nothing
STEP = 1.04         # the median has to be off by so much before another ratio is told
RANGE = (0.1, 10.0)  # of ratios: what is beyond is another picture than the network's

Sent = tuple[str, str]  # identity of the cut, codec


class Sizes:
    """Ratios of sent to profiled bytes."""

    def __init__(self) -> None:
        self._seen: dict[Sent, deque[float]] = {}
        self._told: dict[Sent, float] = {}

    def reset(self) -> None:
        """Another profile: its sizes are others."""
        self._seen.clear()
        self._told = {}

    def add(self, sent: Sent, nbytes: float, profiled_bytes: float) -> None:
        """Take a frame that was sent.

        Args:
            sent: What crossed.
            nbytes: Its size; 0 = not known.
            profiled_bytes: By the profile; 0 = not known.
        """
        if nbytes <= 0.0 or profiled_bytes <= 0.0:
            return
        ratio = nbytes / profiled_bytes
        if not RANGE[0] <= ratio <= RANGE[1]:
            return
        seen = self._seen.setdefault(sent, deque(maxlen=WINDOW))
        seen.append(ratio)
        if len(seen) < MIN_FRAMES:
            return
        median = statistics.median(seen)
        if abs(math.log(median / self._told.get(sent, 1.0))) > math.log(STEP):
            self._told = {**self._told, sent: median}

    @property
    def ratios(self) -> Mapping[Sent, float]:
        """Of what was sent often enough and differs; not to be changed."""
        return self._told
