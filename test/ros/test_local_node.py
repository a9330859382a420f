"""local_inference_node by itself: its lifecycle, cameras of all kinds, simulated time."""

from __future__ import annotations

from collections.abc import Iterator
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time
from harness import Graph, newest_only, NodeProcess, running_graph, wait_for
from lifecycle_msgs.msg import Transition
from made_up_server import MadeUpServer
import numpy as np
import pytest
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from dnn_offload.cost.profile import Profile
from dnn_offload.graph.fingerprint import TOLERANCE
from dnn_offload.graph.program import PROGRAM_FILE
from dnn_offload.msg import FrameReport, Plan
from dnn_offload.nodes.local_outputs import ResultOutput, status_lines
from dnn_offload.runtime.backends.names import missing
from dnn_offload.runtime.frames import Counters, FramePlan, FrameRecord, StageTimes
from dnn_offload.runtime.model_cache import cached_program
from dnn_offload.runtime.outcomes import DropReason, Outcome
from dnn_offload.transport.conversion import byte_array
from dnn_offload.transport.qos import latched
from vision_msgs.msg import Detection2DArray

NODE = '/robot/local_inference_node'
CHANNELS = {'rgb8': 3, 'bgr8': 3, 'mono8': 1, 'bgra8': 4, 'bayer_rggb8': 1}


@pytest.fixture
def graph() -> Iterator[Graph]:
    with running_graph() as made:
        yield made


def node(log: Path, *parameters: str) -> NodeProcess:
    """The executable in namespace /robot, all on the robot, without a planner."""
    given = [part for parameter in parameters for part in ('-p', parameter)]
    return NodeProcess('local_inference_node', ['-r', '__ns:=/robot', *given], log)


class Camera:
    """Publishes drawn noise; every picture has the next stamp."""

    def __init__(self, graph: Graph, qos: QoSProfile | None = None) -> None:
        self._graph = graph
        self._publisher = graph.publisher(Image, '/robot/image_raw', qos or newest_only())
        self._timer: Any = None
        self.sent: list[Image] = []

    def send(self, encoding: str = 'rgb8', stamp: Time | None = None) -> Image:
        """One picture, 64 x 48."""
        step = 64 * CHANNELS[encoding]
        pixels = np.random.default_rng(len(self.sent)).integers(0, 255, 48 * step, np.uint8)
        image = Image(
            height=48, width=64, step=step, encoding=encoding, data=byte_array(pixels.tobytes())
        )
        image.header.stamp = stamp or self._graph.observer.get_clock().now().to_msg()
        image.header.frame_id = 'eye'
        self.sent.append(image)
        self._publisher.publish(image)
        return image

    def stream(self) -> None:
        """Ten a second, from now on."""
        self._timer = self._graph.observer.create_timer(0.1, self.send)


def accounted_for(last: FrameReport) -> bool:
    ended = last.remote + last.local + last.rescued + last.dropped
    return last.in_flight == 0 and last.entered == ended


@pytest.mark.parametrize(('outcome', 'server', 'first'), [
    (Outcome.LOCAL, '', 'local'),
    (Outcome.REMOTE, 'laptop', 'remote @ laptop, cut 3 (relu), int8'),
    (Outcome.RESCUED, 'laptop', 'rescued from laptop, cut 3 (relu), int8'),
])
def test_a_drawn_picture_says_where_it_was_computed(
    outcome: Outcome, server: str, first: str
) -> None:
    plan = FramePlan(7, 1, 3, 'id', 'relu', 'int8' if server else '', server, (0, 3), (3, 5))
    record = FrameRecord(
        1, 0.0, None, outcome, DropReason.NONE, plan, 0, StageTimes(latency_ms=41.6), True, 1, 1,
        Counters(1, 0, 0, 0, 0, 0, 0),
    )
    assert status_lines(record, 9.96) == [first, '10.0 fps, 42 ms']


@pytest.mark.parametrize(('raw', 'jpeg'), [(0, 0), (1, 0), (0, 2), (1, 1)])
def test_only_what_somebody_looks_at_is_drawn(raw: int, jpeg: int) -> None:
    def publisher(subscriptions: int) -> Any:
        return SimpleNamespace(get_subscription_count=lambda: subscriptions)

    outputs = ResultOutput.__new__(ResultOutput)
    outputs._annotated, outputs._annotated_jpeg = publisher(raw), publisher(jpeg)
    outputs._next_drawing_s = 0.0
    assert outputs.drawing_due == (raw + jpeg > 0)
    assert outputs._due() == (raw > 0, jpeg > 0)
    outputs._next_drawing_s = math.inf  # not yet time for one
    assert not outputs.drawing_due


def test_every_transition_twice(graph: Graph, tmp_path: Path) -> None:
    reports = graph.collect(FrameReport, '/robot/frame_report', latched(100))
    found = graph.collect(Detection2DArray, '/robot/detections')
    with node(tmp_path / 'log', 'autostart:=false') as process:
        assert graph.state(NODE) == 'unconfigured'
        Camera(graph).stream()
        for _ in range(2):
            assert graph.change_state(NODE, Transition.TRANSITION_CONFIGURE)
            for _ in range(2):
                assert graph.change_state(NODE, Transition.TRANSITION_ACTIVATE)
                heard, results = len(reports), len(found)
                assert wait_for(
                    lambda r=heard, f=results: len(reports) > r + 3 and len(found) > f + 3, 60.0
                )
                yields(process.process.pid)
                assert graph.change_state(NODE, Transition.TRANSITION_DEACTIVATE)
                # Every frame that entered this engine has its end, reported before it stopped.
                assert wait_for(lambda: accounted_for(reports[-1])), reports[-1]
            assert graph.change_state(NODE, Transition.TRANSITION_CLEANUP)
        assert graph.change_state(NODE, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert process.end() == 0, process.log.read_text()


def yields(pid: int) -> None:
    """Navigation comes first by default: every thread that computes, and when memory runs out."""
    tasks = [(path / 'stat').read_text() for path in Path(f'/proc/{pid}/task').iterdir()]
    assert {int(text.rpartition(')')[2].split()[16]) for text in tasks} == {5}
    assert int(Path(f'/proc/{pid}/oom_score_adj').read_text()) == 500


@pytest.mark.parametrize('backend', ['torch', 'onnxruntime'])
def test_streams_and_plans_on_a_provisional_profile_until_it_is_measured(
    graph: Graph, tmp_path: Path, backend: str
) -> None:
    """A first start: frames run by torch meanwhile, none is lost when the measured profile comes.

    Nor is one when the network that it is of takes over.
    """
    if missing(backend):
        pytest.skip(missing(backend))
    reports = graph.collect(FrameReport, '/robot/frame_report', latched(1000))
    told: list[tuple[int, Profile]] = []  # frames reported by then, profile

    def hear(message: String) -> None:
        told.append((len(reports), Profile.from_json(message.data)))

    graph.observer.create_subscription(String, '/robot/edge_profile', hear, latched())
    plans = graph.collect(Plan, '/robot/plan', latched())
    Camera(graph).stream()
    parameters = (
        'model:=torchvision:squeezenet1_1', 'weights:=random', 'input_size:=160x160',
        f'backend:={backend}', f'cache_dir:={tmp_path / "cache"}', 'profile_budget_s:=5.0',
        'deadline_ms:=0.0',
    )
    planner = NodeProcess('partition_planner_node', ['-r', '__ns:=/robot'], tmp_path / 'planner')
    with planner, node(tmp_path / 'log', *parameters) as process:
        assert wait_for(lambda: len(told) == 2, 120.0), process.log.read_text()
        (_, provisional), (before, measured) = told
        assert provisional.provisional and not measured.provisional
        assert (provisional.backend, measured.backend) == ('torch', backend)
        assert provisional.model_identity == measured.model_identity
        assert before > 3, 'no frame ran on the provisional profile'
        assert any('profile of this robot is provisional' in plan.reason for plan in plans)
        count = len(reports)
        assert wait_for(lambda: len(reports) > count + 5), process.log.read_text()
        assert wait_for(lambda: 'provisional' not in plans[-1].reason), plans[-1].reason
        assert process.process.poll() is None
    assert f'ms by {backend}' in process.log.read_text()
    # Nothing was lost on the way: one report for each frame that entered, in order.
    seqs = [report.frame_seq for report in reports]
    assert seqs == list(range(1, len(seqs) + 1))
    lost = [r for r in reports if r.outcome == FrameReport.OUTCOME_DROPPED]
    assert all(report.drop_reason == FrameReport.DROP_SUPERSEDED for report in lost)
    assert reports[-1].in_flight <= 2


def test_a_server_that_computes_something_else_is_refused_with_the_reason(
    graph: Graph, tmp_path: Path
) -> None:
    """Its model has our identity; only what it made of the test picture tells."""
    profiles = graph.collect(String, '/robot/edge_profile', latched())
    parameters = (
        'model:=torchvision:squeezenet1_1', 'weights:=random', 'input_size:=64x64',
        'backend:=torch', f'cache_dir:={tmp_path / "cache"}', 'profile_budget_s:=1.0',
    )
    with node(tmp_path / 'log', *parameters) as process:
        assert wait_for(lambda: bool(profiles), 120.0), process.log.read_text()
        (path,) = (tmp_path / 'cache').glob(f'*/{PROGRAM_FILE}')
        program = cached_program(path.parent)
        assert program is not None
        ours = program.fingerprint
        made = {'other': [1.1 * number for number in ours], 'shorter': ours[:-1], 'same': ours}
        servers = [
            MadeUpServer(
                graph.add(Node(f'edge_{name}')), name, fingerprint=fingerprint,
                identity=Profile.from_json(profiles[-1].data).model_identity,
            )
            for name, fingerprint in made.items()
        ]

        def told(text: str) -> bool:
            return text in process.log.read_text()

        try:
            assert wait_for(lambda: told("server 'same' is connected"), 30.0), (
                process.log.read_text()
            )
            outputs = 'its outputs for the test picture differ by'
            for name, gap in (('other', '0.091'), ('shorter', 'inf')):
                refusal = f"server '{name}' is not used: {outputs} {gap} (relative; allowed"
                assert wait_for(lambda text=refusal: told(text), 30.0), process.log.read_text()
            assert told(f'allowed {TOLERANCE:g}): compare versions of torch on both sides')
            # Statuses have gone on coming, 5 a second: a refused server stays refused.
            assert not wait_for(
                lambda: told("'other' is connected") or told("'shorter' is connected"), 1.0
            )
            assert not told("'same' is not used")
        finally:
            for server in servers:
                server.stop()


def test_cameras_of_all_kinds(graph: Graph, tmp_path: Path) -> None:
    """A best-effort camera, every encoding, and one that cannot be read in between."""
    reports = graph.collect(FrameReport, '/robot/frame_report', latched(100))
    found = graph.collect(Detection2DArray, '/robot/detections')
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera = Camera(graph, best_effort)
    with node(tmp_path / 'log', 'deadline_ms:=0.0') as process:
        def heard() -> bool:
            camera.send()
            return len(found) > 0

        assert wait_for(lambda: heard() or wait_for(lambda: len(found) > 0, 0.2), 60.0), (
            process.log.read_text()
        )
        for encoding in CHANNELS:
            def answered(encoding: str = encoding) -> bool:
                stamp = camera.send(encoding).header.stamp
                return wait_for(lambda: any(f.header.stamp == stamp for f in found), 1.0)

            assert wait_for(answered, 10.0), f'{encoding}: {process.log.read_text()}'
        assert {message.header.frame_id for message in found} == {'eye'}

        def refused() -> bool:
            image = Image(height=48, width=64, step=192, encoding='rgb8')
            image.data = byte_array(b'short')
            camera._publisher.publish(image)
            bad = FrameReport.DROP_BAD_IMAGE
            return wait_for(lambda: any(r.drop_reason == bad for r in reports), 1.0)

        assert wait_for(refused, 10.0)
        assert 'picture is damaged' in process.log.read_text()
        assert wait_for(answered, 10.0), 'a bad picture stopped the stream'


@pytest.mark.parametrize('chosen', ['reliable', 'best_effort'])
def test_reliability_that_the_user_chose_is_not_adapted(
    graph: Graph, tmp_path: Path, chosen: str
) -> None:
    """Remapped, with an override of the topic's full name; the camera offers the other one."""
    other = {'reliable': ReliabilityPolicy.BEST_EFFORT, 'best_effort': ReliabilityPolicy.RELIABLE}
    graph.publisher(Image, '/eye/image', QoSProfile(depth=1, reliability=other[chosen]))
    override = 'qos_overrides./eye/image.subscription'
    arguments = [
        '-r', '__ns:=/robot', '-r', 'image_raw:=/eye/image', '-p', f'{override}.depth:=3',
        '-p', f'{override}.reliability:={chosen}',
    ]

    def subscribed() -> list[str]:
        infos = graph.observer.get_subscriptions_info_by_topic('/eye/image')
        return [info.qos_profile.reliability.name.lower() for info in infos]

    with NodeProcess('local_inference_node', arguments, tmp_path / 'log') as process:
        assert wait_for(lambda: subscribed() == [chosen], 60.0), process.log.read_text()
        assert not wait_for(lambda: subscribed() != [chosen], 2.5), 'adapted all the same'


def test_simulated_time(graph: Graph, tmp_path: Path) -> None:
    """Stamps of a recording, an hour old by the wall: ages and deadlines are by /clock."""
    reports = graph.collect(FrameReport, '/robot/frame_report', latched(100))
    clock, camera = graph.publisher(Clock, '/clock'), Camera(graph)
    now_s = [1000.0]

    def tick() -> None:
        now_s[0] += 0.05
        stamp = Time(sec=int(now_s[0]), nanosec=int(now_s[0] % 1.0 * 1e9))
        clock.publish(Clock(clock=stamp))
        camera.send(stamp=stamp)

    def results() -> list[FrameReport]:
        return [r for r in reports if r.outcome == FrameReport.OUTCOME_LOCAL]

    with node(tmp_path / 'log', 'use_sim_time:=true') as process:
        graph.observer.create_timer(0.1, tick)  # half as fast as the wall
        assert wait_for(lambda: len(results()) > 5, 60.0), process.log.read_text()
    assert all(1000 <= report.header.stamp.sec < 1200 for report in results())
    assert all(report.deadline_met and 0.0 <= report.latency_ms < 500.0 for report in results())
