"""Whether a search would find what the last one has found: the world is what it was. Pure.

A search costs 2 to 5 ms of a fast core, five times a second, beside a network that shares the
core on a small robot; mostly nothing has changed. So while nothing is under way, conditions that
are the same within what no decision rests on (the least gain is several times that) are not
searched again for a moment. Demands, profiles, and servers that come or go end that at once.
"""

from __future__ import annotations

from collections.abc import Mapping
import math

from dnn_offload.planning.plan import Conditions, Constraints, ServerState

LONGEST_S = 1.9            # between two searches; ticks come every 0.2 s
SAME_RATIO = 0.05          # of loads and rates
SAME_SHARE = 0.02          # of the price of what runs, for times


class Standstill:
    """Remembers what was searched last; clocks are passed in."""

    def __init__(self) -> None:
        self._conditions: Conditions | None = None
        self._constraints = Constraints()
        self._sure = False
        self._price_ms = 0.0
        self._at_s = -math.inf

    def searched(
        self, conditions: Conditions, constraints: Constraints, sure: bool, price_ms: float,
        now_s: float,
    ) -> None:
        """A search was made.

        Args:
            conditions: Under which.
            constraints: For what.
            sure: Whether the robot's load rests on frames.
            price_ms: Latency of the plan in force.
            now_s: Monotonic clock [s].
        """
        self._conditions, self._constraints, self._sure = conditions, constraints, sure
        self._price_ms, self._at_s = price_ms, now_s

    def holds(
        self, conditions: Conditions, constraints: Constraints, sure: bool, now_s: float
    ) -> bool:
        """Whether another search would find the same; arguments as of ``searched``."""
        before = self._conditions
        return (
            before is not None
            and now_s - self._at_s < LONGEST_S
            and conditions.edge_profile is before.edge_profile
            and conditions.power == before.power
            and conditions.result_codec == before.result_codec
            and sure == self._sure
            and constraints == self._constraints
            and _alike(conditions.edge_load, before.edge_load)
            and _alike(conditions.edge_load_raw, before.edge_load_raw)
            and self._same_ms(conditions.edge_overhead_ms, before.edge_overhead_ms)
            and abs(conditions.wake_ratio - before.wake_ratio) <= SAME_RATIO
            and _alike(conditions.frame_period_ms, before.frame_period_ms)
            and self._same_waits(conditions.waits_less, before.waits_less)
            and conditions.sizes == before.sizes
            and len(conditions.servers) == len(before.servers)
            and all(map(self._same_server, conditions.servers, before.servers))
        )

    def _same_server(self, one: ServerState, other: ServerState) -> bool:
        return (
            one.name == other.name
            and one.profile is other.profile
            and _alike(one.load_factor, other.load_factor)
            and _alike(one.link.uplink_bps, other.link.uplink_bps)
            and _alike(one.link.downlink_bps, other.link.downlink_bps)
            and _alike(one.link.uplink_burst_bytes, other.link.uplink_burst_bytes)
            and self._same_ms(one.link.uplink_alpha_ms, other.link.uplink_alpha_ms)
            and self._same_ms(one.link.downlink_alpha_ms, other.link.downlink_alpha_ms)
            and self._same_ms(one.queue_ms, other.queue_ms)
            and self._same_ms(one.overhead_ms, other.overhead_ms)
            and self._same_ms(one.return_overhead_ms, other.return_overhead_ms)
        )

    def _same_waits(self, one: Mapping[str, float], other: Mapping[str, float]) -> bool:
        return all(
            self._same_ms(one.get(place, 0.0), other.get(place, 0.0))
            for place in one.keys() | other.keys()
        )

    def _same_ms(self, one: float, other: float) -> bool:
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return abs(one - other) <= SAME_SHARE * self._price_ms


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= SAME_RATIO * max(abs(one), abs(other))
