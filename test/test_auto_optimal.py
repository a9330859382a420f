"""``auto`` on random networks with branches, for every objective and under every limit.

Never worse than another strategy; and of plans with one cut the best, by brute force.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.profile import CutProfile
from dnn_offload.errors import PlanningError
from dnn_offload.planning import placement, two_cuts
from dnn_offload.planning.costs import late_cost_ms, local_candidate, with_energy, with_value
from dnn_offload.planning.objective import late_share, Objective, OBJECTIVES
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Scope, ServerState
from dnn_offload.planning.search import ALL_SHAPES, plan, reprice, STRATEGIES
from graph_profiles import fits, MEMORY_LIMITS_MB, overlap_ms, priced_conditions, wait_ms

PRIVATE_LAYERS = st.sampled_from([0, 0, 0, 1, 2])
FLOORS = st.sampled_from([0.0, 0.0, 0.55, 0.9])
DEADLINES_MS = st.sampled_from([0.0, 0.0, 20.0, 60.0, 200.0])
THREADS = st.sampled_from([(), (1, 2), (2,)])  # 1: as it is set
SERVERS = st.sampled_from([(), (), (), ('s',), ('t', 'u')])  # that may be used; () = all
LATENCY_WEIGHT = 0.3
WINDOW = 2


def _objective(name: str) -> Objective:
    return Objective(name, LATENCY_WEIGHT, WINDOW)


def _true_value(chosen: Candidate, at: Conditions, wanted: Constraints) -> float:
    """What a plan with up to two cuts is worth under the true conditions."""
    made = reprice(chosen, at)
    if wanted.deadline_ms > 0.0 and not made.is_local:
        edge, load, threads = at.edge_profile, at.edge_load, made.threads or 1
        (two,) = (v for v in edge.variants if v.backend == edge.backend)
        cut = made.cut_index
        tail_ms = edge.cuts[cut].tail_ms if threads == 1 else two.tail_ms[cut]
        slower = load * (1.0 + 0.1 * (threads - 1) * max(load - 1.0, 0.0))
        late_ms = late_cost_ms(
            made.latency_ms,
            made.head_ms + made.encode_ms,
            tail_ms * slower + edge.finish_ms * load,
            wanted.deadline_ms,
        )
        made = with_energy(replace(made, late_ms=float(late_ms)), at)
    return with_value(made, wanted, local_candidate(at)).value


def _best_cost(at: Conditions, wanted: Constraints) -> float:
    """Of ``auto``; infinite where it has no plan."""
    try:
        return plan('auto', at, wanted)[0].cost
    except PlanningError:
        return math.inf


def _is_allowed(chosen: Candidate, at: Conditions, wanted: Constraints) -> bool:
    """Whether it runs where it may, and there is the memory for it."""
    if chosen.is_local:
        return fits(wanted, at.edge_profile)
    (server,) = (server for server in at.servers if server.name == chosen.server)
    one_cut = not chosen.return_id and not chosen.frontier
    return (
        (not wanted.servers or server.name in wanted.servers)
        and server.link.downlink_bps > 0.0
        and fits(wanted, at.edge_profile, server.profile, chosen.cut_id if one_cut else '')
    )


@pytest.mark.parametrize('objective', OBJECTIVES)
@settings(max_examples=200, deadline=None)
@given(
    priced_conditions(),
    st.sampled_from([ALL_SHAPES, ('two_cuts',), ('dag',), ()]),
    PRIVATE_LAYERS, FLOORS, DEADLINES_MS, THREADS, MEMORY_LIMITS_MB, MEMORY_LIMITS_MB, SERVERS,
)  # fmt: skip
def test_auto_is_never_worse_than_another_strategy(
    objective: str, at: Conditions, shapes: tuple[str, ...], private_layers: int, floor: float,
    deadline_ms: float, threads: tuple[int, ...], edge_mb: float, server_mb: float,
    servers: tuple[str, ...],
) -> None:
    wanted = Constraints(
        private_layers, deadline_ms=deadline_ms, shapes=shapes, min_agreement=floor,
        threads=threads, objective=_objective(objective), max_edge_memory_mb=edge_mb,
        max_server_memory_mb=server_mb, servers=servers,
    )  # fmt: skip
    bound = _best_cost(at, wanted) * (1.0 - 1e-9) - 1e-9
    for name in STRATEGIES:
        try:
            others = plan(name, at, wanted)
        except PlanningError:
            local = name != 'remote' and fits(wanted, at.edge_profile)
            assert not local, 'all others have the all-local plan'
            continue
        assert all(_is_allowed(other, at, wanted) for other in others)
        for other in others[:3] if name != 'auto' else ():
            assert bound <= _true_value(other, at, wanted)
    # Nor worse than any plan of the shapes that it may use.
    for shape in (two_cuts, placement):
        if shape.SHAPE in shapes:
            local = local_candidate(at)
            for other in shape.candidates(at, wanted, Scope(deadline_ms=deadline_ms)):
                if _is_allowed(other, at, wanted):
                    assert bound <= with_value(other, wanted, local).value
    # Neither more shapes, nor more thread counts, nor more servers make it worse.
    fewer: list[dict[str, tuple[str, ...]]] = [{'shapes': ()}]
    fewer += [{'threads': ()}] if threads != (2,) else []
    fewer += [{'servers': (name,)} for name in servers or 'stu'[: len(at.servers)]]
    for less in fewer:
        assert bound <= _best_cost(at, replace(wanted, **less))  # type: ignore[arg-type]


# ---- one cut, by brute force -------------------------------------------------------------------


Plan = tuple[str, str, str, int]  # server, cut, codec, threads


def _values(at: Conditions, wanted: Constraints) -> Iterator[tuple[Plan, float]]:
    """All-local and every server, cut, codec and thread count with its value.

    By docs/planning.md; what a limit forbids is left out.
    """
    edge, power = at.edge_profile, at.power
    assert power is not None
    load = at.edge_load
    finish_ms = edge.finish_ms * load
    computing_ms = edge.cuts[-1].head_ms * load + finish_ms
    unwaited_ms = computing_ms + at.edge_overhead_ms
    unit_ms = unwaited_ms + wait_ms(computing_ms, at, '')
    unit_j = _energy_j(power, computing_ms, 0.0, 0.0, unwaited_ms, load, 1)

    def value(latency_ms: float, period_ms: float, joules: float) -> float:
        on_time = 1.0 - 0.99 * float(late_share(latency_ms, wanted.deadline_ms))
        return {
            'latency': latency_ms,
            'throughput': max(period_ms, latency_ms / WINDOW) / on_time,
            'energy': joules / on_time,
            'weighted': (
                LATENCY_WEIGHT * latency_ms / max(unit_ms, 1e-9)
                + (1.0 - LATENCY_WEIGHT) * joules / max(unit_j, 1e-12)
            ) / on_time,
        }[wanted.objective.name]

    own = tuple(cut.head_ms for cut in edge.cuts), tuple(cut.tail_ms for cut in edge.cuts)
    (same,) = (v for v in edge.variants if v.backend == edge.backend)
    counts = {1: own, 2: (same.head_ms, same.tail_ms)}
    for threads in wanted.threads or (1,):
        heads, tails = counts[threads]
        slower = load * (1.0 + 0.1 * (threads - 1) * max(load - 1.0, 0.0))
        named = threads if wanted.threads else 0
        stage_ms = heads[-1] * slower + finish_ms
        unwaited_ms = stage_ms + at.edge_overhead_ms
        joules = _energy_j(power, stage_ms, 0.0, 0.0, unwaited_ms, load, threads)
        if fits(wanted, edge):
            latency_ms = unwaited_ms + wait_ms(stage_ms, at, '')
            yield ('', '', '', named), value(latency_ms, stage_ms, joules)
        for server, cut, name in _ways(at, wanted):
            cost, link = cut.codecs[name], server.link
            head_ms = heads[cut.index] * slower if cut.index else 0.0
            encode_ms = cost.encode_ms * load
            over_bytes = max(cost.nbytes - link.uplink_burst_bytes, 0.0)
            up_ms = link.uplink_alpha_ms + 8e3 * over_bytes / link.uplink_bps
            there = server.profile.by_id()[cut.cut_id]
            server_ms = (there.codecs[name].decode_ms + there.tail_ms) * server.load_factor
            answer = server.profile.output_bytes['raw']
            down_ms = link.downlink_alpha_ms + 8e3 * answer / link.downlink_bps
            robot_ms = head_ms + encode_ms + finish_ms
            period_ms = max(robot_ms, up_ms, server_ms, down_ms)
            waited_ms = wait_ms(period_ms, at, server.name)
            latency_ms = (
                robot_ms + up_ms + server.queue_ms + server_ms + down_ms + server.overhead_ms
                + at.wake_ratio * head_ms + waited_ms
                - overlap_ms(cost.behind_ms * load, cost.nbytes, link)
            )
            if wanted.deadline_ms > 0.0:
                rescue_ms = tails[cut.index] * slower + finish_ms
                latency_ms += float(
                    late_cost_ms(latency_ms, head_ms + encode_ms, rescue_ms, wanted.deadline_ms)
                )
            # While a picture waits for the robot, that works for the one before it.
            joules = _energy_j(
                power, robot_ms, up_ms, down_ms, latency_ms - waited_ms, load, threads
            )
            plan_of = server.name, cut.cut_id, name, named
            yield plan_of, value(latency_ms, period_ms, joules)


def _ways(
    at: Conditions, wanted: Constraints
) -> Iterator[tuple[ServerState, CutProfile, str]]:
    """Every server, cut and codec that no limit forbids; cuts as the robot's profile has them."""
    for server in at.servers:
        if wanted.servers and server.name not in wanted.servers:
            continue
        if server.link.downlink_bps == 0.0:
            continue
        known_there = server.profile.by_id()
        for cut in at.edge_profile.cuts[:-1]:
            if cut.cut_id not in known_there or cut.depth < wanted.private_layers:
                continue
            if not fits(wanted, at.edge_profile, server.profile, cut.cut_id):
                continue
            for name, cost in cut.codecs.items():
                known = 1.0 if name == 'raw' else cost.agreement
                if not wanted.min_agreement or (
                    known is not None and known >= wanted.min_agreement
                ):
                    yield server, cut, name


def _energy_j(
    power: PowerModel, robot_ms: float, up_ms: float, down_ms: float, latency_ms: float,
    load: float, threads: int,
) -> float:  # fmt: skip
    """E = P_compute(k) * busy + P_tx * uplink + P_rx * downlink + P_idle * wait."""
    busy_ms = robot_ms / max(load, 1.0)
    idle_ms = latency_ms - busy_ms - up_ms - down_ms
    return 1e-3 * (
        (power.compute_w + (threads - 1) * power.core_w) * busy_ms
        + power.radio_tx_w * up_ms
        + power.radio_rx_w * down_ms
        + power.idle_w * idle_ms
    )


@pytest.mark.parametrize('objective', OBJECTIVES)
@settings(max_examples=200, deadline=None)
@given(
    priced_conditions(), PRIVATE_LAYERS, FLOORS, DEADLINES_MS,
    st.sampled_from([(), (1,), (2,), (1, 2)]), MEMORY_LIMITS_MB, MEMORY_LIMITS_MB, SERVERS,
)  # fmt: skip
def test_auto_with_one_cut_is_the_best_of_all_by_brute_force(
    objective: str, at: Conditions, private_layers: int, floor: float, deadline_ms: float,
    threads: tuple[int, ...], edge_mb: float, server_mb: float, servers: tuple[str, ...],
) -> None:
    wanted = Constraints(
        private_layers, deadline_ms=deadline_ms, min_agreement=floor, threads=threads,
        objective=_objective(objective), max_edge_memory_mb=edge_mb,
        max_server_memory_mb=server_mb, servers=servers,
    )
    every = dict(_values(at, wanted))
    if not every:
        with pytest.raises(PlanningError):
            plan('auto', at, wanted)
        return
    ranked = plan('auto', at, wanted)
    found = {(c.server, c.cut_id, c.codec, c.threads): c.cost for c in ranked}
    assert len(found) == len(ranked)
    assert found == pytest.approx(every, rel=1e-9, abs=1e-9)
    assert [c.cost for c in ranked] == sorted(found.values())
    few = plan('auto', at, replace(wanted, most=1))
    assert few[0].cost == pytest.approx(min(every.values()), rel=1e-9, abs=1e-9)
