"""A plan in two short lines, for rviz: what runs, with the parts of its price, and why. Pure."""

from __future__ import annotations

import math
import re
import textwrap

from dnn_offload.planning.plan import Candidate

LINE_CHARS = 60
_NAME_CHARS = 10  # of a server, at least, beside the parts of a price
_CUT_OFF = ' ...'
_ASIDE = re.compile(r'\s*\([^()]*\)')


def plan_line(plan: Candidate, measured_ms: float) -> str:
    """Where the plan runs, its cut and codec, and its price with its parts (``price``).

    What it draws, how long its frames took and its thread count follow, as far as there is room;
    where there is none for the parts either, the price stands alone.

    Args:
        plan: The plan that runs.
        measured_ms: Latency of the last frames; NaN = unknown.
    """
    if plan.is_local:
        line = f'all on the robot, {plan.latency_ms:.0f} ms'
    else:
        codecs = f'{plan.codec}/{plan.return_codec}' if plan.return_codec else plan.codec
        what = f', {plan.where} as {codecs}, '
        rest = what + price(plan)
        if min(len(plan.server), _NAME_CHARS) + len(rest) > LINE_CHARS:
            rest = f'{what}{plan.latency_ms:.0f} ms'
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


def price(plan: Candidate) -> str:
    """Where the predicted time of a plan with a server goes, e.g. ``12 + 9 + 13 = 34 ms``.

    Robot, link, server; and what frames wait, are late, and take beside the stages, where there
    is some. The parts are rounded so that they add up.
    """
    parts_ms = (
        plan.head_ms + plan.encode_ms - plan.overlap_ms + plan.rest_ms + plan.finish_ms,
        plan.uplink_ms + plan.downlink_ms,
        plan.queue_ms + plan.decode_ms + plan.tail_ms,
        plan.wait_ms + plan.late_ms + plan.overhead_ms,
    )
    total = round(plan.latency_ms)
    whole = [math.floor(ms) for ms in parts_ms]
    by_rest = sorted(range(len(whole)), key=lambda i: whole[i] - parts_ms[i])
    for i in by_rest[: total - sum(whole)]:
        whole[i] += 1
    shown = whole if whole[-1] else whole[:-1]
    return f'{" + ".join(map(str, shown))} = {total} ms'


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
