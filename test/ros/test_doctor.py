"""The doctor beside a robot, a server and a camera that run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import contextlib
import json
import os
from pathlib import Path
import subprocess
import threading
from typing import Any

from harness import wait_for
from made_up_server import MadeUpRobot, MadeUpServer
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from dnn_offload.testbed.session import Session, write_pictures
from dnn_offload.transport import qos
from dnn_offload.transport.tensor_server import ServiceSettings

DOMAIN = 62  # see tools/run_tests.py
CHECKS = 'torch,pictures,install,ros,peers,camera,model,agreement,link,fps'


def doctor(*arguments: str, expected: int = 0) -> dict[str, dict[str, Any]]:
    """Run it as a user does; its checks by name."""
    program = Path(os.environ['DNN_OFFLOAD_NODES']) / 'dnn-offload'
    done = subprocess.run(
        [str(program), 'doctor', '--json', *arguments], capture_output=True, text=True,
        timeout=200,
    )
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    failed = [
        f'{check["name"]}: {check["found"]}'
        for check in report['checks'] if check['state'] == 'failure'
    ]
    assert done.returncode == report['exit_status'] == expected, failed
    return {check['name']: check for check in report['checks']}


@pytest.fixture(scope='module')
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session(tmp_path_factory.mktemp('session'), server={}, rate_hz=4.0) as session:
        yield session


def test_all_is_well_beside_a_robot_a_server_and_a_camera(
    running: Session, tmp_path: Path
) -> None:
    camera = str(write_pictures(tmp_path / 'pictures'))
    checks = doctor('--only', CHECKS, '--camera', camera)
    assert {name: check['state'] for name, check in checks.items()} == {
        'torch': 'ok', 'pictures': 'ok', 'install': 'ok',
        'ros': 'warning',  # discovery stays on this machine in tests
        'peers': 'ok', 'camera': 'ok', 'model': 'ok', 'agreement': 'ok', 'link': 'ok', 'fps': 'ok',
    }, checks
    assert checks['install']['facts']['kind'] == 'colcon'
    assert checks['ros']['facts']['rmw'] == 'rmw_fastrtps_cpp'

    peers = checks['peers']['facts']
    assert [server['server'] for server in peers['servers']] == ['edge_server']
    assert peers['servers'][0]['model'] == 'demo:detector'
    assert peers['robots'] == ['/robot']
    assert {'/robot/local_inference_node', '/robot/camera_node'} <= set(peers['nodes'])

    camera_facts = checks['camera']['facts']
    assert (camera_facts['width'], camera_facts['height']) == (640, 480)
    assert camera_facts['measured_hz'] > 0.0

    assert checks['model']['facts']['source'] == 'demo:detector'
    assert 'robot /robot finds its network' in checks['agreement']['found']
    link = checks['link']['facts']['edge_server']
    assert link['transfers_up'] >= 6 and link['transfers_down'] >= 6 and link['lost'] == 0
    assert link['uplink_bps'] > 2e6 and link['downlink_bps'] > 2e6

    plans = checks['fps']['facts']
    assert 'profile of robot /robot' in checks['fps']['found']
    assert plans['remote']['server'] == 'edge_server'
    best_ms = min(plans[name]['latency_ms'] for name in ('local', 'remote'))
    assert plans['auto']['latency_ms'] <= best_ms * 1.001


def test_the_stream_goes_on_while_the_doctor_measures(running: Session) -> None:
    with ThreadPoolExecutor() as pool:
        measuring = pool.submit(doctor, '--only', 'link')
        rows = running.collect(8.0)
        link = measuring.result()['link']['facts']['edge_server']
    assert link['transfers_down'] >= 6
    results = [row for row in rows if row.outcome in ('remote', 'local', 'rescued')]
    assert len(results) > 16 and len(results) > 0.5 * len(rows), rows  # of 32


def test_another_network_than_the_servers(running: Session) -> None:
    checks = doctor(
        'torchvision:squeezenet1_1', '--weights', 'random', '--only', 'agreement,link', expected=1
    )
    agreement = checks['agreement']
    assert agreement['state'] == 'failure'
    assert 'server edge_server has demo:detector' in agreement['found']
    assert 'model:=torchvision:squeezenet1_1' in agreement['cure']
    # Its probes do not need the network, its answers would.
    link = checks['link']['facts']['edge_server']
    assert link['transfers_up'] > 0 and link['downlink_bps'] is None


def test_somebody_with_other_message_definitions() -> None:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=61)
    stranger = rclpy.create_node('stranger', context=context)
    stranger.create_publisher(String, '/dnn_offload/server_status', qos.latched())
    try:
        peers = doctor('--domain', '61', '--only', 'peers', expected=1)['peers']
    finally:
        stranger.destroy_node()
        rclpy.try_shutdown(context=context)
    assert peers['state'] == 'failure'
    assert '/dnn_offload/server_status' in peers['found'] and 'same commit' in peers['cure']


def test_an_empty_domain_is_a_warning_with_what_must_be_the_same() -> None:
    # Not the domain of the test before: a context's participant goes when Python collects it.
    checks = doctor('--domain', str(DOMAIN), '--listen', '1.5', '--only', 'peers,agreement,link')
    assert checks['peers']['state'] == 'warning'
    assert 'ROS_DOMAIN_ID' in checks['peers']['cure']
    for name in ('agreement', 'link'):
        assert checks[name]['state'] == 'skipped'
        assert 'server' in checks[name]['found']


@contextlib.contextmanager
def spinning(name: str, context: rclpy.Context) -> Iterator[Node]:
    """A node that is spun until the block is left."""
    node = Node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown()
        thread.join(5.0)
        node.destroy_node()


# Its tests come last: the one above wants the domain empty.
@pytest.fixture
def lone_server() -> Iterator[MadeUpServer]:
    """A server on a domain of its own, which has room for one robot."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    with spinning('server', context) as node:
        server = MadeUpServer(node, settings=ServiceSettings(max_clients=1))
        yield server
        server.stop()
    rclpy.try_shutdown(context=context)


def link_to(server: MadeUpServer) -> dict[str, Any]:
    """What the doctor says of the link to it, where nothing can be sent."""
    link = doctor('--domain', str(DOMAIN), '--only', 'link', expected=1)['link']
    assert link['state'] == 'failure' and link['found'].startswith(f'{server.name} '), link
    return link


def test_a_server_that_is_full_is_told_from_a_link_that_is_shut(lone_server: MadeUpServer) -> None:
    with spinning('robot', lone_server.node.context) as node:
        robot = MadeUpRobot(node)
        assert wait_for(lambda: robot.uplink.connected(lone_server.name))
        link = link_to(lone_server)
        assert robot.uplink.connected(lone_server.name)  # it keeps its place
        robot.uplink.stop()
    assert 'it serves 1 robots; raise max_clients' in link['found']
    assert 'stop a robot' in link['cure'] and 'firewall' not in link['cure']


def test_a_link_that_lets_only_small_messages_through(
    lone_server: MadeUpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing of a probe arrives, as where fragments are lost.
    monkeypatch.setattr(lone_server.tensors, '_acknowledge', lambda *arguments: None)
    link = link_to(lone_server)
    assert 'has answered a greeting, but nothing large came through' in link['found']
    assert 'fastdds_lossy.xml' in link['cure'] and 'firewall' not in link['cure']
    assert link['facts'][lone_server.name]['greeted']


def test_a_server_that_hears_nothing(
    lone_server: MadeUpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lone_server.tensors, '_greet', lambda *arguments: None)
    link = link_to(lone_server)
    assert 'has answered no greeting within 6 s' in link['found']
    assert 'firewalls' in link['cure'] and not link['facts'][lone_server.name]['greeted']
