"""Where another plan would win: found by planning anew, not by algebra on one term.

One quantity is moved away from what it is now, both ways, in equal ratios; where the winner
becomes the one that is asked for, the interval is halved until the border is known. Everything
is planned again at every step, so a border is where a user would see the plan change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dnn_offload.errors import PlanningError
from dnn_offload.planning.plan import Candidate, Conditions, Constraints
from dnn_offload.planning.search import plan

STEPS = 16           # of each way
PRECISION = 0.002    # of the border, as a ratio


@dataclass(frozen=True)
class Quantity:
    """Something that may change.

    Attributes:
        name: For people, e.g. ``uplink``.
        unit: Unit of its value; empty for a ratio.
        read: Its value now.
        move: The conditions with another value.
        span: How far it is moved each way, as a ratio.
        along: What moves with it, for people; empty = nothing.
    """

    name: str
    unit: str
    read: Callable[[Conditions], float]
    move: Callable[[Conditions, float], Conditions]
    span: float
    along: str = ''


@dataclass(frozen=True)
class BreakEven:
    """A border: beyond ``value`` (``above`` or below it) the asked-for plan is the best.

    Attributes:
        quantity: What has to change.
        now: Its value now.
        value: Its value at the border.
        above: Whether it has to be larger.
    """

    quantity: Quantity
    now: float
    value: float
    above: bool


def _bandwidth(conditions: Conditions) -> float:
    rates = [server.link.uplink_bps for server in conditions.servers]
    return max(rates, default=0.0)


def _with_uplink(conditions: Conditions, bps: float) -> Conditions:
    """All links faster or slower by the same ratio on the way up."""
    return _with_links(conditions, bps / _bandwidth(conditions), 1.0)


def _with_bandwidth(conditions: Conditions, bps: float) -> Conditions:
    """All links faster or slower by the same ratio, both ways."""
    ratio = bps / _bandwidth(conditions)
    return _with_links(conditions, ratio, ratio)


def _with_links(conditions: Conditions, up: float, down: float) -> Conditions:
    servers = tuple(
        replace(
            server,
            link=replace(
                server.link,
                uplink_bps=up * server.link.uplink_bps,
                downlink_bps=down * server.link.downlink_bps,
            ),
        )
        for server in conditions.servers
    )
    return replace(conditions, servers=servers)


def _edge_load(conditions: Conditions) -> float:
    return conditions.edge_load


def with_edge_load(conditions: Conditions, load: float) -> Conditions:
    """The robot slower or faster, its load average with it."""
    raw = conditions.edge_load_raw * load / conditions.edge_load
    return replace(conditions, edge_load=load, edge_load_raw=raw)


def _server_load(conditions: Conditions) -> float:
    return max((server.load_factor for server in conditions.servers), default=0.0)


def _with_server_load(conditions: Conditions, load: float) -> Conditions:
    ratio = load / _server_load(conditions)
    servers = tuple(
        replace(server, load_factor=ratio * server.load_factor) for server in conditions.servers
    )
    return replace(conditions, servers=servers)


BANDWIDTH = Quantity(
    'uplink', 'bit/s', _bandwidth, _with_bandwidth, 1e4, 'the downlink changes with it'
)
UPLINK = Quantity('uplink', 'bit/s', _bandwidth, _with_uplink, 1e4)  # the downlink was given
EDGE_LOAD = Quantity('load of the robot', '', _edge_load, with_edge_load, 50.0)
SERVER_LOAD = Quantity('load of the server', '', _server_load, _with_server_load, 50.0)
QUANTITIES = (BANDWIDTH, EDGE_LOAD, SERVER_LOAD)


def break_even(
    strategy: str,
    conditions: Conditions,
    constraints: Constraints,
    quantity: Quantity,
    wins: Callable[[list[Candidate]], bool],
) -> list[BreakEven]:
    """The nearest borders beyond which ``wins`` accepts the ranking.

    Args:
        strategy: Whose plans.
        conditions: What is known now.
        constraints: What the user demands.
        quantity: What is moved; nothing else changes.
        wins: Whether the plan that is asked for wins, given all plans, best first.

    Returns:
        At most one border above and one below; none where it never wins within the span.
    """
    now = quantity.read(conditions)
    if now <= 0.0:
        return []

    def won(value: float) -> bool:
        try:
            return wins(plan(strategy, quantity.move(conditions, value), constraints))
        except PlanningError:
            return False

    found = []
    for above in (True, False):
        span = quantity.span if above else 1.0 / quantity.span
        lost_at = now
        for step in range(1, STEPS + 1):
            value = now * span ** (step / STEPS)
            if won(value):
                found.append(BreakEven(quantity, now, _border(won, lost_at, value), above))
                break
            lost_at = value
    return found


def _border(won: Callable[[float], bool], lost_at: float, won_at: float) -> float:
    """Halve (in ratio) the interval between a value that loses and one that wins."""
    while max(lost_at, won_at) / min(lost_at, won_at) > 1.0 + PRECISION:
        middle = (lost_at * won_at) ** 0.5
        if won(middle):
            won_at = middle
        else:
            lost_at = middle
    return won_at
