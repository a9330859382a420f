"""The frame table: where every open frame is, and that each ends in exactly one outcome.

Pure bookkeeping, thread-safe, no clock and no thread of its own. Rules that it keeps, whoever
calls in whatever order:

* ``entered == remote + local + rescued + dropped + in_flight`` after every call;
* at most one frame waits: a newer one supersedes it;
* results are published in strictly increasing order of frame, and of stamp but where a camera's
  clock was set back (``STAMP_RESET_S``); publishing a frame ends every older open one as
  ``no_answer``;
* a call for a frame that has already ended (or is elsewhere) changes nothing and says so by
  ``None`` or ``False``; an answer for an ended frame is counted as late.
"""

from __future__ import annotations

from collections import Counter, deque
import threading
from typing import Any

import numpy as np

from dnn_offload.runtime.frames import Counters, EndedFrame, Frame, PictureSource, Stage
from dnn_offload.runtime.outcomes import DropReason, Outcome

# A stamp that jumps back by more than this is a restarted clock or a looped recording, not
# disorder: frames go on from the new stamp instead of being dropped until it catches up.
STAMP_RESET_S = 1.0


class FrameTable:
    """Open frames and outcome counters.

    Args:
        lock: Reentrant lock to share with a condition variable; an own one by default.
    """

    def __init__(self, lock: Any = None) -> None:
        self._lock = lock if lock is not None else threading.RLock()
        self._open: dict[int, Frame] = {}  # in order of seq
        self._waiting: Frame | None = None
        self._ended: deque[EndedFrame] = deque()
        self._entered = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._reasons: Counter[DropReason] = Counter()
        self._late_answers = 0
        self._last_stamp_s = float('-inf')
        self._last_published = 0

    # -- a frame's way ------------------------------------------------------------------

    def enter(
        self,
        stamp_s: float,
        acquired_s: float,
        now_s: float,
        token: Any = None,
        source: PictureSource | None = None,
    ) -> Frame:
        """Let a frame in; it supersedes the waiting one.

        A frame whose stamp is not newer than the one before ends at once as ``bad_image``:
        its result could never be published in order.
        """
        with self._lock:
            self._entered += 1
            frame = Frame(self._entered, stamp_s, acquired_s, now_s, token, source)
            frame.times.age_ms = (now_s - acquired_s) * 1e3
            self._open[frame.seq] = frame
            if self._last_stamp_s - STAMP_RESET_S < stamp_s <= self._last_stamp_s:
                self._end(frame, Outcome.DROPPED, DropReason.BAD_IMAGE)
                return frame
            self._last_stamp_s = stamp_s
            if self._waiting is not None:
                self._end(self._waiting, Outcome.DROPPED, DropReason.SUPERSEDED)
            self._waiting = frame
            return frame

    def reject(self, stamp_s: float, now_s: float, token: Any = None) -> Frame:
        """Count a picture that cannot be read: it enters and ends as ``bad_image``."""
        with self._lock:
            self._entered += 1
            frame = Frame(self._entered, stamp_s, now_s, now_s, token)
            self._open[frame.seq] = frame
            self._end(frame, Outcome.DROPPED, DropReason.BAD_IMAGE)
            return frame

    def start(self, seq: int, now_s: float) -> Frame | None:
        """WAITING to RUNNING: the worker takes the frame."""
        with self._lock:
            frame = self._move(seq, (Stage.WAITING,), Stage.RUNNING)
            if frame is not None:
                self._waiting = None
                frame.times.wait_ms = (now_s - frame.entered_s) * 1e3
            return frame

    def sent(self, seq: int, rescue_at_s: float, rescue_fits: bool) -> bool:
        """RUNNING to SENT: the cut tensors go to the uplink next."""
        with self._lock:
            frame = self._move(seq, (Stage.RUNNING,), Stage.SENT)
            if frame is None:
                return False
            frame.rescue_at_s = rescue_at_s
            frame.rescue_fits = rescue_fits
            return True

    def answer_will_not_come(self, seq: int, now_s: float, why: str) -> bool:
        """Make the rescue of a SENT frame due now; one that is on its way goes on."""
        with self._lock:
            frame = self._move(seq, (Stage.SENT,), Stage.SENT)
            if frame is None:
                return False
            self._hasten(frame, now_s, why)
            return True

    def answer_unreadable(self, seq: int, now_s: float, why: str) -> bool:
        """FINISHING by an answer back to SENT, its rescue due now.

        Where a rescue that it overtook is done, the frame goes on to finish with that (``spare``).
        Outputs that were computed here are never taken back.
        """
        with self._lock:
            frame = self._open.get(seq)
            if frame is None or not frame.answered or frame.stage is not Stage.FINISHING:
                return False
            frame.answered = False
            if frame.spare is None:
                frame.stage = Stage.SENT
                self._hasten(frame, now_s, why)
            return True

    def superseded_at_server(self, seq: int) -> bool:
        """End a SENT frame that the server passed over; one that is rescued goes on."""
        with self._lock:
            frame = self._open.get(seq)
            if frame is None or frame.stage is not Stage.SENT:
                return False
            self._end(frame, Outcome.DROPPED, DropReason.SUPERSEDED_AT_SERVER)
            return True

    def begin_rescue(self, seq: int) -> Frame | None:
        """SENT to RESCUING: the worker runs the tail; an answer may still overtake it."""
        with self._lock:
            return self._move(seq, (Stage.SENT,), Stage.RESCUING)

    def computed(
        self, seq: int, spare: tuple[list[np.ndarray], float] | None = None
    ) -> bool:
        """RUNNING (all local) or RESCUING to FINISHING: the outputs were computed here.

        SENT too: an answer overtook the rescue and could not be read. While that is not known
        yet, ``spare`` is kept with the frame.
        """
        with self._lock:
            stages = (Stage.RUNNING, Stage.RESCUING, Stage.SENT)
            if self._move(seq, stages, Stage.FINISHING) is not None:
                return True
            frame = self._open.get(seq)
            if frame is not None and frame.answered:
                frame.spare = spare
            return False

    def rescue_failed(self, seq: int, reason: DropReason) -> bool:
        """End a frame whose rescue cannot be computed, unless an answer has overtaken it."""
        with self._lock:
            frame = self._open.get(seq)
            if frame is None or frame.stage not in (Stage.RESCUING, Stage.SENT):
                return False
            self._end(frame, Outcome.DROPPED, reason)
            return True

    def answered(self, seq: int) -> Frame | None:
        """SENT or RESCUING to FINISHING: the server's answer has arrived.

        An answer with a rest to run overtakes no rescue: the worker is at that already.

        Returns None, and counts a late answer, when the frame has ended or has its outputs.
        """
        with self._lock:
            known = self._open.get(seq)
            has_rest = known is not None and known.plan is not None and known.plan.rest is not None
            stages = (Stage.SENT,) if has_rest else (Stage.SENT, Stage.RESCUING)
            frame = self._move(seq, stages, Stage.FINISHING)
            if frame is not None:
                frame.answered = True
            elif 1 <= seq <= self._entered:
                self._late_answers += 1
            return frame

    def returned(self, seq: int, arrays: list[np.ndarray]) -> bool:
        """FINISHING by an answer to RETURNED: it is there and readable, the rest must run."""
        with self._lock:
            frame = self._move(seq, (Stage.FINISHING,), Stage.RETURNED)
            if frame is not None:
                frame.returned = arrays
            return frame is not None

    def to_complete(self) -> Frame | None:
        """The oldest frame whose rest must run: all of them can be published, in order."""
        with self._lock:
            for frame in self._open.values():
                if frame.stage is Stage.RETURNED:
                    return frame
            return None

    def begin_rest(self, seq: int) -> Frame | None:
        """RETURNED to FINISHING: the worker runs the rest."""
        with self._lock:
            return self._move(seq, (Stage.RETURNED,), Stage.FINISHING)

    def publishable(self, seq: int) -> bool:
        """Whether the result of this frame may be published now."""
        with self._lock:
            frame = self._open.get(seq)
            return (
                frame is not None
                and frame.stage is Stage.FINISHING
                and seq > self._last_published
            )

    def published(self, seq: int, outcome: Outcome) -> bool:
        """End a FINISHING frame whose result has been published, and all older ones with it."""
        with self._lock:
            if outcome is Outcome.DROPPED:
                raise ValueError('a published frame is not dropped')
            if not self.publishable(seq):
                return False
            self._last_published = seq
            for older in [frame for number, frame in self._open.items() if number < seq]:
                self._end(older, Outcome.DROPPED, DropReason.NO_ANSWER)
            self._end(self._open[seq], outcome, DropReason.NONE)
            return True

    def drop(self, seq: int, reason: DropReason) -> bool:
        """End a frame without a result; False if it has ended already."""
        with self._lock:
            frame = self._open.get(seq)
            if frame is None:
                return False
            self._end(frame, Outcome.DROPPED, reason)
            return True

    def drop_all(self, reason: DropReason) -> int:
        """End every open frame without a result; returns how many."""
        with self._lock:
            frames = list(self._open.values())
            for frame in frames:
                self._end(frame, Outcome.DROPPED, reason)
            return len(frames)

    # -- looking at it ------------------------------------------------------------------

    @property
    def waiting(self) -> Frame | None:
        """The frame that waits to be started."""
        with self._lock:
            return self._waiting

    def get(self, seq: int) -> Frame | None:
        """An open frame by its number."""
        with self._lock:
            return self._open.get(seq)

    def started(self) -> int:
        """Open frames that have been started: what the window counts."""
        with self._lock:
            return len(self._open) - (self._waiting is not None)

    def unanswered(self) -> tuple[Frame, ...]:
        """The frames that were sent and have neither answer nor rescue."""
        with self._lock:
            return tuple(f for f in self._open.values() if f.stage is Stage.SENT)

    def awaits_answer(self, seq: int) -> bool:
        """Whether a frame was sent and nothing has said that its answer will not come."""
        with self._lock:
            frame = self._open.get(seq)
            return frame is not None and frame.stage is Stage.SENT and frame.rescue_why == ''

    def to_rescue(self) -> Frame | None:
        """The newest unanswered frame, if no newer one has (or is getting) its outputs."""
        with self._lock:
            for frame in reversed(self._open.values()):
                if frame.stage is Stage.SENT:
                    return frame
                if frame.stage in (Stage.RESCUING, Stage.FINISHING, Stage.RETURNED):
                    return None
            return None

    @property
    def has_ended(self) -> bool:
        """Whether ``take_ended`` has something to give."""
        return bool(self._ended)

    def take_ended(self) -> list[EndedFrame]:
        """Frames that ended since the last call, in order of their ending."""
        with self._lock:
            ended = list(self._ended)
            self._ended.clear()
            return ended

    def counters(self) -> Counters:
        """Counters now."""
        with self._lock:
            return Counters(
                entered=self._entered,
                remote=self._outcomes[Outcome.REMOTE],
                local=self._outcomes[Outcome.LOCAL],
                rescued=self._outcomes[Outcome.RESCUED],
                dropped=self._outcomes[Outcome.DROPPED],
                in_flight=len(self._open),
                late_answers=self._late_answers,
                drop_reasons=dict(self._reasons),
            )

    # -- inside -------------------------------------------------------------------------

    def _move(self, seq: int, sources: tuple[Stage, ...], target: Stage) -> Frame | None:
        frame = self._open.get(seq)
        if frame is None or frame.stage not in sources:
            return None
        frame.stage = target
        return frame

    @staticmethod
    def _hasten(frame: Frame, now_s: float, why: str) -> None:
        frame.rescue_at_s = min(frame.rescue_at_s, now_s)
        frame.rescue_why = why

    def _end(self, frame: Frame, outcome: Outcome, reason: DropReason) -> None:
        del self._open[frame.seq]
        if self._waiting is frame:
            self._waiting = None
        self._outcomes[outcome] += 1
        if reason is not DropReason.NONE:
            self._reasons[reason] += 1
        # Pictures and tensors are large; whoever still computes on them holds his own reference.
        frame.source = None
        frame.kept = None
        frame.returned = None
        frame.spare = None
        self._ended.append(EndedFrame(frame, outcome, reason, self.counters()))
