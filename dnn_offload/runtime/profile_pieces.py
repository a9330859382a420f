"""The fastest backend of every head and every tail, of those that were measured by turns.

What runs a piece changes its time and nothing else of a plan (``backends/by_piece.py``), so the
fastest one of each piece is the best one in every plan. That is exact on the measured times, but
for the robot's tail under a deadline, where it is a rule (docs/backends.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# A piece goes to another backend than the whole network only for so much of its time: medians of
# ten runs differ by a few percent, and each further runtime has compiled pieces in memory.
MARGIN = 0.03


@dataclass(frozen=True)
class PieceTimes:
    """Times of all cuts by one backend, index 0 .. N [ms]."""

    head_ms: Sequence[float]
    tail_ms: Sequence[float]


@dataclass(frozen=True)
class Fastest:
    """Times of all cuts, index 0 .. N [ms], and what they are of."""

    head_ms: list[float]
    tail_ms: list[float]
    head_by: list[str]
    tail_by: list[str]


def fastest(measured: Mapping[str, PieceTimes], usual: str) -> Fastest:
    """The fastest of each head and tail, longer ones never taking less time.

    Args:
        measured: Backend to its times.
        usual: The one that is fastest for the whole network, which keeps what no other does
            faster by more than ``MARGIN``.
    """
    heads, head_by = _least({name: each.head_ms for name, each in measured.items()}, usual)
    tails, tail_by = _least({name: each.tail_ms for name, each in measured.items()}, usual)
    # All of the network is one piece: head N and tail 0.
    tails[0], tail_by[0] = measured[head_by[-1]].tail_ms[0], head_by[-1]
    return Fastest(
        np.maximum.accumulate(heads).tolist(),
        np.maximum.accumulate(tails[::-1])[::-1].tolist(),
        head_by,
        tail_by,
    )


def _least(times_ms: Mapping[str, Sequence[float]], usual: str) -> tuple[np.ndarray, list[str]]:
    """Of each piece the least time, and whose it is."""
    chosen, by = np.array(times_ms[usual]), [usual] * len(times_ms[usual])
    limits_ms = (1.0 - MARGIN) * chosen
    for name, others_ms in times_ms.items():
        for index, time_ms in enumerate(others_ms):
            if time_ms < min(limits_ms[index], chosen[index]):
                chosen[index], by[index] = time_ms, name
    return chosen, by
