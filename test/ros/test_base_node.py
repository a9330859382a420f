"""The base of all nodes: lifecycle, parameters, diagnostics, the end of a process."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import time
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import Graph, NodeProcess, running_graph, wait_for
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes import base
from dnn_offload.nodes.parameters import ParameterSpec
from dnn_offload.nodes.process_settings import cores_here
from dnn_offload.nodes.topics import NodeTopics
from dnn_offload.transport.topics import Endpoint, Quality

TEXT = 'std_msgs/msg/String'
OUT = Endpoint('out', TEXT, Quality(10), 'What it says.', 'A test.', overridable=True)
IN = Endpoint('in', TEXT, Quality(10), 'What it hears.', 'A test.')
MODES = ('auto', 'fail', 'crash', 'stuck', 'odd')


class Probe(base.OffloadNode):
    """A node that writes down what happens to it."""

    NODE = 'probe_node'
    PARAMETERS = (
        ParameterSpec('rate_hz', 5.0, 'A rate.', unit='Hz', minimum=0.5, maximum=100.0),
        ParameterSpec('size', 3, 'A size.', minimum=1, maximum=10),
        ParameterSpec('mode', 'auto', 'A mode.', choices=MODES),
        ParameterSpec('codecs', ('raw', 'int8'), 'A list.', choices=('raw', 'int8', 'fp16')),
        ParameterSpec('names', (), 'An empty list.'),
        ParameterSpec('fixed', 'x', 'Read only.', read_only=True),
    )

    def __init__(self, **arguments: Any) -> None:
        self.events: list[str] = []
        self.changes: list[dict[str, Any]] = []
        super().__init__(**arguments)

    def endpoints(self) -> NodeTopics:
        return NodeTopics((OUT,), (IN,))

    def configure(self) -> None:
        self.events.append('configure')
        mode = self.setting('mode')
        if mode == 'fail':
            raise ConfigurationError('mode fail was asked for')
        if mode == 'crash':
            raise ZeroDivisionError('mode crash was asked for')
        self.publisher = self.advertise(String, OUT)

    def activate(self) -> None:
        self.events.append('activate')
        self.subscribe(String, IN, self.on_message)
        self.every(0.05, lambda: self.publisher.publish(String(data='tick')))

        if self.setting('mode') == 'odd':
            raise ConfigurationError('mode odd was asked for')

    def deactivate(self) -> None:
        self.events.append('deactivate')
        if self.setting('mode') in ('stuck', 'odd'):
            raise ZeroDivisionError('the way down is broken')

    def cleanup(self) -> None:
        self.events.append('cleanup')
        if self.setting('mode') == 'stuck':
            raise ConfigurationError('the rest is broken as well')

    def shutdown(self) -> None:
        self.events.append('shutdown')

    def on_parameters_changed(self, changed: dict[str, Any]) -> None:
        self.changes.append(changed)

    def on_message(self, message: String) -> None:
        if message.data == 'bad':
            raise ValueError('bad message')
        self.events.append(message.data)


def test_starts_by_itself_and_goes_through_its_states() -> None:
    with running_graph() as graph:
        ticks = graph.collect(String, 'robot/out')
        node = graph.add(Probe(namespace='robot'))
        assert wait_for(lambda: len(ticks) > 2)
        assert node.events == ['configure', 'activate']
        assert graph.state('robot/probe_node') == 'active'

        assert graph.change_state('robot/probe_node', Transition.TRANSITION_DEACTIVATE)
        count = len(ticks)
        time.sleep(0.3)
        assert len(ticks) <= count + 1
        assert graph.change_state('robot/probe_node', Transition.TRANSITION_CLEANUP)
        assert graph.change_state('robot/probe_node', Transition.TRANSITION_CONFIGURE)
        assert graph.change_state('robot/probe_node', Transition.TRANSITION_ACTIVATE)
        count = len(ticks)
        assert wait_for(lambda: len(ticks) > count + 2)
        assert graph.change_state('robot/probe_node', Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert node.events == [
            'configure', 'activate', 'deactivate', 'cleanup', 'configure', 'activate',
            'deactivate', 'cleanup', 'shutdown',
        ]


def test_a_transition_that_is_not_possible_is_refused_and_not_fatal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with running_graph() as graph:
        node, name = graph.add(Probe()), 'probe_node'
        assert wait_for(lambda: node.is_active)
        before = list(node.events)
        impossible = (
            Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_CLEANUP, Transition.TRANSITION_INACTIVE_SHUTDOWN,
            Transition.TRANSITION_DESTROY, 250,
        )
        for transition in impossible:
            assert not graph.change_state(name, transition)
            assert graph.state(name) == 'active'
        by_label = ChangeState.Request(transition=Transition(label='fly'))
        assert not graph.call(ChangeState, f'{name}/change_state', by_label).success
        assert node.events == before
        assert graph.change_state(name, Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert graph.state(name) == 'finalized'
        assert not graph.change_state(name, Transition.TRANSITION_CONFIGURE)
        assert graph.state(name) == 'finalized'
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        assert wait_for(lambda: 'finalized' in messages_of(arrays))
    said = capfd.readouterr().err
    assert 'the node is active; allowed: deactivate, shutdown' in said
    assert "transition 'fly' is refused: the node is active" in said
    assert 'the node is finalized; allowed: nothing' in said


@pytest.mark.parametrize(('state', 'transition'), [
    ('unconfigured', Transition.TRANSITION_UNCONFIGURED_SHUTDOWN),
    ('inactive', Transition.TRANSITION_INACTIVE_SHUTDOWN),
    ('active', Transition.TRANSITION_ACTIVE_SHUTDOWN),
])
def test_shuts_down_from_each_state(state: str, transition: int) -> None:
    way = {'unconfigured': [], 'inactive': ['configure'], 'active': ['configure', 'activate']}
    back = {'unconfigured': [], 'inactive': ['cleanup'], 'active': ['deactivate', 'cleanup']}
    ids = {
        'configure': Transition.TRANSITION_CONFIGURE,
        'activate': Transition.TRANSITION_ACTIVATE,
    }
    with running_graph(['--ros-args', '-p', 'autostart:=false']) as graph:
        node, name = graph.add(Probe()), 'probe_node'
        for step in way[state]:
            assert graph.change_state(name, ids[step])
        assert graph.change_state(name, transition)
        assert graph.state(name) == 'finalized'
        assert node.events == [*way[state], *back[state], 'shutdown']


def qos_of(graph: Graph, topic: str) -> QoSProfile:
    assert wait_for(lambda: graph.observer.count_publishers(topic) == 1)
    return graph.observer.get_publishers_info_by_topic(topic)[0].qos_profile


def test_qos_is_overridden_by_parameters_and_survives_a_second_configure() -> None:
    override = 'qos_overrides./fleet/out.publisher'
    arguments = ['--ros-args', '-r', '__ns:=/fleet', '-p', f'{override}.reliability:=best_effort',
                 '-r', 'probe_node:in:=commands']
    with running_graph(arguments) as graph:
        node, name = graph.add(Probe()), '/fleet/probe_node'
        assert wait_for(lambda: node.is_active)
        assert graph.observer.count_subscribers('/fleet/commands') == 1  # remapped
        for _ in range(2):
            assert qos_of(graph, '/fleet/out').reliability == ReliabilityPolicy.BEST_EFFORT
            for transition in (
                Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP,
                Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE,
            ):
                assert graph.change_state(name, transition)
        depth, = graph.describe(name, [f'{override}.depth'])
        assert depth.read_only and node.get_parameter(f'{override}.depth').value == 10


@pytest.mark.parametrize(('policy', 'value'), [
    ('reliability', 'quick'), ('history', '3'), ('depth', '0'), ('depth', '"many"'),
    ('reliability', 'unknown'),
])
def test_a_bad_qos_override_is_refused_with_what_is_allowed(policy: str, value: str) -> None:
    override = f'qos_overrides./out.publisher.{policy}:={value}'
    with (
        running_graph(['--ros-args', '-p', override]),
        pytest.raises(ConfigurationError, match=f'{policy} is refused.*allowed: '),
    ):
        Probe()


def test_a_qos_override_that_matches_nothing_is_told(tmp_path: Path) -> None:
    file, log = tmp_path / 'p.yaml', tmp_path / 'log'
    file.write_text(
        '/**:\n  ros__parameters:\n    qos_overrides:\n'
        '      /image_raw: {publisher: {depth: 2}}\n'
        '      /robot/image_raw/compressed: {publisher: {depth: 3}}\n'
    )
    with NodeProcess('camera_node', ['-r', '__ns:=/robot', '--params-file', str(file)], log):
        assert wait_for(lambda: 'without effect' in log.read_text(), 20.0)
    said = log.read_text()
    assert 'qos_overrides./image_raw.publisher.depth (is qos_overrides./robot/image_raw' in said
    assert 'compressed' not in said.split('without effect')[1].splitlines()[0]


def test_simulated_time_that_never_comes_is_reported() -> None:
    with running_graph(['--ros-args', '-p', 'use_sim_time:=true']) as graph:
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        graph.add(Probe())
        assert wait_for(lambda: any('nothing comes on /clock' in m for m in messages_of(arrays)))
        clock = graph.publisher(Clock, '/clock')
        clock_time = Time(sec=1000)

        def ticks() -> bool:
            clock.publish(Clock(clock=clock_time))
            return bool(arrays) and arrays[-1].header.stamp == clock_time

        assert wait_for(ticks)
        assert arrays[-1].status[0].level == DiagnosticStatus.OK


def test_waits_for_a_manager_without_autostart() -> None:
    with running_graph(['--ros-args', '-p', 'autostart:=false']) as graph:
        graph.add(Probe())
        time.sleep(0.3)
        assert graph.state('probe_node') == 'unconfigured'


@pytest.mark.parametrize(('mode', 'text'), [('fail', 'asked for'), ('crash', 'ZeroDivision')])
def test_a_failed_transition_is_said_and_can_be_tried_again(mode: str, text: str) -> None:
    with running_graph(['--ros-args', '-p', f'mode:={mode}']) as graph:
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        graph.add(Probe())

        def reported() -> list[DiagnosticStatus]:
            return [s for a in arrays for s in a.status if text in s.message]

        assert wait_for(lambda: bool(reported()))
        assert reported()[0].level == DiagnosticStatus.ERROR
        assert graph.state('probe_node') == 'unconfigured'
        assert graph.set_parameter('probe_node', 'mode', 'auto').successful
        assert graph.change_state('probe_node', Transition.TRANSITION_CONFIGURE)
        arrays.clear()
        assert wait_for(lambda: bool(arrays))
        assert arrays[-1].status[0].level == DiagnosticStatus.OK


def messages_of(arrays: list[Any]) -> list[str]:
    return [status.message for array in arrays for status in array.status]


def test_failures_on_the_way_down_do_not_keep_a_node_half_alive() -> None:
    with running_graph(['--ros-args', '-p', 'mode:=stuck']) as graph:
        name = 'probe_node'
        node = graph.add(Probe())
        ticks = graph.collect(String, 'out')
        assert wait_for(lambda: len(ticks) > 1)
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        assert graph.change_state(name, Transition.TRANSITION_DEACTIVATE)
        assert graph.state(name) == 'inactive' and not node.is_active
        assert wait_for(lambda: any('way down is broken' in m for m in messages_of(arrays)))
        assert graph.change_state(name, Transition.TRANSITION_CLEANUP)
        assert graph.state(name) == 'unconfigured'
        assert graph.change_state(name, Transition.TRANSITION_CONFIGURE)
        assert graph.change_state(name, Transition.TRANSITION_ACTIVATE)
        ticks.clear()
        assert wait_for(lambda: len(ticks) > 1)


def test_a_failed_activation_whose_way_back_fails_too_can_be_tried_again() -> None:
    with running_graph(['--ros-args', '-p', 'mode:=odd']) as graph:
        name = 'probe_node'
        node = graph.add(Probe())
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        assert wait_for(lambda: any('mode odd' in m for m in messages_of(arrays)))
        assert graph.state(name) == 'inactive' and not node.is_active
        assert graph.set_parameter(name, 'mode', 'auto').successful
        assert graph.change_state(name, Transition.TRANSITION_ACTIVATE)
        ticks = graph.collect(String, 'out')
        assert wait_for(lambda: len(ticks) > 1)


def test_parameters_are_described_checked_and_applied() -> None:
    with running_graph() as graph:
        node = graph.add(Probe())
        assert wait_for(lambda: node.is_active)
        name = 'probe_node'
        rate, mode, cores = graph.describe(name, ['rate_hz', 'mode', 'cpu_affinity'])
        assert 'Allowed, each: 0 .. 1023.' in cores.additional_constraints
        assert rate.floating_point_range[0].to_value == 100.0
        assert 'Hz' in rate.additional_constraints
        assert 'auto, fail, crash, stuck, odd' in mode.additional_constraints

        refused = graph.set_parameter(name, 'mode', 'fast')
        assert not refused.successful
        assert 'auto, fail, crash, stuck, odd' in refused.reason
        assert not graph.set_parameter(name, 'rate_hz', 1000.0).successful
        assert not graph.set_parameter(name, 'size', 11).successful
        assert not graph.set_parameter(name, 'size', 2.5).successful
        assert not graph.set_parameter(name, 'fixed', 'y').successful
        refused = graph.set_parameter(name, 'codecs', ['raw', 'zip'])
        assert not refused.successful
        assert 'fp16' in refused.reason
        assert node.changes == []

        assert graph.set_parameter(name, 'rate_hz', 7).successful  # an integer for a double
        assert graph.set_parameter(name, 'codecs', ['fp16']).successful
        assert graph.set_parameter(name, 'codecs', []).successful
        assert graph.set_parameter(name, 'names', ['a', 'b']).successful
        assert node.changes == [
            {'rate_hz': 7.0}, {'codecs': ('fp16',)}, {'codecs': ()}, {'names': ('a', 'b')},
        ]


def test_start_up_values_are_taken_and_checked(tmp_path: Path) -> None:
    file = tmp_path / 'p.yaml'
    file.write_text(
        '/**/probe_node:\n  ros__parameters:\n'
        '    rate_hz: 7\n    codecs: []\n    names: ["a", ""]\n    fixed: "y"\n'
    )
    arguments = ['--ros-args', '--params-file', str(file)]
    for namespace in ('', 'fleet/robot'):
        with running_graph(arguments) as graph:
            node = graph.add(Probe(namespace=namespace))
            assert node.setting('rate_hz') == 7.0
            assert node.setting('codecs') == ()
            assert node.setting('names') == ('a',)
            assert node.setting('fixed') == 'y'
    with (
        running_graph(['--ros-args', '-p', 'mode:=fast']),
        pytest.raises(ConfigurationError, match='auto, fail, crash, stuck, odd'),
    ):
        Probe()


def test_an_error_in_a_callback_is_counted_and_not_fatal() -> None:
    with running_graph() as graph:
        node = graph.add(Probe())
        assert wait_for(lambda: node.is_active)
        publisher = graph.publisher(String, 'in')
        assert wait_for(lambda: publisher.get_subscription_count() > 0)
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        publisher.publish(String(data='bad'))
        publisher.publish(String(data='good'))
        assert wait_for(lambda: 'good' in node.events)

        def errors() -> str:
            values = {v.key: v.value for a in arrays for s in a.status for v in s.values}
            return values.get('callback_errors', '')

        assert wait_for(lambda: errors() == '1')


def test_process_settings_reach_every_thread() -> None:
    with running_graph() as graph:
        node = graph.add(Probe())
        assert wait_for(lambda: node.is_active)
        before = os.sched_getaffinity(0)
        core = max(before)
        assert graph.set_parameter('probe_node', 'cpu_affinity', [core]).successful
        threads = [int(task) for task in os.listdir('/proc/self/task')]
        assert all(os.sched_getaffinity(task) == {core} for task in threads)
        assert graph.set_parameter('probe_node', 'cpu_affinity', []).successful
        assert os.sched_getaffinity(0) == before
        refused = graph.set_parameter('probe_node', 'cpu_affinity', [core, 1023])
        assert not refused.successful and str(sorted(cores_here())) in refused.reason


def test_a_process_yields_as_its_parameters_say(tmp_path: Path) -> None:
    wanted = min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)
    arguments = ['-p', f'nice:={wanted}', '-p', 'oom_score_adj:=700', '-r', '__ns:=/yielding']
    with running_graph() as graph, NodeProcess(
        'load_monitor_node', arguments, tmp_path / 'log'
    ) as process:
        node = '/yielding/load_monitor_node'
        assert wait_for(lambda: 'load_monitor_node' in graph.observer.get_node_names(), 20.0)
        assert wait_for(lambda: graph.state(node) == 'active')
        pid = process.process.pid
        tasks = [int(task) for task in os.listdir(f'/proc/{pid}/task')]
        assert {os.getpriority(os.PRIO_PROCESS, task) for task in tasks} == {wanted}
        assert Path(f'/proc/{pid}/oom_score_adj').read_text() == '700\n'
        assert graph.set_parameter(node, 'nice', min(wanted + 1, 19)).successful
        assert wait_for(lambda: os.getpriority(os.PRIO_PROCESS, pid) == min(wanted + 1, 19))
        assert not graph.set_parameter(node, 'oom_score_adj', 2000).successful
        assert graph.set_parameter(node, 'oom_score_adj', 800).successful
        assert wait_for(lambda: Path(f'/proc/{pid}/oom_score_adj').read_text() == '800\n')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_executable_ends_cleanly_on_a_signal(tmp_path: Path, number: int) -> None:
    with running_graph() as graph:
        arguments = ['-p', 'rate_hz:=10.0', '-r', '__ns:=/robot']
        with NodeProcess('load_monitor_node', arguments, tmp_path / 'log') as process:
            assert wait_for(lambda: 'load_monitor_node' in graph.observer.get_node_names(), 20.0)
            assert wait_for(lambda: graph.state('/robot/load_monitor_node') == 'active')
            end_s = time.monotonic() + 1.5  # the terminal's, the launcher's, an impatient user's
            while process.process.poll() is None and time.monotonic() < end_s:
                process.process.send_signal(number)
                time.sleep(0.02)
            assert process.process.wait(30.0) == 0  # by itself, however busy we are
        said = process.log.read_text()
        assert f'{signal.Signals(number).name} received: shutting down' in said
        assert 'Traceback' not in said


def test_a_ctrl_c_while_it_starts_is_one_line(tmp_path: Path) -> None:
    def catches_sigterm(pid: int) -> bool:  # Python itself does not
        status = Path(f'/proc/{pid}/status').read_text()
        caught = int(status.split('SigCgt:')[1].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    with NodeProcess('camera_node', [], tmp_path / 'log') as process:
        pid = process.process.pid
        assert wait_for(lambda: catches_sigterm(pid), 20.0)
        assert process.end(signal.SIGINT, 20.0) == 0
    text = process.log.read_text()
    assert 'SIGINT received while starting' in text and len(text.splitlines()) == 1


def test_a_bad_start_up_value_is_one_clear_line(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    with NodeProcess('load_monitor_node', ['-p', 'rate_hz:=1000.0'], log) as process:
        assert process.process.wait(20.0) == 2
    text = log.read_text().strip()
    assert 'rate_hz' in text
    assert '0.2 .. 50 Hz' in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize('arguments', [
    ['--params-file', '/nonexist.yaml'], ['--log-level', 'nosuch'], ['-r', '__ns:=/1bad'],
    ['--bogus'],
])
def test_a_bad_argument_of_ros_is_one_clear_line(tmp_path: Path, arguments: list[str]) -> None:
    log = tmp_path / 'log'
    with NodeProcess('load_monitor_node', arguments, log) as process:
        assert process.process.wait(20.0) == 2
    *of_rcl, ours = log.read_text().strip().splitlines()
    assert ours.partition(': ')[0].endswith('load_monitor_node') and arguments[-1] in ours
    assert all('[rcl]' in line for line in of_rcl)


@pytest.mark.parametrize(('node', 'given', 'said'), [
    ('partition_planner_node', 'objective:=energy', 'objective energy needs the power'),
    ('camera_node', 'reopen_min_s:=60.0', 'reopen_min_s is larger than reopen_max_s'),
    ('camera_node', 'cpu_affinity:=[1023]', 'cores that this process may have: [0'),
    ('remote_inference_node', 'weights:=BOGUS', 'allowed: DEFAULT, random, a path'),
    ('local_inference_node', 'model:=python:a:b', 'allow_code: true'),
    ('camera_node', 'width:=8192 height:=8192', 'allowed: 33.6 million pixels'),
    ('camera_node', 'camera_info_url:=/none.yaml', 'cannot read calibration'),
])
def test_start_up_values_are_checked_against_each_other(
    tmp_path: Path, node: str, given: str, said: str
) -> None:
    log = tmp_path / 'log'
    parameters = [part for name in given.split() for part in ('-p', name)]
    with NodeProcess(node, parameters, log) as process:
        assert process.process.wait(20.0) == 2
    text = log.read_text().strip()
    assert said in text
    assert len(text.splitlines()) == 1


def test_a_misspelt_parameter_is_told(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    given = ['-p', 'rate_hx:=9.0', '-p', 'use_sim_time:=false']
    with NodeProcess('load_monitor_node', given, log):
        assert wait_for(lambda: 'rate_hx (is rate_hz meant?)' in log.read_text(), 20.0)
    assert 'use_sim_time' not in log.read_text()


def test_no_complaint_hides_another_and_none_floods(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_graph() as graph:
        node = graph.add(Probe())
        said: list[str] = []

        class Log:
            def warning(self, text: str) -> None:
                said.append(text)

        monkeypatch.setattr(node, 'get_logger', Log)
        for number in range(50):
            node.complain(f'waited {number}.5 ms', about=f'waited {number}.5 ms')
            node.complain(f'frame {number}: damaged', about='damaged')
        assert said == ['waited 0.5 ms', 'frame 0: damaged']
        monkeypatch.undo()
