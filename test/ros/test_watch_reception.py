"""What the view hears: any namespace, any QoS, comings and goings, messages of other versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import math
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from harness import Graph, running_graph, wait_for
import pytest
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message

from dnn_offload.msg import FrameReport, LinkSample, Load, Plan, ServerStatus
from dnn_offload.watch import reception as reception_module
from dnn_offload.watch.reception import Reception
from dnn_offload.watch.system import System
from dnn_offload.watch.views import RobotView, SystemView

LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class Looker:
    """A view in this process; nobody spins its node."""

    def __init__(self, only: tuple[str, ...] = ()) -> None:
        self.node = Node('looker', enable_rosout=False, start_parameter_services=False)
        self.system = System(time.monotonic())
        self.reception = Reception(self.node, self.system, only)

    def look(self) -> SystemView:
        self.reception.poll(time.monotonic())
        return self.system.look(time.monotonic())

    def robot(self, name: str) -> RobotView | None:
        return next((robot for robot in self.look().robots if robot.name == name), None)

    def texts(self) -> list[str]:
        return [f'{alarm.about}: {alarm.text}' for alarm in self.look().alarms]


@pytest.fixture
def graph() -> Iterator[Graph]:
    with running_graph() as made:
        yield made


@pytest.fixture
def looker(graph: Graph) -> Iterator[Looker]:
    made = Looker()
    yield made
    made.node.destroy_node()


def saying(say: Callable[[], None], true: Callable[[], bool]) -> bool:
    """Whether something comes true while it is said again and again."""

    def once_more() -> bool:
        say()
        time.sleep(0.05)
        return true()

    return wait_for(once_more)


@pytest.mark.parametrize('namespace', ['/robot', '/house/floor_2/robot', '/'])
@pytest.mark.parametrize('qos', [LATCHED, BEST_EFFORT, QoSProfile(depth=1)])
def test_robots_are_heard_in_any_namespace_and_with_any_qos(
    graph: Graph, looker: Looker, namespace: str, qos: QoSProfile
) -> None:
    node = graph.add(Node('local_inference_node', namespace=namespace))
    reports = node.create_publisher(FrameReport, 'frame_report', qos)
    loads = node.create_publisher(Load, 'somewhere/else', qos)
    samples = node.create_publisher(LinkSample, 'link_sample', qos)
    down = LinkSample(kind=LinkSample.DOWNLINK, payload_bytes=4, duration_ms=2.0)

    def say() -> None:
        reports.publish(FrameReport(
            pid=1, entered=1, remote=1, latency_ms=12.0, transfers=[down]
        ))
        loads.publish(Load(host='pi', factor=2.0))
        samples.publish(LinkSample(kind=LinkSample.UPLINK, payload_bytes=10, duration_ms=3.0))

    def heard() -> bool:
        robot = looker.robot(namespace)
        return (
            robot is not None and robot.stream is not None and robot.load is not None
            and robot.link.uplink_transfers > 0 and robot.link.downlink_transfers > 0
        )

    assert saying(say, heard)
    robot = looker.robot(namespace)
    assert robot is not None and robot.load is not None and robot.load.host == 'pi'
    assert robot.inference_nodes == 1 and not robot.gone
    graph.observer.get_logger()  # the observer has no topic of ours: it is no robot
    assert [view.name for view in looker.look().robots] == [namespace]


def test_a_plan_is_heard_and_a_trial_is_not_taken_for_one(graph: Graph, looker: Looker) -> None:
    node = graph.add(Node('partition_planner_node', namespace='/robot'))
    plans = node.create_publisher(Plan, 'plan', LATCHED)
    trials = node.create_publisher(Plan, 'plan_trial', 10)

    def say() -> None:
        plans.publish(Plan(plan_id=3, reason='why', return_index=65535))
        trials.publish(Plan(plan_id=9, reason='trial', return_index=65535))

    def heard() -> bool:
        robot = looker.robot('/robot')
        return robot is not None and robot.plan is not None

    assert saying(say, heard)
    for _ in range(10):
        say()
        robot = looker.robot('/robot')
        assert robot is not None and robot.plan is not None and robot.plan.plan_id == 3


def test_servers_and_diagnostics_are_heard(graph: Graph, looker: Looker) -> None:
    node = graph.add(Node('camera_node', namespace='/robot'))
    statuses = node.create_publisher(ServerStatus, '/other_meeting/server_status', LATCHED)
    loads = node.create_publisher(Load, 'load', 10)
    diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
    ours = DiagnosticStatus(
        level=DiagnosticStatus.WARN, name='robot/camera_node: status', message='unplugged',
        values=[KeyValue(key='state', value='active'), KeyValue(key='callback_errors', value='0')],
    )
    other = DiagnosticStatus(level=DiagnosticStatus.ERROR, name='robot/wheels: status')

    def say() -> None:
        loads.publish(Load(factor=1.0))
        statuses.publish(ServerStatus(server='desk', state=ServerStatus.STATE_READY))
        diagnostics.publish(DiagnosticArray(status=[other, ours]))

    def heard() -> bool:
        robot = looker.robot('/robot')
        return robot is not None and bool(robot.nodes) and bool(looker.look().servers)

    assert saying(say, heard)
    robot = looker.robot('/robot')
    assert robot is not None
    assert [(item.name, item.level) for item in robot.nodes] == [('camera_node', 1)]
    assert [server.status.server for server in looker.look().servers] == ['desk']


def test_only_the_robots_asked_for_are_listened_to(graph: Graph) -> None:
    for namespace in ('/a', '/b'):
        node = graph.add(Node('load_monitor_node', namespace=namespace))
        node.create_publisher(Load, 'load', 10)
    looker = Looker(('/b',))
    try:
        assert wait_for(lambda: looker.robot('/b') is not None)
        time.sleep(1.2)
        assert [robot.name for robot in looker.look().robots] == ['/b']
        assert looker.node.count_subscribers('/a/load') == 0
        assert looker.node.count_subscribers('/b/load') == 1
    finally:
        looker.node.destroy_node()


def test_who_goes_is_gone_and_who_comes_back_is_there(graph: Graph, looker: Looker) -> None:
    node = graph.add(Node('load_monitor_node', namespace='/robot'))
    loads = node.create_publisher(Load, 'load', 10)
    assert wait_for(lambda: looker.robot('/robot') is not None)
    node.destroy_publisher(loads)

    def gone() -> bool:
        robot = looker.robot('/robot')
        return robot is not None and robot.gone

    assert wait_for(gone)
    assert looker.node.count_subscribers('/robot/load') == 0, 'its topic is let go'
    node.create_publisher(Load, 'load', 10)
    assert wait_for(lambda: not gone())


def test_two_inference_nodes_in_one_namespace_are_seen(graph: Graph, looker: Looker) -> None:
    for name in ('first', 'second'):
        graph.add(Node(name, namespace='/robot')).create_publisher(
            FrameReport, 'frame_report', LATCHED
        )

    def both() -> bool:
        robot = looker.robot('/robot')
        return robot is not None and robot.inference_nodes == 2

    assert wait_for(both)


def test_a_publisher_whose_node_is_not_known_yet_makes_no_robot(
    graph: Graph, looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = graph.add(Node('load_monitor_node', namespace='/robot'))
    node.create_publisher(Load, 'load', 10)
    assert wait_for(lambda: looker.node.count_publishers('/robot/load') == 1)
    (info,) = looker.node.get_publishers_info_by_topic('/robot/load')
    with monkeypatch.context() as early:
        info.node_name, info.node_namespace = '_NODE_NAME_UNKNOWN_', '_NODE_NAMESPACE_UNKNOWN_'
        early.setattr(looker.node, 'get_publishers_info_by_topic', lambda topic: [info])
        assert looker.look().robots == ()
    assert wait_for(lambda: looker.robot('/robot') is not None)


def test_another_version_is_named_and_not_read(
    graph: Graph, looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The publisher's hash is the true one; what we take for ours is another.
    monkeypatch.setitem(looker.reception._hashes, 'dnn_offload/msg/Load', 'RIHS01_' + 64 * '0')
    node = graph.add(Node('load_monitor_node', namespace='/old'))
    node.create_publisher(Load, 'load', 10)
    assert wait_for(lambda: any('another version' in text for text in looker.texts()))
    (text,) = [text for text in looker.texts() if 'another version' in text]
    assert text.startswith('/old/load_monitor_node: ') and '/old/load' in text
    assert looker.look().robots == ()
    assert looker.node.count_subscribers('/old/load') == 0


def test_the_hashes_of_our_messages_are_those_on_the_wire(graph: Graph) -> None:
    publisher = graph.publisher(Load, '/x/load')
    assert wait_for(lambda: len(graph.observer.get_publishers_info_by_topic('/x/load')) == 1)
    (info,) = graph.observer.get_publishers_info_by_topic('/x/load')
    assert str(info.topic_type_hash) == reception_module._own_hashes()['dnn_offload/msg/Load']
    graph.observer.destroy_publisher(publisher)


@pytest.mark.parametrize('message_type, topic', [
    (FrameReport, '/robot/frame_report'), (LinkSample, '/robot/link_sample'),
    (ServerStatus, '/dnn_offload/server_status'), (Load, '/robot/load'),
])
def test_bytes_that_are_no_message_of_ours_end_nothing(
    graph: Graph, looker: Looker, message_type: type, topic: str
) -> None:
    node = graph.add(Node('strange', namespace='/robot'))
    publisher = node.create_publisher(message_type, topic, 10)
    whole = serialize_message(message_type())
    bad = [whole[:4], whole[:len(whole) // 2], whole[:4] + b'\xff' * 200]
    looker.reception._mixed = frozenset({topic})
    for _ in range(20):
        for data in bad:
            publisher.publish(data)
        time.sleep(0.02)
        looker.reception._next_discovery_s = 1e18 if topic in looker.reception._sources else 0.0
        looker.look()
    assert topic in looker.reception._sources
    good = message_type(**({'server': 'desk'} if message_type is ServerStatus else {}))

    def heard() -> bool:
        view = looker.look()
        return bool(view.servers) or any(robot.silent_s < 0.3 for robot in view.robots)

    assert saying(lambda: publisher.publish(good), heard), 'and the next is heard'


def test_numbers_out_of_our_tables_are_complained_of(graph: Graph, looker: Looker) -> None:
    node = graph.add(Node('local_inference_node', namespace='/robot'))
    reports = node.create_publisher(FrameReport, 'frame_report', LATCHED)
    statuses = node.create_publisher(ServerStatus, '/dnn_offload/server_status', LATCHED)

    def say() -> None:
        reports.publish(FrameReport(outcome=200))
        reports.publish(FrameReport(latency_ms=math.nan))
        statuses.publish(ServerStatus(server='no name\x1b[31m', state=1))

    def heard() -> bool:
        return sum('cannot be read' in text for text in looker.texts()) >= 2

    assert saying(say, heard)
    assert looker.look().servers == ()
