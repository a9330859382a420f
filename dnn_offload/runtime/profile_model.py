"""From a few measured heads and tails to all of them. Pure functions on lists of times [ms].

In-situ time stamps give every operator's share, but a head that runs alone misses their sum
by 4 to 11 % (it keeps its weights in cache). So units are measured where it matters, and the
stamps, corrected by the ratio seen at the nearest measured cuts, fill what lies between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# A link and a server for each corner of what robots meet: uplink [bit/s], server's speed-up.
SCENARIOS = tuple(
    (rate_bps, speed) for rate_bps in (1e6, 3e6, 10e6, 30e6, 100e6) for speed in (1.0, 4.0, 15.0)
)
SHRUNK = 0.15  # int8 with zstd against raw float32, about


def promising_cuts(
    head_ms: Sequence[float], frontier_bytes: Sequence[int], depths: Sequence[int]
) -> list[int]:
    """Inner cuts in the order in which they are worth measuring.

    First those that would be chosen in some scenario, with or without the demand that no
    picture leaves the robot; then whatever lies farthest (in time) from what is chosen.

    Args:
        head_ms: In-situ time up to each cut 0..N.
        frontier_bytes: Raw size of each frontier.
        depths: Weighted layers before each frontier.
    """
    last = len(head_ms) - 1
    whole_ms = head_ms[last]
    chosen: list[int] = []
    for rate_bps, speed in SCENARIOS:
        cost = [
            head_ms[i] + (whole_ms - head_ms[i]) / speed
            + 8e3 * SHRUNK * frontier_bytes[i] / rate_bps
            for i in range(last)
        ]
        for least_depth in (0, 1, 2):
            legal = [i for i in range(1, last) if depths[i] >= least_depth]
            if legal:
                best = min(legal, key=lambda i: (cost[i], i))
                if best not in chosen:
                    chosen.append(best)
    rest = [i for i in range(1, last) if i not in chosen]
    anchors = [0, last, *chosen]
    while rest:
        far = max(rest, key=lambda i: (min(abs(head_ms[i] - head_ms[a]) for a in anchors), -i))
        rest.remove(far)
        anchors.append(far)
        chosen.append(far)
    return chosen


def fill(in_situ_ms: Sequence[float], measured_ms: Mapping[int, float]) -> list[float]:
    """Times of all cuts from stamps and from what was measured.

    Args:
        in_situ_ms: Stamp sums for each cut, monotone.
        measured_ms: Cut index to measured time of the unit; both ends are in it.

    Returns:
        Measured values where there are any, corrected stamps elsewhere.
    """
    known = sorted(measured_ms)
    stamps = np.maximum(np.asarray(in_situ_ms, dtype=np.float64), 1e-6)
    # An empty unit takes no time and tells no ratio.
    told = [i for i in known if in_situ_ms[i] > 1e-6] or known
    ratios = np.array([measured_ms[i] / stamps[i] for i in told])
    at = stamps[told]
    order = np.argsort(at)
    ratio = np.interp(stamps, at[order], ratios[order])
    times = stamps * ratio
    times[np.asarray(in_situ_ms) <= 1e-6] = 0.0
    for index in known:
        times[index] = measured_ms[index]
    return [float(time_ms) for time_ms in times]


def monotone(times_ms: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Nearest non-decreasing sequence in least squares (pool adjacent violators).

    A longer head cannot take less time than a shorter one; noise in the measurements may say
    so, and a planner would believe it.

    Args:
        times_ms: Times in order of position.
        weights: Confidence in each, positive.
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(times_ms, weights, strict=True):
        mean, total, length = float(value), float(weight), 1
        while blocks and blocks[-1][0] > mean:
            before, before_weight, before_length = blocks.pop()
            mean = (mean * total + before * before_weight) / (total + before_weight)
            total += before_weight
            length += before_length
        blocks.append((mean, total, length))
    return [mean for mean, _, length in blocks for _ in range(length)]


def nearest(known: Sequence[int], index: int) -> int:
    """The known index nearest to ``index``, the lower one of two."""
    return min(known, key=lambda candidate: (abs(candidate - index), candidate))
