"""How large what crosses a cut really is: learnt from the frames that were sent. Pure.

A JPEG, and what zstd makes of a tensor, is as large as the picture is rich. The profile has seen
other pictures than the camera: half as large again, at 1 Mbit/s, are 30 ms that no estimate of the
link explains. What is learnt holds for that cut and codec alone, and fades when no such frame is
sent any more: only those could tell that the pictures have become plain again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
import math
import statistics

from dnn_offload.planning.plan import Sent

WINDOW = 15          # frames behind the median
MIN_FRAMES = 3       # fewer say nothing
STEP = 1.04          # ratios are told in steps, so that a few percent are no news
RANGE = (0.1, 10.0)  # of ratios: what is beyond is another picture than the network's
FRESH_S = 20.0       # after the last frame what was learnt fades,
HALF_LIFE_S = 300.0  # as a power of the ratio


class Sizes:
    """Ratios of sent to profiled bytes.

    Attributes:
        ratios: Of what was sent often enough and differs, as of the last ``tick``; not to be
            changed.
    """

    def __init__(self) -> None:
        self.ratios: Mapping[Sent, float] = {}
        self._seen: dict[Sent, deque[float]] = {}
        self._at_s: dict[Sent, float] = {}

    def reset(self) -> None:
        """Another profile: its sizes are others."""
        self._seen.clear()
        self._at_s.clear()
        self.ratios = {}

    def add(self, sent: Sent, nbytes: float, profiled_bytes: float, now_s: float) -> None:
        """Take a frame that was sent.

        Args:
            sent: What crossed.
            nbytes: Its size; 0 = not known.
            profiled_bytes: By the profile; 0 = not known.
            now_s: Monotonic clock [s].
        """
        if nbytes <= 0.0 or profiled_bytes <= 0.0:
            return
        ratio = nbytes / profiled_bytes
        if RANGE[0] <= ratio <= RANGE[1]:
            self._seen.setdefault(sent, deque(maxlen=WINDOW)).append(ratio)
            self._at_s[sent] = now_s

    def tick(self, now_s: float) -> None:
        """Reckon ``ratios`` anew."""
        made = {}
        for sent, seen in self._seen.items():
            if len(seen) < MIN_FRAMES:
                continue
            fresh = 0.5 ** (max(now_s - self._at_s[sent] - FRESH_S, 0.0) / HALF_LIFE_S)
            log_ratio = fresh * math.log(statistics.median(seen))
            # What was told stays until it is off by a step.
            told = math.log(self.ratios.get(sent, 1.0))
            if abs(log_ratio - told) > math.log(STEP):
                told = log_ratio
            if abs(log_ratio) > 0.5 * math.log(STEP):
                made[sent] = math.exp(told)
        if made != self.ratios:
            self.ratios = made
