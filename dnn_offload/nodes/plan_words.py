"""A plan in two short lines, for rviz. Pure."""

from __future__ import annotations

import math
import re
import textwrap

from dnn_offload.planning.plan import Candidate

LINE_CHARS = 60
_CUT_OFF = ' ...'
_ASIDE = re.compile(r'\s*\([^()]*\)')


def plan_line(plan: Candidate, measured_ms: float) -> str:
    """Where the plan runs, its cut and codec, and its price.

    What it draws, how long its frames took and its thread count follow, as far as there is room.

    Args:
        plan: The plan that runs.
        measured_ms: Latency of the last frames; NaN = unknown.
    """
    price = f'{plan.latency_ms:.0f} ms'
    if plan.is_local:
        line = f'all on the robot, {price}'
    else:
        near = 'branches near ' if plan.frontier else ''
        cuts = f'{plan.cut_index} to {plan.return_index}' if plan.return_id else plan.cut_index
        codecs = f'{plan.codec}/{plan.return_codec}' if plan.return_codec else plan.codec
        rest = f', {near}cut {cuts} as {codecs}, {price}'
        line = f'{_short(plan.server, LINE_CHARS - len(rest))}{rest}'
    extras = (
        f'{plan.energy_j:.2f} J' if plan.energy_j >= 0.0 else '',
        f'measured {measured_ms:.0f} ms' if math.isfinite(measured_ms) else '',
        f'{plan.threads} thread{"s" if plan.threads > 1 else ""}' if plan.threads else '',
    )
    for extra in extras:
        if extra and len(line) + 2 + len(extra) <= LINE_CHARS:
            line += f', {extra}'
    return line


def reason_line(reason: str) -> str:
    """The beginning of a reason, without what stands in brackets (names of layers, gains)."""
    plain, brackets = reason, 1
    while brackets:
        plain, brackets = _ASIDE.subn('', plain)
    return _short(plain, LINE_CHARS)


def _short(text: str, most: int) -> str:
    """At most so many characters, whole words where there are some."""
    whole = ' '.join(text.split())
    if len(whole) <= most:
        return whole
    first = textwrap.wrap(whole, max(most - len(_CUT_OFF), 1), break_on_hyphens=False)[0]
    return f'{first}{_CUT_OFF}'
