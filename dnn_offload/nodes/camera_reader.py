"""A thread that reads pictures, paces them, and opens a lost source again. No ROS."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from dataclasses import dataclass
from enum import Enum
import threading
import time
import traceback
from typing import Generic, TypeVar

import cv2
import numpy as np

from dnn_offload.errors import ImageError
from dnn_offload.nodes.camera_sources import (
    fit,
    open_source,
    PictureSource,
    SourceSettings,
    too_large,
)
from dnn_offload.nodes.camera_watch import is_overdue

Stamp = TypeVar('Stamp')
DEFAULT_RATE_HZ = 30.0  # a video that does not tell its rate
SLOW_PICTURE_S = 0.25   # a file further behind than this does not try to catch up
UNREADABLE_IN_A_ROW = 30
UNREADABLE_RECENT_S = 10.0  # a picture that was left out is a present problem for so long
MOST_NAMED = 1000       # unreadable pictures that are told apart
LONGEST_WAIT_S = 60.0   # at once: threading refuses to wait for years
_LOSSES = (ImageError, OSError, cv2.error)


class ReaderState(Enum):
    """What the reader is at; the value is for people."""

    STOPPED = 'stopped'
    OPENING = 'opening'
    READING = 'reading'
    LOST = 'source lost, opening it again'
    ENDED = 'end of file'


@dataclass(frozen=True)
class ReaderStatus:
    """For diagnostics.

    Attributes:
        state: Where the reader is.
        description: The source, for people.
        problem: Why it was lost; empty while all is well.
        pictures: Pictures handed over since start.
        passed_over: Pictures that were replaced by a newer one before anybody took them.
        unreadable: Pictures that could not be decoded and were left out.
        left_out: Why the last one of them was, if that was lately; else ''.
        reopened: How often the source was opened again.
        rate_hz: Rate at which pictures came in the last seconds.
        mode: What a camera delivers.
        note: What it gives instead of what it was asked for; '' if it gives that.
        silent_s: How long nothing has come, if that is unusual; else 0.
    """

    state: ReaderState
    description: str
    problem: str
    pictures: int
    passed_over: int
    unreadable: int
    left_out: str
    reopened: int
    rate_hz: float
    mode: str
    note: str
    silent_s: float


@dataclass(frozen=True)
class StampedPicture(Generic[Stamp]):
    """A picture (H, W, 3) uint8 BGR and when it was acquired, on the caller's clock."""

    bgr: np.ndarray
    stamp: Stamp


class PictureReader(Generic[Stamp]):
    """Reads in its own thread and keeps the newest picture only.

    Args:
        settings: The source and what is asked of it.
        now: Clock for stamps; called right after a picture was acquired.
        log: Gets the traceback of an error that nobody foresaw.
        reopen_min_s, reopen_max_s: Back-off after a loss; the second counts if it is smaller.
        open_function: Replaced in tests.
    """

    def __init__(
        self,
        settings: SourceSettings,
        now: Callable[[], Stamp],
        *,
        log: Callable[[str], object] = lambda text: None,
        reopen_min_s: float = 0.5,
        reopen_max_s: float = 10.0,
        open_function: Callable[[SourceSettings], PictureSource] = open_source,
    ) -> None:
        self._settings = settings
        self._now = now
        self._log = log
        self._reopen_s = (min(reopen_min_s, reopen_max_s), reopen_max_s)
        self._open = open_function
        self._changed = threading.Condition()
        self._newest: StampedPicture[Stamp] | None = None
        self._stopping = False
        self._revision = 0
        self._state = ReaderState.STOPPED
        self._description = settings.source
        self._problem = ''
        self._mode = self._note = ''
        self._pictures = 0
        self._passed_over = 0
        self._reopened = 0
        self._unreadable = 0
        self._left_out, self._left_out_s = '', float('-inf')
        self._named: set[str] = set()
        self._unsaid: list[str] = []
        self._arrivals_s: list[float] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name='camera', daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; a source that blocks in the driver is left to its daemon thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def reconfigure(
        self, settings: SourceSettings, reopen_min_s: float, reopen_max_s: float
    ) -> None:
        """Take new settings; the source is opened anew if they concern it."""
        with self._changed:
            self._reopen_s = (min(reopen_min_s, reopen_max_s), reopen_max_s)
            if settings != self._settings:
                self._settings = settings
                self._revision += 1
            self._changed.notify_all()

    def take(self, timeout_s: float) -> StampedPicture[Stamp] | None:
        """The newest picture that was not taken yet; None after ``timeout_s`` or a stop."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None or self._stopping, timeout_s
            )
            picture, self._newest = self._newest, None
            return picture

    def new_unreadable(self) -> list[str]:
        """Why pictures could not be read since the last call: each file once."""
        with self._changed:
            unsaid, self._unsaid = self._unsaid, []
            return unsaid

    def status(self) -> ReaderStatus:
        """A snapshot."""
        with self._changed:
            recent = time.monotonic() - self._left_out_s < UNREADABLE_RECENT_S
            times = self._arrivals_s
            fresh = len(times) >= 2 and time.monotonic() - times[-1] < 2.0
            span_s = times[-1] - times[0] if fresh else 0.0
            return ReaderStatus(
                state=self._state,
                description=self._description,
                problem=self._problem,
                pictures=self._pictures,
                passed_over=self._passed_over,
                unreadable=self._unreadable,
                left_out=self._left_out if recent else '',
                reopened=self._reopened,
                rate_hz=(len(times) - 1) / span_s if span_s > 0.0 else 0.0,
                mode=self._mode,
                note=self._note,
                silent_s=self._silent_s(),
            )

    def _silent_s(self) -> float:
        times = self._arrivals_s
        if self._state is not ReaderState.READING or len(times) < 2:
            return 0.0
        silent_s = time.monotonic() - times[-1]
        usual_s = (times[-1] - times[0]) / (len(times) - 1)
        return silent_s if is_overdue(silent_s, usual_s) else 0.0

    # ---- in the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        wait_s = self._reopen_s[0]
        opened_before = False
        tried = self._settings.source
        while not self._stopping:
            with self._changed:
                settings, revision = self._settings, self._revision
                if settings.source != tried:  # one that cannot be opened is told by its own name
                    tried = self._description = settings.source
                    self._mode = self._note = ''
            self._set_state(
                ReaderState.OPENING if not self._problem else ReaderState.LOST, self._problem
            )
            came = self._pictures
            try:
                with contextlib.closing(self._open(settings)) as source:
                    self._reopened += opened_before
                    opened_before = True
                    self._description = source.description
                    self._mode, self._note = source.mode, source.note
                    self._read(source, settings, revision)
            except _LOSSES as error:
                self._set_state(ReaderState.LOST, str(error))
            except Exception as error:
                # The thread outlives what nobody foresaw: without it the camera would be dead in
                # a node that looks well.
                self._log(f'error while reading pictures:\n{traceback.format_exc(limit=-6)}')
                self._set_state(ReaderState.LOST, f'{type(error).__name__}: {error}')
            if self._pictures > came:
                wait_s = self._reopen_s[0]  # it had worked: try again soon
            if revision != self._revision:
                self._problem = ''
                wait_s = self._reopen_s[0]
                continue
            self._wait_to_reopen(wait_s, revision)
            wait_s = min(2.0 * wait_s, self._reopen_s[1])
        self._set_state(ReaderState.STOPPED, '')

    def _read(self, source: PictureSource, settings: SourceSettings, revision: int) -> None:
        """Read until the settings change or the reader stops; raises ImageError on loss."""
        problem = too_large(settings.width, settings.height)
        if problem:
            raise ImageError(problem)
        rate_hz = settings.rate_hz or source.rate_hz or DEFAULT_RATE_HZ
        period_s = 1.0 / rate_hz
        due_s = time.monotonic()
        failures = 0
        while not self._stopping and revision == self._revision:
            if not source.live:
                due_s = self._keep_pace(source, due_s, period_s, revision)
                if self._stopping or revision != self._revision:
                    return
            if not source.grab():
                if not settings.loop:
                    self._wait_at_end(revision)
                    return
                source.rewind()
                if not source.grab():
                    raise ImageError(f'{source.description} has no pictures')
            stamp = self._now()
            now_s = time.monotonic()
            if source.live and settings.rate_hz > 0.0:
                # Thin out a camera that is faster than asked, on a fixed grid of due times so
                # that jitter does not lower the mean rate; 10 % tolerance for its jitter.
                if now_s < due_s - 0.1 * period_s:
                    continue
                due_s = max(due_s + period_s, now_s - period_s)
            try:
                picture = fit(source.retrieve(), settings.width, settings.height)
            except (ImageError, cv2.error) as error:
                self._leave_out(' '.join(str(error).split()))
                failures += 1
                if failures >= UNREADABLE_IN_A_ROW:
                    raise
                continue
            failures = 0
            self._hand_over(StampedPicture(picture, stamp), now_s)

    def _leave_out(self, why: str) -> None:
        with self._changed:
            self._unreadable += 1
            self._left_out, self._left_out_s = why, time.monotonic()
            if why not in self._named and len(self._named) < MOST_NAMED:
                self._named.add(why)
                self._unsaid.append(why)

    def _keep_pace(
        self, source: PictureSource, due_s: float, period_s: float, revision: int
    ) -> float:
        """Wait for the next due time; skip pictures where the file has fallen behind."""
        now_s = time.monotonic()
        if now_s - due_s > SLOW_PICTURE_S:
            return now_s + period_s
        while now_s - due_s > period_s and source.grab():
            due_s += period_s
        self._sleep_until(lambda: due_s, revision)
        return due_s + period_s

    def _hand_over(self, picture: StampedPicture[Stamp], now_s: float) -> None:
        with self._changed:
            self._state, self._problem = ReaderState.READING, ''
            self._passed_over += self._newest is not None
            self._newest = picture
            self._pictures += 1
            self._arrivals_s = [*self._arrivals_s[-30:], now_s]
            self._changed.notify_all()

    def _wait_at_end(self, revision: int) -> None:
        self._set_state(ReaderState.ENDED, '')
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or revision != self._revision)

    def _sleep_until(self, due_s: Callable[[], float], revision: int) -> None:
        """Until a time that may be set anew meanwhile, other settings, or the end."""
        with self._changed:
            while not self._stopping and revision == self._revision:
                left_s = due_s() - time.monotonic()
                if left_s <= 0.0:
                    return
                self._changed.wait(min(left_s, LONGEST_WAIT_S))

    def _wait_to_reopen(self, wait_s: float, revision: int) -> None:
        """A wait that has begun is no longer than what is allowed since."""
        began_s = time.monotonic()
        self._sleep_until(lambda: began_s + min(wait_s, self._reopen_s[1]), revision)

    def _set_state(self, state: ReaderState, problem: str) -> None:
        with self._changed:
            self._state, self._problem = state, problem
