"""From a few measured heads and tails to all of them, and how sure that is. Pure functions [ms].

In-situ time stamps give every operator's share, but a head that runs alone misses their sum
by 4 to 11 % (it keeps its weights in cache). So units are measured where it matters, and
between two of them time passes as the stamps say. How far off that is, the measured ones tell
of each other: each is left out once and predicted from the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
import statistics
from statistics import NormalDist

import numpy as np

# A link and a server for each corner of what robots meet: uplink [bit/s], server's speed-up.
SCENARIOS = tuple(
    (rate_bps, speed) for rate_bps in (1e6, 3e6, 10e6, 30e6, 100e6) for speed in (1.0, 4.0, 15.0)
)
SHRUNK = 0.15  # int8 with zstd against raw float32, about
LEVEL = 0.9  # of the intervals of what was not measured
FLOOR = 0.05  # of the whole network: errors of shorter units are relative to this
LEAST_UNITS = 3
OTHER_RUNS = 1.5  # runs of the whole network per round beside units: as it is, stamped
NEAR = 0.02  # of the whole network: closer than this, one cut tells of the other
UNKNOWN = 0.3  # worst seen of stamps against units
_EMPTY_MS = 1e-6
_Z = NormalDist().inv_cdf(0.5 + 0.5 * LEVEL)


def promising_cuts(
    head_ms: Sequence[float], frontier_bytes: Sequence[int], depths: Sequence[int]
) -> list[int]:
    """Inner cuts in the order in which they are worth measuring.

    By turns one that would be chosen in some scenario, with or without the demand that no
    picture leaves the robot, and whatever lies farthest (in time) from all before, between
    which the rest is interpolated. What lies close to one that is chosen can wait.

    Args:
        head_ms: In-situ time up to each cut 0..N.
        frontier_bytes: Raw size of each frontier.
        depths: Weighted layers before each frontier.
    """
    last = len(head_ms) - 1
    whole_ms = head_ms[last]
    winners: list[int] = []
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
                if best not in winners:
                    winners.append(best)
    at = np.asarray(head_ms, dtype=np.float64)
    distance = np.minimum(np.abs(at - at[0]), np.abs(at - at[last]))  # to what is chosen
    distance[[0, last]] = -1.0
    order: list[int] = []
    while len(order) < last - 1:
        winners = [i for i in winners if distance[i] >= NEAR * whole_ms]
        if winners and len(order) % 2 == 0:
            index = winners[0]
        else:
            index = int(np.argmax(distance))
        order.append(index)
        distance = np.minimum(distance, np.abs(at - at[index]))
        distance[index] = -1.0
    return order


def fill(in_situ_ms: Sequence[float], measured_ms: Mapping[int, float]) -> list[float]:
    """Times of all cuts from stamps and from what was measured.

    Args:
        in_situ_ms: Stamp sums for each cut, monotone; that of an empty unit is 0.
        measured_ms: Cut index to measured time of the unit; the longest unit is in it.

    Returns:
        Measured values where there are any; between two of them in proportion to the stamps.
    """
    # An empty unit takes no time; where stamps do not tell two units apart, the last counts.
    known = sorted(
        (index for index in measured_ms if in_situ_ms[index] > _EMPTY_MS),
        key=lambda index: in_situ_ms[index],
    )
    times = np.interp(
        in_situ_ms,
        [0.0, *(in_situ_ms[index] for index in known)],
        [0.0, *(measured_ms[index] for index in known)],
    )
    for index, time_ms in measured_ms.items():
        times[index] = time_ms
    return [float(time_ms) for time_ms in times]


def left_out_errors(
    in_situ_ms: Sequence[float], measured_ms: Mapping[int, float]
) -> list[float]:
    """Error of each measured unit when it is predicted from the others, relative.

    Relative to the measured time, but at least to ``FLOOR`` of the longest one: below that
    nothing hangs on it. The longest unit itself is never left out.
    """
    longest = max(measured_ms, key=lambda index: in_situ_ms[index])
    floor_ms = FLOOR * measured_ms[longest]
    errors = []
    for index in measured_ms:
        if index != longest and in_situ_ms[index] > _EMPTY_MS:
            others = {i: time_ms for i, time_ms in measured_ms.items() if i != index}
            off_ms = abs(fill(in_situ_ms, others)[index] - measured_ms[index])
            errors.append(off_ms / max(measured_ms[index], floor_ms, _EMPTY_MS))
    return errors


def half_width(errors: Sequence[float]) -> float:
    """Relative half width of an interval that holds a new one of its kind in ``LEVEL`` of cases.

    With nine errors or more it is their quantile, taken so that it holds for exchangeable ones
    without a word on their distribution (split conformal prediction: Lei et al., J. Am. Stat.
    Assoc. 113, 2018, Theorem 2). Fewer do not reach that far: Student's t on their mean square
    then; without any ``UNKNOWN``.
    """
    count = len(errors)
    if count == 0:
        return UNKNOWN
    rank = math.ceil((count + 1) * LEVEL)
    if rank <= count:
        return float(sorted(errors)[rank - 1])
    # Student's quantile from the normal one (Cornish and Fisher).
    t = _Z + (_Z**3 + _Z) / (4 * count) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * count**2)
    return t * math.sqrt(sum(error**2 for error in errors) / count)


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


def times(in_situ_ms: Sequence[float], measured_ms: Mapping[int, float]) -> list[float]:
    """``fill``, and longer units take longer: what was measured counts for more.

    Args:
        in_situ_ms: Stamp sums for each cut, growing (heads) or falling (tails).
        measured_ms: Cut index to measured time of the unit; the longest unit is in it.
    """
    filled = fill(in_situ_ms, measured_ms)
    weights = [10.0 if index in measured_ms else 1.0 for index in range(len(filled))]
    step = -1 if in_situ_ms[-1] < in_situ_ms[0] else 1
    return [max(0.0, time_ms) for time_ms in monotone(filled[::step], weights[::step])[::step]]


def half_widths(
    *sides: tuple[Sequence[float], Mapping[int, Sequence[float]]]
) -> list[float]:
    """Relative half width of the interval of heads, and of tails.

    A few cuts of one side may agree by chance: no side is surer than both together, nor than
    a unit is that is measured as often as they were.

    Args:
        sides: Of each the in-situ times, and cut index to the times of the unit's runs.
    """
    medians = [{i: statistics.median(runs) for i, runs in side[1].items()} for side in sides]
    errors = [
        left_out_errors(side[0], measured) for side, measured in zip(sides, medians, strict=True)
    ]
    together = half_width([error for side in errors for error in side])
    widths = []
    for side, measured, own in zip(sides, medians, errors, strict=True):
        floor_ms = max(FLOOR * max(measured.values()), _EMPTY_MS)
        noise = statistics.median(
            standard_error(runs) / max(measured[index], floor_ms)
            for index, runs in side[1].items()
        )
        widths.append(math.hypot(max(half_width(own), together), _Z * noise))
    return widths


def interquartile(values: Sequence[float]) -> float:
    """Range between the quartiles."""
    ordered = sorted(values)
    return ordered[(3 * len(ordered)) // 4] - ordered[len(ordered) // 4]


def standard_error(values: Sequence[float]) -> float:
    """Of the median, from the interquartile range, as if they were normal."""
    return 1.2533 * interquartile(values) / 1.349 / math.sqrt(len(values))


def how_many(last: int, fraction: float) -> int:
    """Inner cuts to measure for ``fraction`` of the cost of measuring all of them and the whole.

    Args:
        last: Index of the last cut.
        fraction: 0..1.
    """
    if fraction >= 1.0:
        return last - 1
    return min(last - 1, max(LEAST_UNITS, int(fraction * last - OTHER_RUNS)))


def nearest(known: Sequence[int], index: int) -> int:
    """The known index nearest to ``index``, the lower one of two."""
    return min(known, key=lambda candidate: (abs(candidate - index), candidate))
