"""A plan in a few short lines, for rviz: what runs, the parts of its price, why. Pure."""

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
        codecs = f'{plan.codec}/{plan.return_codec}' if plan.return_codec else plan.codec
        rest = f', {plan.where} as {codecs}, {price}'
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


def price_line(plan: Candidate) -> str:
    """Where the predicted time goes, e.g. ``robot 12 + link 9 + server 13 = 34 ms``.

    ``other`` is what frames wait, are late, and take beside the stages. The parts are rounded so
    that they add up to the price. Empty where all is on the robot: there is one part.
    """
    if plan.is_local:
        return ''
    parts = {
        'robot': plan.head_ms + plan.encode_ms - plan.overlap_ms + plan.rest_ms + plan.finish_ms,
        'link': plan.uplink_ms + plan.downlink_ms,
        'server': plan.queue_ms + plan.decode_ms + plan.tail_ms,
        'other': plan.wait_ms + plan.late_ms + plan.overhead_ms,
    }
    total = round(plan.latency_ms)
    whole = {name: math.floor(ms) for name, ms in parts.items()}
    by_rest = sorted(parts, key=lambda name: whole[name] - parts[name])
    for name in by_rest[: total - sum(whole.values())]:
        whole[name] += 1
    shown = [f'{name} {ms}' for name, ms in whole.items() if ms or name != 'other']
    return f'{" + ".join(shown)} = {total} ms'


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
