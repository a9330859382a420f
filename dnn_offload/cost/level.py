"""Where a row of noisy values has stepped to another level: what is older says nothing. Pure.

A mean or a median over a window needs half the window to see a step. Values that in a row are
all far off those before, the same way, are a step at once: the further off, the fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import statistics

# So many of the newest are all off the median before them by such a ratio.
STEPS = ((3, 2.0), (4, 1.35))
MIN_BEFORE = 3  # fewer make no level


def newest_level(
    values: Sequence[float],
    steps: Sequence[tuple[int, float]] = STEPS,
    *,
    enough: Callable[[int], bool] = lambda start: True,
) -> int:
    """Index from which on values are of the newest level; 0 = all are, as far as can be told.

    Args:
        values: The row, oldest first, all positive.
        steps: How many of the newest must be off, and by what ratio at least; the first that
            holds counts.
        enough: Whether the values from an index on say enough; if not, more must be off.
    """
    for least, ratio in steps:
        start = max(len(values) - least, 0)
        while start > 0 and not enough(start):
            start -= 1
        if start < MIN_BEFORE:
            continue
        # The median: a hiccup now and then makes no level that calm ones could fall from.
        level, newest = statistics.median(values[:start]), values[start:]
        if min(newest) > ratio * level or max(newest) < level / ratio:
            return start
    return 0
