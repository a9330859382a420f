"""What a camera's stream is worth: its rate, its stamps, its pictures. No ROS, clocks passed in.

A camera may stall, change its picture's size, and lie about when a picture was taken. Nothing of
this stops frames: a stamp that cannot be true is replaced by the time at which the picture came,
so that ages and deadlines stay sensible; results carry the camera's own header all the same.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
import statistics

FUTURE_S = 0.5         # clocks of two machines that are kept in step differ by less
OTHER_CLOCK_S = 10.0   # older than this is another clock: no camera buffers that long
RESTART_S = 1.0        # a stamp that jumps back by more is a restarted clock or a looped recording
JUDGED = 10            # pictures over which order is judged
DISORDERED = 5         # of these without a newer stamp: the stamps are of no use
STALL_PERIODS = 5.0
STALL_MIN_S = 1.0
FIRST_PICTURE_S = 5.0  # after this without any, something is said
RECENT_S = 3.0         # a refused picture is a present problem for so long
KEPT_PERIODS = 30
TICK_S = 1e-6          # between frames whose times would be the same

WHAT_STAMPS = {
    'zero': 'have no stamp',
    'future': 'are stamped {gap:.1f} s in the future',
    'past': 'are stamped {gap:.0f} s in the past: by another clock, or a recording without '
            'use_sim_time',
    'disorder': 'have stamps that do not increase',
}
FALL_BACK = 'the time at which they come in is taken; let the driver stamp them'
NO_CLOCK = 'clock'  # a stamp of 0 under a clock that stands at 0: not the driver's doing
NO_CLOCK_TEXT = 'the clock stands at 0: use_sim_time is set, and nobody publishes /clock'


@dataclass(frozen=True)
class Looks:
    """Size [px] and encoding of a picture."""

    height: int
    width: int
    encoding: str

    def __str__(self) -> str:
        return f'{self.width}x{self.height} {self.encoding}'


def is_overdue(silent_s: float, usual_s: float) -> bool:
    """Whether a stream whose pictures usually come every ``usual_s`` has stalled."""
    return silent_s > max(STALL_MIN_S, STALL_PERIODS * usual_s)


class CameraWatch:
    """Watches one stream. Not thread-safe, except that ``refused`` may come from any thread.

    Args:
        now_s: Steady clock at the start [s].
        warn: Gets a sentence when something begins or changes.
        inform: Gets one when it is over.
    """

    def __init__(
        self, now_s: float, warn: Callable[[str], object], inform: Callable[[str], object]
    ) -> None:
        self._warn = warn
        self._inform = inform
        self._began_s = now_s
        self._last_s: float | None = None
        self._periods_s: deque[float] = deque(maxlen=KEPT_PERIODS)
        self._in_order: deque[bool] = deque(maxlen=JUDGED)
        self._last_stamp_s = float('-inf')
        self._last_given_s = float('-inf')
        self._lie = ''
        self._lie_text = ''
        self._sensible = 0  # pictures in a row whose stamps are, while ``_lie`` holds
        self._no_clock = False
        self._stalled = False
        self._looks: Looks | None = None
        self._refusal = ''
        self._refused_s = float('-inf')
        self._age_s = 0.0
        self.counts: Counter[str] = Counter()

    # -- a picture ----------------------------------------------------------------------

    def came(self, stamp_s: float, clock_s: float, now_s: float, looks: Looks | None) -> float:
        """A picture has come in.

        Args:
            stamp_s: Its stamp; 0 = none [s].
            clock_s: The clock that it should be of, now [s].
            now_s: Steady clock [s].
            looks: Size and encoding; None where they cannot be read.

        Returns:
            When it was taken, as far as can be known, on ``clock_s``'s clock [s].
        """
        self._note_time(now_s)
        if looks is not None and looks.height and looks.width:
            self._note_looks(looks)
        self._no_clock = clock_s == 0.0
        self._note_stamp(stamp_s, clock_s)
        given_s = clock_s if self._lie else stamp_s
        if self._lie or stamp_s > self._last_stamp_s:
            # Times that are given stay in order when stamps and arrivals take turns.
            if self._last_given_s - RESTART_S < given_s <= self._last_given_s:
                given_s = self._last_given_s + TICK_S
            self._last_given_s = given_s
        elif stamp_s <= self._last_stamp_s - RESTART_S:
            self._last_given_s = given_s
        self._last_stamp_s = stamp_s
        self._age_s = max(0.0, clock_s - given_s)
        return given_s

    def refused(self, why: str, now_s: float) -> None:
        """A picture cannot be taken."""
        self.counts['refused'] += 1
        self._refusal, self._refused_s = why, now_s

    def _note_time(self, now_s: float) -> None:
        before_s, self._last_s = self._last_s, now_s
        if self._stalled:
            self._stalled = False
            waited_s = now_s - (self._began_s if before_s is None else before_s)
            self._inform(f'pictures come again, after {waited_s:.1f} s')
        elif before_s is not None:
            self._periods_s.append(now_s - before_s)

    def _note_looks(self, looks: Looks) -> None:
        before, self._looks = self._looks, looks
        if before is not None and before != looks:
            self.counts['changed'] += 1
            self._warn(f'pictures have changed from {before} to {looks}')

    def _note_stamp(self, stamp_s: float, clock_s: float) -> None:
        gap_s = clock_s - stamp_s
        lie = ''
        if stamp_s == 0.0:
            lie = 'zero' if clock_s > 0.0 else NO_CLOCK
        elif clock_s > 0.0 and gap_s < -FUTURE_S:
            lie = 'future'
        elif gap_s > OTHER_CLOCK_S:
            lie = 'past'
        if lie:
            self._in_order.clear()
        else:
            restarted = stamp_s <= self._last_stamp_s - RESTART_S
            self._in_order.append(stamp_s > self._last_stamp_s or restarted)
            if self._in_order.count(False) >= DISORDERED:
                lie = 'disorder'
        if lie == NO_CLOCK:
            self._lie_text = NO_CLOCK_TEXT
        elif lie:
            self.counts[f'stamp_{lie}'] += 1
            self._lie_text = f'pictures {WHAT_STAMPS[lie].format(gap=abs(gap_s))}: {FALL_BACK}'
        self._sensible = 0 if lie else self._sensible + 1
        if self._lie and not lie and self._sensible < JUDGED:
            return
        if lie != self._lie:
            self._lie = lie
            if lie:
                self._warn(self._lie_text)
            else:
                self._inform('stamps are sensible again')

    # -- looking at it ------------------------------------------------------------------

    @property
    def rate_hz(self) -> float:
        """Pictures per second lately; 0 while it is unknown or they have stalled."""
        mean_s = statistics.fmean(self._periods_s) if self._periods_s else 0.0
        return 1.0 / mean_s if mean_s > 0.0 and not self._stalled else 0.0

    @property
    def looks(self) -> str:
        """Size and encoding of the last picture; '' before there is one."""
        return '' if self._looks is None else str(self._looks)

    def check(self, now_s: float, why: str = '') -> None:
        """Look whether pictures have stalled; to be called about once a second.

        Args:
            now_s: Steady clock [s].
            why: What is known of the reason.
        """
        if self._stalled or not self.is_silent(now_s):
            return
        self._stalled = True
        if self._last_s is not None:
            self.counts['stalls'] += 1
        self._warn(f'{self._silence(now_s)}{": " if why else ""}{why}')

    def is_silent(self, now_s: float) -> bool:
        """Whether a picture is overdue."""
        if self._last_s is None:
            return now_s - self._began_s > FIRST_PICTURE_S
        typical_s = statistics.median(self._periods_s) if self._periods_s else 0.0
        return is_overdue(now_s - self._last_s, typical_s)

    def _silence(self, now_s: float) -> str:
        if self._last_s is None:
            return f'no picture has come for {now_s - self._began_s:.0f} s'
        typical_s = statistics.median(self._periods_s) if self._periods_s else 0.0
        every = f' (they came every {1e3 * typical_s:.0f} ms)' if typical_s > 0.0 else ''
        return f'no picture for {now_s - self._last_s:.1f} s{every}'

    def problem(self, now_s: float, deadline_ms: float = 0.0) -> str:
        """What is wrong now, the worst first; '' if all is well.

        Args:
            now_s: Steady clock [s].
            deadline_ms: Results older than this are late; 0 = never.
        """
        if self.is_silent(now_s):
            return self._silence(now_s)
        if self._no_clock:
            return NO_CLOCK_TEXT
        if now_s - self._refused_s <= RECENT_S:
            return self._refusal
        if self._lie:
            return self._lie_text
        if 0.0 < deadline_ms < 1e3 * self._age_s:
            return (
                f'pictures are {self._age_s:.1f} s old when they come in, more than deadline_ms '
                f'({deadline_ms:.0f}): less buffering in the driver, or clocks in step (chrony)'
            )
        return ''
