"""What a profile shall hold beside what is measured anyway. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnn_offload.errors import ConfigurationError

MAX_THREADS = 256
NO, FIRST, ONLY = PROVISIONAL = ('no', 'first', 'only')
NO_THREADS = 'none'


@dataclass(frozen=True)
class ProfileWishes:
    """How much to measure.

    Attributes:
        fraction: Share of the cuts that are measured as units, above 0, up to 1.
        thread_counts: Other thread counts; None = the usual ones, () = none.
        agreement: Whether to measure what codecs do to the network's answers.
        agreement_again: Do so even if the profile tells.
        agreement_budget_s: Time for it.
        frames: Folder of pictures or video; None = made-up pictures.
        frame_count: Most frames that are looked at.
        provisional: ``first``: a provisional profile within seconds, then the measured one;
            ``only``: no more than that.
    """

    fraction: float = 0.3
    thread_counts: tuple[int, ...] | None = None
    agreement: bool = False
    agreement_again: bool = False
    agreement_budget_s: float = 120.0
    frames: Path | None = None
    frame_count: int = 150
    provisional: str = NO

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise ConfigurationError(
                'impossible fraction of cuts', given=self.fraction, allowed='above 0, up to 1'
            )
        if any(not 1 <= count <= MAX_THREADS for count in self.thread_counts or ()):
            raise ConfigurationError(
                'impossible number of threads', given=self.thread_counts,
                allowed=f'1..{MAX_THREADS} each',
            )
        if self.provisional not in PROVISIONAL:
            raise ConfigurationError(
                'no such wish for a provisional profile', given=self.provisional,
                allowed=', '.join(PROVISIONAL),
            )
        if self.provisional == ONLY and self.agreement:
            raise ConfigurationError(
                'a provisional profile tells no agreement', given='both were asked for',
                allowed='one of them', hint='measure the agreement with the whole profile',
            )
        if self.frame_count < 1:
            raise ConfigurationError(
                'no frames are asked for', given=self.frame_count, allowed='1 or more'
            )
        if not self.agreement_budget_s > 0.0:
            raise ConfigurationError(
                'no time for the agreement', given=self.agreement_budget_s, allowed='above 0'
            )

    def arguments(self) -> list[str]:
        """The same for the command line of ``runtime/prepare.py``."""
        given = [
            '--fraction', str(self.fraction), '--frame-count', str(self.frame_count),
            '--agreement-budget-s', str(self.agreement_budget_s),
            '--provisional', self.provisional,
        ]
        if self.thread_counts is not None:
            counts = ','.join(str(count) for count in self.thread_counts)
            given += ['--threads-list', counts or NO_THREADS]
        if self.agreement:
            given.append('--agreement')
        if self.agreement_again:
            given.append('--agreement-again')
        if self.frames is not None:
            given += ['--frames', str(self.frames)]
        return given


def read_thread_counts(text: str) -> tuple[int, ...] | None:
    """Thread counts from ``1,2,4``; ``none`` gives (), an empty text None (the usual ones).

    Raises:
        ConfigurationError: It is something else.
    """
    if text == '':
        return None
    if text == NO_THREADS:
        return ()
    try:
        return tuple(dict.fromkeys(int(word) for word in text.split(',')))
    except ValueError:
        raise ConfigurationError(
            'list of threads is not understood', given=text, allowed='e.g. 1,2,4, or none'
        ) from None
