"""Where another plan would win: found by planning anew, not by algebra on one term.

One quantity is moved away from what it is now, both ways, in equal ratios; where the winner
becomes another one, the interval is halved until the border is known, and with it whatever wins
between the two. Everything is planned again at every step, so a border is where a user would see
the plan change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
import math

from dnn_offload.errors import PlanningError
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Key
from dnn_offload.planning.search import plan

STEPS = 16           # of each way
PRECISION = 0.002    # of the border, as a ratio; what wins within less is not seen


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


class Moved:
    """Rankings with one quantity moved and nothing else; each value is planned for once.

    Args:
        strategy: Whose plans.
        conditions: What is known now.
        constraints: What the user demands.
        quantity: What is moved.
    """

    def __init__(
        self, strategy: str, conditions: Conditions, constraints: Constraints, quantity: Quantity
    ) -> None:
        self.quantity = quantity
        self.now = quantity.read(conditions)
        self._at = (strategy, conditions, constraints)
        self._known: dict[float, list[Candidate]] = {}

    def ranked(self, value: float) -> list[Candidate]:
        """All plans there, best first; none where nothing can run."""
        if value not in self._known:
            strategy, conditions, constraints = self._at
            try:
                found = plan(strategy, self.quantity.move(conditions, value), constraints)
            except PlanningError:
                found = []
            self._known[value] = found
        return self._known[value]


def break_even(
    moved: Moved, wins: Callable[[Candidate], bool], among: Collection[Key] = ()
) -> list[BreakEven]:
    """The nearest borders beyond which a plan that ``wins`` accepts is the best.

    Args:
        moved: What is moved, and from where.
        wins: Whether a plan is what is asked for.
        among: Plans that count; empty = all.

    Returns:
        At most one border above and one below; none where it never wins within the span.
    """
    if moved.now <= 0.0:
        return []
    asked = _Asked(moved, wins, among)
    found = []
    for above in (True, False):
        span = moved.quantity.span if above else 1.0 / moved.quantity.span
        values = [moved.now * span ** (step / STEPS) for step in range(STEPS + 1)]
        borders = (asked.first_won(*cell) for cell in zip(values, values[1:], strict=False))
        border = next((value for value in borders if value is not None), None)
        if border is not None:
            found.append(BreakEven(moved.quantity, moved.now, border, above))
    return found


@dataclass(frozen=True)
class _Asked:
    """Where what is asked for wins; arguments as of ``break_even``."""

    moved: Moved
    wins: Callable[[Candidate], bool]
    among: Collection[Key]

    def first_won(self, lost_at: float, end: float) -> float | None:
        """The winning value next to ``lost_at``, where it loses; None = none up to ``end``."""
        won = self._won(end)
        if max(lost_at, end) / min(lost_at, end) <= 1.0 + PRECISION:
            return end if won else None
        if not won and self._hopeless(lost_at, end):
            return None
        middle = (lost_at * end) ** 0.5
        nearer = self.first_won(lost_at, middle)
        return nearer if nearer is not None else self.first_won(middle, end)

    def _ranked(self, value: float) -> list[Candidate]:
        ranked = self.moved.ranked(value)
        return [one for one in ranked if one.key in self.among] if self.among else ranked

    def _won(self, value: float) -> bool:
        return any(map(self.wins, self._ranked(value)[:1]))

    def _hopeless(self, first: float, second: float) -> bool:
        """Whether it loses at both values and everywhere between.

        Prices are straight lines in the load or in 1/rate, or nearly so: a plan that is best at
        both is best between. And they all rise or all fall: what costs more at its cheaper end
        than the best does at its dearer one has no part in the matter. What wins between
        two other plans, however narrowly, is found by halving.
        """
        ends = [self._ranked(first), self._ranked(second)]
        best = [ranked[0] if ranked else None for ranked in ends]
        if best[0] is None or best[1] is None:
            return best[0] is best[1]
        asked = [
            next((one.cost for one in ranked if self.wins(one)), math.inf) for ranked in ends
        ]
        return best[0].key == best[1].key or min(asked) > max(best[0].cost, best[1].cost)
