"""Which server counts as lost: unanswered frames against what was heard meanwhile. Pure.

One lost message on a radio is no lost server. A frame that is not answered in time costs
nothing but its rescue, so the next one may try again; the second miss in a row within
``MEMORY_S`` decides, that is, with no later frame answered in time between them. At once
decides a server that was silent since the frame was sent (it is dead, or out of reach), and a
frame that could not be rescued in time (a second one would cost a result).
"""

from __future__ import annotations

MEMORY_S = 2.0  # a miss is remembered for so long
MAX_FRAMES = 64  # frames whose server is remembered; more are never in flight


class Misses:
    """Misses per server. Not thread-safe: the engine's lock guards it."""

    def __init__(self) -> None:
        self._sent: dict[int, tuple[str, float]] = {}  # frame: server, when; in order of seq
        self._heard_s: dict[str, float] = {}
        self._missed: dict[str, tuple[int, float]] = {}  # the last one: frame, when

    def sent(self, frame_seq: int, server: str, now_s: float) -> None:
        """A frame is handed to the uplink."""
        self._sent[frame_seq] = (server, now_s)
        while len(self._sent) > MAX_FRAMES:
            del self._sent[next(iter(self._sent))]

    def heard(self, frame_seq: int, now_s: float) -> None:
        """Something came back for a frame, however late: ack, answer or refusal."""
        if frame_seq in self._sent:
            self._heard_s[self._sent[frame_seq][0]] = now_s

    def answered(self, frame_seq: int) -> None:
        """An answer was in time: the server keeps up again, older misses count no more."""
        if frame_seq in self._sent:
            server = self._sent[frame_seq][0]
            if self._missed.get(server, (frame_seq, 0.0))[0] < frame_seq:
                del self._missed[server]

    def missed(self, frame_seq: int, now_s: float, rescue_fits: bool) -> str:
        """A frame was not answered in time.

        Args:
            frame_seq: The frame.
            now_s: Steady clock [s].
            rescue_fits: Whether its rescue is in time for the deadline.

        Returns:
            Why its server counts as lost now; '' if it does not.
        """
        if frame_seq not in self._sent:
            return ''
        server, sent_s = self._sent[frame_seq]
        doubted = self.doubted(server, now_s)
        self._missed[server] = (frame_seq, now_s)
        if doubted:
            return f'no answer to frame {frame_seq} in time, the second in a row'
        if self._heard_s.get(server, float('-inf')) < sent_s:
            return f'nothing heard since frame {frame_seq} was sent'
        if not rescue_fits:
            return f'no answer to frame {frame_seq} in time, and no time to finish it here'
        return ''

    def doubted(self, server: str, now_s: float) -> bool:
        """Whether the next miss of a server decides."""
        return now_s - self._missed.get(server, (0, float('-inf')))[1] <= MEMORY_S

    def forget(self, server: str) -> None:
        """A server was lost, or has come back: it starts anew."""
        self._missed.pop(server, None)
