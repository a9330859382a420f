"""partition_planner_node: messages in, plans out, at once where it must be."""

from __future__ import annotations

import json
from pathlib import Path
import re
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import running_graph, wait_for
from planner_world import LATCHED, planner, profile, World
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from visualization_msgs.msg import Marker

from dnn_offload.msg import FrameReport, Plan, ServerStatus
from dnn_offload.nodes import planner_parameters
from dnn_offload.nodes.parameters import by_name
from dnn_offload.nodes.partition_planner_node import PartitionPlannerNode
from dnn_offload.nodes.plan_words import LINE_CHARS
from dnn_offload.planning import server_book


def values(arrays: list[DiagnosticArray]) -> dict[str, Any]:
    return {v.key: v.value for a in arrays[-1:] for s in a.status for v in s.values}


def test_offloads_with_a_table_and_reasons(tmp_path: Path) -> None:
    with running_graph() as graph, World(graph) as world, planner(tmp_path / 'log'):
        markers: list[Marker] = graph.collect(Marker, '/robot/plan_marker', LATCHED)
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        assert wait_for(lambda: world.runs_on('desk'), 20.0)
        assert world.plans[0].plan_id == 1  # all local, or not where the server was known first
        plan = world.plans[-1]
        assert (plan.cut, plan.cut_index, plan.codec) == ('c0', 0, 'jpeg')
        assert plan.model_identity == 'abc'
        assert plan.strategy == 'auto'
        assert 'ms' in plan.reason
        assert plan.uplink_bps > 0.0
        assert plan.scout_period_s > 0.0
        assert not any(plan.scout_period_s for plan in world.plans if not plan.server)
        assert plan.edge_load_factor == pytest.approx(1.0)
        assert {(c.cut, c.codec) for c in plan.table} == {
            ('c0', 'jpeg'), ('c0', 'raw'), ('c1', 'int8'), ('c1', 'raw'), ('', ''),
        }
        latencies = [c.latency_ms for c in plan.table]
        assert latencies == sorted(latencies)
        # The table is refreshed at 1 Hz under the same plan_id.
        count = len(world.plans)
        time.sleep(3.0)
        refreshed = world.plans[count:]
        assert 2 <= len(refreshed) <= 6
        assert {p.plan_id for p in refreshed} == {plan.plan_id}
        assert wait_for(lambda: bool(markers) and 'desk' in markers[-1].text)
        marker = markers[-1]
        runs, why = marker.text.splitlines()  # two lines; the whole reason is in the plan
        priced = re.match(r'desk, cut 0 as jpeg, (\d+) \+ (\d+) \+ (\d+)( \+ \d+)? = \d+ ms', runs)
        assert priced is not None, runs
        assert int(priced[3]) == pytest.approx(
            sum(getattr(plan.table[0], name) for name in ('queue_ms', 'decode_ms', 'tail_ms')),
            abs=1.5,
        )
        assert plan.reason.startswith(why.removesuffix(' ...')[:10])
        assert 10 < max(len(runs), len(why)) <= LINE_CHARS
        # Drawn with the newest transform, and gone soon after the planner is.
        assert (marker.header.stamp.sec, marker.header.stamp.nanosec) == (0, 0)
        assert marker.frame_locked and 2 < marker.lifetime.sec < 10
        assert marker.header.frame_id == 'base_link'
        assert wait_for(lambda: values(arrays).get('alternative 1') is not None)
        assert values(arrays)['edge_load_source'] == 'probe'


def test_late_joiner_gets_the_plan(tmp_path: Path) -> None:
    with running_graph() as graph, World(graph) as world, planner(tmp_path / 'log'):
        assert wait_for(lambda: world.runs_on('desk'), 20.0)
        late = graph.collect(
            Plan, '/robot/plan', QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        )
        assert wait_for(lambda: bool(late))


def test_the_link_is_known_by_what_frame_reports_tell(tmp_path: Path) -> None:
    with running_graph() as graph, World(graph) as world, planner(tmp_path / 'log'):
        assert wait_for(lambda: world.runs_on('desk'), 20.0)
        assert wait_for(lambda: world.plans[-1].uplink_bps == pytest.approx(4e7, rel=0.4))
        world.uplink_ms = 4_800.0  # 0.1 Mbit/s: even the JPEG of 10 kB takes 0.8 s
        assert wait_for(lambda: world.runs_on(''), 20.0)
        assert world.plans[-1].uplink_bps == pytest.approx(1e5, rel=0.4)


@pytest.mark.parametrize('how', ['stopping', 'lost', 'silent'])
def test_leaves_a_server_at_once(tmp_path: Path, how: str) -> None:
    # At 0.2 Hz the next tick is up to 5 s away: what comes sooner did not wait for it.
    parameters = ('rate_hz:=5.0', 'server_timeout_s:=1.0')
    with running_graph() as graph, World(graph) as world, planner(tmp_path / 'log', *parameters):
        assert wait_for(lambda: world.runs_on('desk'), 20.0)
        assert graph.set_parameter(
            '/robot/partition_planner_node', 'rate_hz', 0.2
        ).successful
        time.sleep(0.3)
        began_s = time.monotonic()
        if how == 'stopping':
            world.state = ServerStatus.STATE_STOPPING
            world.say()
        elif how == 'lost':
            world.speaks = False
            time.sleep(0.15)
            began_s = time.monotonic()
            world.lose()
        else:
            world.speaks = False
        assert wait_for(lambda: world.runs_on(''), 4.0)
        # A second for a machine that others use too.
        assert time.monotonic() - began_s < (2.5 if how == 'silent' else 1.5)
        assert world.plans[-1].urgent
        # It comes back and is used again within 5 s.
        assert graph.set_parameter(
            '/robot/partition_planner_node', 'rate_hz', 5.0
        ).successful
        world.state = ServerStatus.STATE_READY
        world.speaks = True
        assert wait_for(lambda: world.runs_on('desk'), 5.0)


def test_constraints_and_strategy_are_live(tmp_path: Path) -> None:
    node = '/robot/partition_planner_node'
    with running_graph() as graph, World(graph) as world, planner(tmp_path / 'log'):
        assert wait_for(lambda: world.runs_on('desk'), 20.0)
        assert graph.set_parameter(node, 'private_layers', 1).successful
        assert wait_for(lambda: world.plans[-1].cut == 'c1', 3.0)
        assert 'private_layers = 1' in world.plans[-1].reason
        assert world.plans[-1].private_layers == 1
        assert world.plans[-1].urgent
        assert all(c.cut_index > 0 for c in world.plans[-1].table)
        assert graph.set_parameter(node, 'private_layers', 0).successful
        assert graph.set_parameter(node, 'strategy', 'local').successful
        assert wait_for(lambda: world.runs_on(''), 3.0)
        refused = graph.set_parameter(node, 'strategy', 'best')
        assert 'neurosurgeon' in refused.reason
        assert 'jpeg' in graph.set_parameter(node, 'codecs', ['gif']).reason


def test_objectives_are_live_and_energy_needs_a_board(tmp_path: Path) -> None:
    node = '/robot/partition_planner_node'
    with running_graph() as graph, World(graph) as world, planner(tmp_path / 'log'):
        markers: list[Marker] = graph.collect(Marker, '/robot/plan_marker', LATCHED)
        assert wait_for(lambda: world.runs_on('desk'), 20.0)
        plan = world.plans[-1]
        assert (plan.objective, plan.threads, plan.return_cut) == ('latency', 0, '')
        assert plan.return_index == 65535
        assert plan.objective_value == pytest.approx(plan.predicted_ms)
        assert all(cost.energy_j != cost.energy_j for cost in plan.table)  # NaN: not known
        refused = graph.set_parameter(node, 'objective', 'energy')
        assert 'dnn-offload power' in refused.reason
        assert graph.set_parameter(node, 'board', 'raspberry_pi_4b').successful
        assert graph.set_parameter(node, 'objective', 'energy').successful
        assert wait_for(lambda: world.plans[-1].objective == 'energy', 4.0)
        plan = world.plans[-1]
        energies = [cost.energy_j for cost in plan.table]
        assert energies == sorted(energies)
        assert energies[0] == pytest.approx(plan.objective_value) == pytest.approx(
            plan.table[0].objective_value
        )
        for cost in plan.table:
            terms_j = (cost.compute_j, cost.send_j, cost.receive_j, cost.wait_j)
            assert sum(terms_j) == pytest.approx(cost.energy_j, rel=1e-4)
            assert (cost.send_j > 0.0) == bool(cost.server)
        assert any(cost.pareto for cost in plan.table)
        assert 'objective = energy' in plan.reason
        assert 'raspberry_pi_4b' in graph.set_parameter(node, 'board', 'toaster').reason
        assert wait_for(lambda: bool(markers) and 'energy' in markers[-1].text)
        assert 'J' in markers[-1].text.splitlines()[0]
        defaults = by_name(planner_parameters.PARAMETERS)  # loaded in the order of a dump
        assert graph.set_parameter(node, 'board', defaults['board'].default).successful
        assert wait_for(lambda: world.plans[-1].objective == 'latency', 4.0)
        log = tmp_path / 'log'
        assert 'objective energy is refused, latency is minimised' in log.read_text()
        assert 'dnn-offload power' in graph.set_parameter(node, 'objective', 'weighted').reason
        assert graph.set_parameter(node, 'objective', defaults['objective'].default).successful


def test_private_layers_do_not_wait_for_the_next_round(tmp_path: Path) -> None:
    node = '/robot/partition_planner_node'
    with running_graph() as graph, World(graph) as world, planner(tmp_path / 'log'):
        assert wait_for(lambda: world.runs_on('desk'), 20.0)
        assert graph.set_parameter(node, 'rate_hz', 0.2).successful
        began_s = time.monotonic()
        assert graph.set_parameter(node, 'private_layers', 9).successful
        assert wait_for(lambda: world.runs_on(''), 4.0)
        assert time.monotonic() - began_s < 2.0
        assert (world.plans[-1].private_layers, world.plans[-1].urgent) == (9, True)


def test_a_plan_that_is_not_taken_is_noticed(tmp_path: Path) -> None:
    with running_graph() as graph, World(graph) as world, planner(tmp_path / 'log'):
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        reports = graph.publisher(FrameReport, '/robot/frame_report')
        assert wait_for(lambda: world.runs_on('desk'), 20.0)
        missed, world.runs = world.plans[-1].plan_id, 77
        ends_s = time.monotonic() + 12.0
        while time.monotonic() < ends_s and not world.runs_on(''):
            reports.publish(FrameReport(plan_id=77, outcome=FrameReport.OUTCOME_LOCAL,
                                        head_ms=100.0, head_cpu_ms=100.0, latency_ms=105.0,
                                        result_codec='raw'))
            time.sleep(0.1)
        assert world.runs_on('')
        assert 'not taken' in world.plans[-1].reason
        again = [p for p in world.plans if p.server and p.plan_id > missed]
        assert len({p.plan_id for p in again}) == 1
        assert wait_for(
            lambda: any(
                s.level == DiagnosticStatus.WARN and 'not taken' in s.message
                for a in arrays for s in a.status
            )
        )


def test_damaged_profiles_and_other_models_do_no_harm(tmp_path: Path) -> None:
    with running_graph() as graph, World(graph) as world, planner(tmp_path / 'log') as process:
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        assert wait_for(lambda: world.runs_on('desk'), 20.0)
        damaged = json.loads(profile(10.0).to_json())
        damaged['cuts'][0]['head_ms'] = -1.0
        for text in ('', 'not json', '[]', '{}', json.dumps(damaged), '[' * 100_000):
            world.server_profile.publish(String(data=text))
            world.edge.publish(String(data=text))
        assert wait_for(
            lambda: any(
                s.level == DiagnosticStatus.WARN and 'is ignored' in s.message
                for a in arrays for s in a.status
            )
        )
        world.status.publish(ServerStatus(server='../evil', session=1, state=1))
        time.sleep(0.5)
        assert process.process.poll() is None
        assert world.runs_on('desk')
        world.identity = 'other'
        assert wait_for(lambda: world.runs_on(''), 3.0)
        world.edge.publish(String(data=profile(100.0).to_json()))
        world.server_profile.publish(String(data=profile(10.0).to_json()))
        assert wait_for(
            lambda: any('another model' in s.message for a in arrays for s in a.status)
        )
        log = tmp_path / 'log'
        assert wait_for(lambda: 'is not used: runs another model' in log.read_text())


def test_profiles_are_followed_of_servers_that_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_book, 'MAX_SERVERS', 3)
    monkeypatch.setattr(server_book, 'FORGET_SERVER_S', 1.5)
    monkeypatch.setattr(server_book, 'GONE_S', 0.5)
    with running_graph() as graph:
        node = PartitionPlannerNode()
        node.trigger_configure()
        node.trigger_activate()
        graph.add(node)
        status = graph.publisher(ServerStatus, '/dnn_offload/server_status', LATCHED)
        latched = [
            graph.publisher(String, f'/dnn_offload/{name}/profile', LATCHED) for name in 'ad'
        ]
        for publisher in latched:
            publisher.publish(String(data=profile(10.0).to_json()))
        assert wait_for(lambda: status.get_subscription_count() == 1)

        def say(*servers: str) -> None:
            for name in servers:
                status.publish(ServerStatus(
                    server=name, session=1, state=ServerStatus.STATE_READY, model_identity='abc',
                ))

        def follows(*servers: str) -> bool:
            return all(
                graph.observer.count_subscribers(f'/dnn_offload/{name}/profile')
                == (name in servers) for name in 'abcd'
            )

        say('a', 'b', 'c', 'd')
        assert wait_for(lambda: follows('a', 'b', 'c')), 'more than may be known'
        time.sleep(0.7)
        say('a', 'd')
        assert wait_for(lambda: follows('a', 'c', 'd') or follows('a', 'b', 'd'))
        edge = graph.publisher(String, '/edge_profile', LATCHED)
        edge.publish(String(data=profile(100.0).to_json()))
        assert wait_for(follows), 'none of them speaks any more'
        plans = graph.collect(Plan, '/plan', LATCHED)

        def offloads() -> bool:
            say('a')  # back: its latched profile is told again
            time.sleep(0.1)
            return bool(plans) and plans[-1].server == 'a'

        assert wait_for(offloads), plans[-1].reason
