"""When the server will be free for the next frame of ours. Pure, clocks are passed in.

Where the server is the slowest stage, a frame that is sent as soon as the link is free waits in
its queue while newer pictures come. Sent one service time after the one before, it arrives just
when its turn comes, with a picture that is newer by that wait. What the way takes cancels out: it
is the same for each frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable

from dnn_offload.runtime.timing import quantile

KEPT_ANSWERS = 15
KEPT_FRAMES = 32  # sent and not answered
ENOUGH = 3        # answers under a plan: before, frames go as soon as the link is free
# Of the quarter of the answers that took least: too early costs a short wait in the queue, too
# late costs results.
EARLY_SHARE = 0.9


class ServerPace:
    """Paces frames that one server computes one after another; not thread-safe."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._busy_ms: deque[float] = deque(maxlen=KEPT_ANSWERS)
        self._sent_s: dict[int, float] = {}  # in order of frames
        self._free_s = float('-inf')  # it has served what is answered, as seen from the sending

    def sent(self, frame_seq: int, key: Hashable, now_s: float) -> None:
        """A frame goes.

        Args:
            frame_seq: Its number.
            key: Server and plan: what decides on the time that the server needs.
            now_s: Steady clock [s].
        """
        if key != self._key:
            self._key, self._free_s = key, float('-inf')
            self._busy_ms.clear()
            self._sent_s.clear()
        self._sent_s[frame_seq] = now_s
        if len(self._sent_s) > KEPT_FRAMES:
            del self._sent_s[next(iter(self._sent_s))]

    def answered(self, frame_seq: int, queue_ms: float, busy_ms: float) -> None:
        """An answer came: what its frame waited at the server, and kept it busy [ms]."""
        sent_s = self._sent_s.get(frame_seq)
        self._sent_s = {seq: at for seq, at in self._sent_s.items() if seq > frame_seq}
        if sent_s is None or not 0.0 <= queue_ms + busy_ms < float('inf'):
            return
        self._busy_ms.append(busy_ms)
        self._free_s = sent_s + 1e-3 * (queue_ms + busy_ms)

    def free_ms(self, key: Hashable, in_flight: Collection[int], now_s: float) -> float:
        """Time until a frame that is sent then finds the server free [ms]; 0 while unknown.

        Args:
            key: As in ``sent``, of the frame that would be next.
            in_flight: Frames whose answers are awaited.
            now_s: Steady clock [s].
        """
        if key != self._key or len(self._busy_ms) < ENOUGH:
            return 0.0
        busy_s = 1e-3 * EARLY_SHARE * quantile(self._busy_ms, 0.25)
        free_s = self._free_s
        for seq, sent_s in self._sent_s.items():
            if seq in in_flight:
                free_s = max(free_s, sent_s) + busy_s
        return max(1e3 * (free_s - now_s), 0.0)
