"""partition_planner_node: each parameter that is live changes what is planned, and back again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticArray
from harness import Graph, running_graph, wait_for
from planner_world import LATCHED, planner, profile, World
import pytest
from visualization_msgs.msg import Marker

from dnn_offload.cost.profile import Profile, Variant
from dnn_offload.msg import Plan, PlanCost, ServerStatus
from dnn_offload.nodes import planner_parameters
from dnn_offload.nodes.parameters import by_name

NODE = '/robot/partition_planner_node'
DEFAULTS = by_name(planner_parameters.PARAMETERS)
NO_CUT = 65535
MB = 1_000_000
MEMORY = ((0, 40 * MB), (10 * MB, 30 * MB), (40 * MB, 0))  # of the heads and tails of each cut


def told(whole_ms: float) -> Profile:
    """With memory, the agreement of one codec, and a second thread count that is twice as fast."""
    plain = profile(whole_ms)
    cuts = [
        replace(cut, head_bytes=head, tail_bytes=tail)
        for cut, (head, tail) in zip(plain.cuts, MEMORY, strict=True)
    ]
    codecs = cuts[1].codecs
    cuts[1] = replace(cuts[1], codecs={**codecs, 'int8': replace(codecs['int8'], agreement=0.97)})
    heads, tails = (tuple(getattr(cut, name) / 2.0 for cut in cuts) for name in
                    ('head_ms', 'tail_ms'))
    return replace(plain, cuts=tuple(cuts), variants=(Variant('torch', 2, heads, tails),))


@pytest.fixture(scope='module')
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Graph, World]]:
    log = tmp_path_factory.mktemp('planner') / 'log'
    with running_graph() as graph, World(graph, told(100.0), told(10.0)) as world, planner(log):
        yield graph, world


@pytest.fixture
def world(running: tuple[Graph, World]) -> World:
    """Offloads to the desk under default parameters, whatever was set before."""
    graph, found = running
    found.load, found.server_load, found.uplink_ms, found.speaks = 1.0, 1.0, 12.0, True
    for name, spec in DEFAULTS.items():
        if name in CHANGED:
            assert graph.set_parameter(NODE, name, spec.default).successful
    CHANGED.clear()
    assert wait_for(lambda: found.runs_on('desk'), 20.0), found.plans[-1].weighed
    return found


@pytest.fixture
def put(running: tuple[Graph, World]) -> Callable[..., None]:
    """Set parameters while it runs."""
    def put(**values: object) -> None:
        for name, value in values.items():
            CHANGED.add(name)
            answer = running[0].set_parameter(NODE, name, value)
            assert answer.successful, answer.reason

    return put


CHANGED: set[str] = set()


def comes(world: World, so: Callable[[Plan], bool], timeout_s: float = 6.0) -> Plan:
    """The first plan from now on for which ``so`` holds."""
    seen = len(world.plans)
    assert wait_for(lambda: any(map(so, world.plans[seen:])), timeout_s), world.plans[-1]
    return next(plan for plan in world.plans[seen:] if so(plan))


def stays(world: World, server: str, seconds: float = 2.0) -> bool:
    """Whether all goes on to run there."""
    return not wait_for(lambda: not world.runs_on(server), seconds)


def ends(plan: Plan) -> set[tuple[str, str]]:
    return {(cost.cut, cost.codec) for cost in plan.table if cost.return_index == NO_CUT}


def at_home(plan: Plan) -> PlanCost:
    return next(cost for cost in plan.table if not cost.server)


def test_codecs(world: World, put: Callable[..., None]) -> None:
    put(codecs=['raw'])
    plan = comes(world, lambda plan: plan.codec == 'raw')
    assert ends(plan) == {('c0', 'raw'), ('c1', 'raw'), ('', '')}


def test_servers(world: World, put: Callable[..., None]) -> None:
    put(servers=['closet'])
    assert ends(comes(world, lambda plan: not plan.server)) == {('', '')}
    put(servers=['closet', 'desk'])
    comes(world, lambda plan: plan.server == 'desk')


def test_min_agreement(world: World, put: Callable[..., None]) -> None:
    put(min_agreement=0.95)
    plan = comes(world, lambda plan: plan.codec != 'jpeg')
    # Of the JPEG nobody knows; int8 was measured; raw agrees by construction.
    assert ends(plan) == {('c0', 'raw'), ('c1', 'int8'), ('c1', 'raw'), ('', '')}
    put(min_agreement=0.98)
    comes(world, lambda plan: ends(plan) == {('c0', 'raw'), ('c1', 'raw'), ('', '')})


def test_max_edge_memory_mb(world: World, put: Callable[..., None]) -> None:
    put(max_edge_memory_mb=20.0)
    plan = comes(world, lambda plan: ('', '') not in ends(plan))
    assert {cut for cut, _ in ends(plan)} == {'c0', 'c1'}
    put(max_edge_memory_mb=5.0)
    comes(world, lambda plan: {cut for cut, _ in ends(plan)} == {'c0'})


def test_max_server_memory_mb(world: World, put: Callable[..., None]) -> None:
    put(max_server_memory_mb=35.0)
    plan = comes(world, lambda plan: plan.cut == 'c1')
    assert {cut for cut, _ in ends(plan)} == {'c1', ''}
    assert 'max_server_memory_mb = 35' in plan.reason


def test_thread_counts(world: World, put: Callable[..., None]) -> None:
    one = at_home(comes(world, lambda plan: True))
    assert one.threads == 0
    put(thread_counts=[2])
    two = at_home(comes(world, lambda plan: any(cost.threads == 2 for cost in plan.table)))
    assert two.threads == 2
    assert two.head_ms == pytest.approx(0.5 * one.head_ms, rel=0.2)


def test_plan_shapes(world: World, put: Callable[..., None]) -> None:
    put(plan_shapes=[])
    comes(world, lambda plan: all(cost.return_index == NO_CUT for cost in plan.table))
    put(plan_shapes=['two_cuts'])
    comes(world, lambda plan: any(cost.return_cut == 'c1' for cost in plan.table))


def test_load_source(
    running: tuple[Graph, World], world: World, put: Callable[..., None]
) -> None:
    world.load = 3.0  # by the monitor's combination and its probe; the load average says 1
    comes(world, lambda plan: plan.edge_load_factor == pytest.approx(3.0, rel=0.01))
    put(load_source='loadavg')
    comes(world, lambda plan: plan.edge_load_factor == pytest.approx(1.0))
    put(load_source='probe')
    plan = comes(world, lambda plan: plan.edge_load_factor == pytest.approx(3.0))
    assert at_home(plan).head_ms == pytest.approx(300.0, rel=0.01)
    # One that this world does not have: what is assumed, and why, is said.
    arrays: list[DiagnosticArray] = running[0].collect(DiagnosticArray, '/diagnostics')
    put(load_source='psi')

    def said() -> bool:
        texts = [status.message for array in arrays for status in array.status]
        return any('psi has no value here' in text and 'probe' in text for text in texts)

    assert wait_for(said, 20.0)


@pytest.mark.parametrize('name, most', [
    ('hold_ticks', 1000), ('min_gain_ms', 10_000.0), ('min_gain_percent', 90.0),
])
def test_what_a_gain_must_be(
    world: World, put: Callable[..., None], name: str, most: float
) -> None:
    put(**{name: most})
    world.uplink_ms = 1_500.0  # the JPEG takes 0.25 s now, all-local 0.1
    comes(world, lambda plan: plan.uplink_bps < 4e5, 20.0)
    assert stays(world, 'desk', 3.0), world.plans[-1].reason
    assert 'kept: ' in world.plans[-1].weighed
    put(**{name: DEFAULTS[name].default})
    comes(world, lambda plan: not plan.server)


def test_rate_hz(world: World, put: Callable[..., None]) -> None:
    put(rate_hz=0.2, hold_ticks=1)
    world.server_load = 30.0
    assert stays(world, 'desk'), 'a round before its time'
    put(rate_hz=20.0)
    comes(world, lambda plan: not plan.server, 2.5)


def test_a_step_of_the_link_does_not_wait_for_the_next_round(
    world: World, put: Callable[..., None]
) -> None:
    put(rate_hz=0.2, hold_ticks=1)
    world.uplink_ms = 4_800.0
    comes(world, lambda plan: not plan.server, 2.5)


def test_server_timeout_s(world: World, put: Callable[..., None]) -> None:
    put(server_timeout_s=30.0)
    world.speaks = False
    assert stays(world, 'desk', 3.0)
    put(server_timeout_s=0.5)
    assert comes(world, lambda plan: not plan.server, 2.0).urgent


def test_objective_weights_and_window(world: World, put: Callable[..., None]) -> None:
    put(board='raspberry_pi_4b', objective='weighted', latency_weight=1.0)
    plan = comes(world, lambda plan: plan.objective == 'weighted')
    share = plan.predicted_ms / at_home(plan).latency_ms
    assert plan.objective_value == pytest.approx(share, rel=0.01)
    put(latency_weight=0.0)
    plan = comes(world, lambda plan: plan.objective_value != pytest.approx(share, rel=0.01))
    chosen = next(cost for cost in plan.table if cost.objective_value == plan.objective_value)
    assert plan.objective_value == pytest.approx(chosen.energy_j / at_home(plan).energy_j, 0.01)
    with_idle_j = at_home(plan).energy_j
    put(count_idle_power=False)
    comes(world, lambda plan: at_home(plan).energy_j < 0.9 * with_idle_j)
    put(objective='throughput', window=1)
    plan = comes(world, lambda plan: plan.objective == 'throughput')
    assert plan.objective_value == pytest.approx(plan.predicted_ms, rel=0.01)
    put(window=4)
    comes(world, lambda plan: plan.objective_value < 0.9 * plan.predicted_ms)


def test_table_size(world: World, put: Callable[..., None]) -> None:
    assert len(comes(world, lambda plan: True).table) > 3
    put(table_size=2)
    comes(world, lambda plan: len(plan.table) == 2)


def test_marker_frame_id(
    running: tuple[Graph, World], world: World, put: Callable[..., None]
) -> None:
    markers: list[Marker] = running[0].collect(Marker, '/robot/plan_marker', LATCHED)
    assert wait_for(lambda: bool(markers)) and markers[-1].header.frame_id == 'base_link'
    put(marker_frame_id='mast')
    assert wait_for(lambda: markers[-1].header.frame_id == 'mast')


def test_what_is_assumed_of_a_link_that_was_never_measured(
    world: World, put: Callable[..., None]
) -> None:
    """Last: a server that was started again is another one, and nothing is known of its link."""
    world.transfers = False
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, world, 'transfers', True)
        world.state = ServerStatus.STATE_STOPPING
        comes(world, lambda plan: not plan.server)
        put(default_uplink_bps=5e6, default_downlink_bps=7e6, default_alpha_ms=9.0)
        world.session, world.state = 2, ServerStatus.STATE_READY
        plan = comes(world, lambda plan: plan.server == 'desk')
    assert (plan.uplink_bps, plan.downlink_bps, plan.uplink_alpha_ms) == pytest.approx((
        5e6, 7e6, 9.0
    ))
