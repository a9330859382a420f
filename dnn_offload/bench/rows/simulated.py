"""Points whose link is too slow to be played live: reckoned from the two profiles.

No noise and no time: every strategy plans once, knowing link and machines, and its plan is priced
as the additive model does (docs/planning.md). The oracle is the best of all plans in that model.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

from dnn_offload.bench.scenario.scenario import Point, Row
from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.link_state import LinkState
from dnn_offload.cost.profile import Profile
from dnn_offload.planning.objective import LATENCY, Objective
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, ServerState
from dnn_offload.planning.search import plan, reprice
from dnn_offload.report.bench_records import LOCAL, Window

ALPHA_MS = 3.0  # of a transfer, as measured over the shaped link (docs/benchmarks.md)


def simulate_point(
    number: int, point: Point, rows: Sequence[Row], edge: Profile, server: Profile,
    power: PowerModel | None = None, objective: str = LATENCY,
) -> list[Window]:
    """Every row that is a strategy, and the oracle where it is asked for.

    Args:
        number: Of the point.
        point: Its link.
        rows: What is compared; rows that are no strategy are left out.
        edge: Profile of the robot under the quota of the point.
        server: The server's.
        power: The robot's board.
        objective: Of the planner.
    """
    up, down = point.conditions.uplink_mbps * 1e6, point.conditions.downlink_mbps * 1e6
    link = LinkState(ALPHA_MS, up, ALPHA_MS, down or up, 1.0)
    conditions = Conditions(edge, servers=(ServerState('server', server, link),), power=power)
    found = []
    for row in rows:
        strategy = 'auto' if row.name == 'oracle' else row.strategy
        if strategy:
            best = plan(strategy, conditions, _constraints(row, objective))[0]
            found.append(_window(number, row.name, reprice(best, conditions)))
    return found


def _constraints(row: Row, objective: str) -> Constraints:
    given = dict(row.planner)
    codecs, private = given.get('codecs', ()), given.get('private_layers', 0)
    assert isinstance(codecs, (list, tuple)) and isinstance(private, int)
    return Constraints(
        codecs=tuple(codecs), private_layers=private, objective=Objective(objective)
    )


def _window(number: int, row: str, candidate: Candidate) -> Window:
    local = candidate.is_local
    return Window(
        number, row, 0, candidate.latency_ms, candidate.latency_ms,
        1e3 / candidate.latency_ms, 1,
        plan=LOCAL if local else f'cut {candidate.cut_index} {candidate.codec}',
        cut_index=candidate.cut_index, cut_label=LOCAL if local else candidate.label,
        codec=candidate.codec, uplink_bytes=float(candidate.uplink_bytes),
        energy_j=candidate.energy_j if candidate.energy_j >= 0.0 else math.nan, simulated=True,
    )
