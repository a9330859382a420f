"""``dnn-offload top`` beside two robots and a server; what rviz and Foxglove would see of them."""

from __future__ import annotations

from collections.abc import Iterator
import fcntl
from functools import partial
import importlib
import json
import os
from pathlib import Path
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from types import SimpleNamespace
from typing import Any, ClassVar

from ament_index_python.packages import get_package_share_directory
from harness import Graph, running_graph, wait_for
import pytest

from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.fleet import Fleet
from dnn_offload.testbed.session import write_pictures
from dnn_offload.watch import main as watch_main

sys.path.append(str(Path(__file__).resolve().parents[1]))
import view_files  # beside the unit tests

ROBOTS = ('/robot', '/fleet/second')
SERVER = 'edge_server'
RATE_HZ = 5.0
WAIT_S = 120.0
COMMAND = (sys.executable, '-m', 'dnn_offload.cli.main', 'top')
# Topics of networks that are not run here.
OTHER_NETWORKS = {'/robot/classification', '/robot/segmentation'}


def top(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def snapshot(*arguments: str) -> dict[str, Any]:
    """What it says as JSON; its exit status must tell of serious alarms."""
    done = top('--json', *arguments)
    view: dict[str, Any] = json.loads(done.stdout)
    serious = any(alarm['level'] == 'serious' for alarm in view['alarms'])
    assert done.returncode == int(serious), done.stderr
    return view


@pytest.fixture(scope='module')
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    prepare_environment(int(os.environ['ROS_DOMAIN_ID']))
    folder: Path = tmp_path_factory.mktemp('top')
    (folder / 'logs').mkdir()
    pictures = write_pictures(folder / 'pictures')
    common = {'profile_budget_s': 1.0}
    with Fleet(folder / 'logs', cache_dir=folder / 'cache', common=common) as made:
        made.add('remote_inference_node', '/edge', server_id=SERVER)
        for number, namespace in enumerate(ROBOTS):
            made.add(
                'local_inference_node', namespace, client_id=f'r{number}', deadline_ms=2000.0
            )
            made.add('load_monitor_node', namespace)
            made.add('partition_planner_node', namespace)
            made.add('camera_node', namespace, source=str(pictures), rate_hz=RATE_HZ)

        def running() -> bool:
            made.check()
            view = snapshot('--wait', '4')
            robots = view['robots']
            return (
                [robot['name'] for robot in robots] == sorted(ROBOTS)
                and all(robot['stream'] and robot['plan'] for robot in robots)
                and [server['status']['state'] for server in view['servers']] == ['ready']
            )

        assert wait_for(running, WAIT_S)
        yield made


@pytest.fixture
def graph(fleet: Fleet) -> Iterator[Graph]:
    with running_graph() as made:
        yield made


def test_a_snapshot_has_robots_server_plans_and_rates(fleet: Fleet) -> None:
    view = snapshot('--wait', '6')
    assert view['domain'] == int(os.environ['ROS_DOMAIN_ID'])
    for robot in view['robots']:
        stream = robot['stream']
        assert robot['model'] == 'demo:detector' and robot['inference_nodes'] == 1
        assert stream['results_hz'] == pytest.approx(RATE_HZ, rel=0.3)
        assert 0.0 < stream['latency_median_ms'] <= stream['latency_p95_ms']
        assert 0.0 < stream['newest_age_s'] < 3.0
        assert stream['heard_share'] > 0.9
        assert robot['plan']['reason'] and robot['load']['factor'] >= 0.9
        assert {node['name'] for node in robot['nodes']} == {
            'camera_node', 'load_monitor_node', 'local_inference_node', 'partition_planner_node',
        }
    (server,) = view['servers']
    assert server['status']['server'] == SERVER and server['status']['clients'] == 2


def test_only_the_robot_that_was_asked_for_is_shown(fleet: Fleet) -> None:
    view = snapshot('--robot', 'fleet/second', '--wait', '3')
    assert [robot['name'] for robot in view['robots']] == ['/fleet/second']


def test_a_robot_that_is_not_there_is_an_alarm() -> None:
    done = top('--once', '--robot', 'nope', '--wait', '4')
    assert done.returncode == 1
    assert '! /nope: no robot of this namespace is heard' in done.stdout


class Slow:
    """Hears a robot at once, and its plan after some seconds, which pass in no time."""

    where: ClassVar[dict[str, object]] = {}

    def __init__(self, plan_after_s: float) -> None:
        self.plan_after_s, self.listened_s = plan_after_s, 0.0

    def listen(self, seconds: float) -> None:
        self.listened_s += seconds

    def look(self) -> SimpleNamespace:
        plan = 'a plan' if self.listened_s >= self.plan_after_s else None
        return SimpleNamespace(robots=[SimpleNamespace(plan=plan)], alarms=())


@pytest.mark.parametrize(('plan_after_s', 'listens_s'), [(1.0, 4.0), (5.6, 6.0), (99.0, 8.0)])
def test_a_single_look_waits_for_a_plan_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, plan_after_s: float, listens_s: float
) -> None:
    slow = Slow(plan_after_s)
    monkeypatch.setattr(watch_main, 'time', SimpleNamespace(monotonic=lambda: slow.listened_s))
    monkeypatch.setattr(watch_main, 'as_json', lambda view, where: {})
    watch_main._once(slow, None, SimpleNamespace(wait=4.0, json=True, svg=None))  # type: ignore[arg-type]
    assert slow.listened_s == pytest.approx(listens_s)


def test_text_goes_where_there_is_no_terminal_and_a_picture_into_a_file(
    fleet: Fleet, tmp_path: Path
) -> None:
    done = top('--once', '--wait', '4')
    missing = {name for name in (*ROBOTS, SERVER, 'predicted') if name not in done.stdout}
    assert not missing, done.stdout + done.stderr
    assert '\x1b' not in done.stdout
    path = tmp_path / 'top.svg'
    assert top('--svg', str(path), '--wait', '4').stdout == ''
    text = path.read_text(encoding='utf-8')
    assert '/fleet/second' in text and '@font-face' not in text
    assert set(re.findall(r'https?://[^"\s]+', text)) <= {
        'http://www.w3.org/2000/svg', 'https://www.textualize.io',
    }


@pytest.mark.parametrize('arguments, said', [
    (('--rate', '0'), '--rate'), (('--wait', '0'), '--wait'), (('--robot', 'no good'), '--robot'),
    (('--svg', '/nope/x.svg', '--wait', '3000'), '--svg'), (('--robot', ''), '--robot'),
])
def test_bad_arguments_are_refused_with_what_is_allowed(
    arguments: tuple[str, ...], said: str
) -> None:
    done = top(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f'dnn-offload: {said}') and done.stderr.count('\n') == 1


class Terminal:
    """The live view on a terminal of 80 columns and 24 lines."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, '--rate', '4'], stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, 'TERM': 'xterm-256color'}, start_new_session=True,
            # Ignored in what a script starts in the background, these tests for one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(slave)
        os.set_blocking(self.master, False)
        self.text = ''

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *unused: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    def shows(self, part: str, timeout_s: float = 20.0) -> bool:
        """Whether something is drawn from now on."""
        self.text = ''

        def there() -> bool:
            self.read()
            return part in self.text

        return wait_for(there, timeout_s)

    def read(self) -> None:
        """Take what has been drawn."""
        try:
            self.text += os.read(self.master, 1 << 20).decode('utf-8', 'replace')
        except OSError:
            pass  # nothing new, or the other end is closed

    def end(self, how: bytes | int) -> int:
        """Press a key or send a signal; returns the exit status."""
        if isinstance(how, bytes):
            os.write(self.master, how)
        else:
            self.process.send_signal(how)
        wait_for(lambda: bool(self.read() or self.process.poll() is not None), 10.0)
        self.read()
        return self.process.wait(1.0)


@pytest.mark.parametrize('how, status', [
    (b'q', 0), (signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM),
])
def test_the_live_view_ends_and_gives_the_terminal_back(
    fleet: Fleet, how: bytes | int, status: int
) -> None:
    with Terminal() as terminal:
        assert terminal.shows('/fleet/second'), terminal.text
        assert terminal.shows('edge_server')
        assert terminal.end(how) == status
        assert '\x1b[?1049l' in terminal.text, 'the screen that was there before'
        assert 'Traceback' not in terminal.text


def test_what_rviz_and_foxglove_ask_for_is_published(fleet: Fleet, graph: Graph) -> None:
    config = Path(get_package_share_directory('dnn_offload')) / 'config'
    shown = [*view_files.rviz_topics(config), *view_files.foxglove_topics(config)]
    assert len(shown) > 20

    def there() -> dict[str, list[str]]:
        return dict(graph.observer.get_topic_names_and_types())

    wanted = {item.topic for item in shown} - OTHER_NETWORKS
    assert wait_for(lambda: wanted <= set(there())), wanted - set(there())
    topics = there()
    for item in shown:
        if item.topic not in OTHER_NETWORKS:
            # A subscriber makes a topic, too.
            assert topics[item.topic] == [item.type_name], item
            count = partial(graph.observer.count_publishers, item.topic)
            assert wait_for(lambda count=count: count() > 0), item
        package, _, name = item.type_name.split('/')
        message = getattr(importlib.import_module(f'{package}.msg'), name)
        assert not item.field or item.field in message.get_fields_and_field_types(), item
    assert not any(item.from_the_start for item in shown if item.topic in OTHER_NETWORKS)


def test_what_is_killed_is_silent_and_comes_back(fleet: Fleet) -> None:
    """The last test: it takes nodes away. Between kill -9 and DDS's lease, silence is all."""
    second = [node for name, node in fleet.nodes.items() if name.startswith(ROBOTS[1])]
    with Terminal() as terminal:
        assert terminal.shows(ROBOTS[1])
        for node in second:
            node.kill()
        assert terminal.shows(f'{ROBOTS[1]}: silent for 5 s', 30.0), terminal.text
        assert terminal.shows('silent for 6 s')
        assert f'{ROBOTS[0]}: silent' not in terminal.text
        for node in second:
            node.start()

        def back() -> bool:
            view = snapshot('--wait', '4')
            return any(r['name'] == ROBOTS[1] and r['stream'] for r in view['robots'])

        assert wait_for(back, WAIT_S)
        fleet.nodes['/edge/remote_inference_node'].kill()
        assert terminal.shows(f'{SERVER}: silent for 5 s', 30.0), terminal.text
        assert terminal.shows('no server')
        assert terminal.end(b'q') == 0
