"""A recorded drive with ``use_sim_time``: it loops, and it pauses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import time

from diagnostic_msgs.msg import DiagnosticArray
from harness import Graph, NodeProcess, running_graph, wait_for
import pytest

pytest.importorskip(
    'mcap', reason='mcap is not installed: it is in tools/requirements/develop.txt'
)

from bags import Player, record

from dnn_offload.msg import FrameReport, Load, Plan
from dnn_offload.transport.qos import latched
from vision_msgs.msg import Detection2DArray

NODES = ('local_inference_node', 'partition_planner_node', 'load_monitor_node')


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bag') / 'drive_0.mcap'
    record(path, pictures=30, rate_hz=10.0)
    return path


@pytest.fixture
def graph() -> Iterator[Graph]:
    with running_graph() as made:
        yield made


class Robot:
    """Three nodes that take the time from ``/clock``, and what they say."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.reports = graph.collect(FrameReport, '/robot/frame_report', latched(100))
        self.found = graph.collect(Detection2DArray, '/robot/detections')
        self.plans = graph.collect(Plan, '/robot/plan', latched())
        self.loads = graph.collect(Load, '/robot/load')
        self.diagnostics = graph.collect(DiagnosticArray, '/diagnostics')
        arguments = ['-r', '__ns:=/robot', '-p', 'use_sim_time:=true']
        self.processes = [NodeProcess(name, arguments, folder / name) for name in NODES]

    def ended(self) -> list[FrameReport]:
        return [r for r in self.reports if r.outcome != FrameReport.OUTCOME_DROPPED]

    def close(self) -> None:
        for process in self.processes:
            process.__exit__()


def test_a_bag_that_loops_and_pauses(graph: Graph, bag: Path, tmp_path: Path) -> None:
    player = Player(graph, bag)
    robot = Robot(graph, tmp_path)
    try:
        assert wait_for(lambda: len(robot.ended()) > 5, 60.0), (
            (tmp_path / NODES[0]).read_text()
        )
        loops, before = player.loops, len(robot.ended())
        assert wait_for(lambda: player.loops >= loops + 3, 30.0)
        looped = robot.ended()[before:]
        assert len(looped) > 30, 'the stream stopped where time jumped back'
        # Pictures of the first moment may meet the clock of the last: at most one a loop.
        late = [report for report in looped if not report.deadline_met]
        assert len(late) <= 0.2 * len(looped), [report.latency_ms for report in late]

        player.running.clear()
        time.sleep(1.0)
        counts = len(robot.reports), len(robot.diagnostics)
        paused = robot.loads[-1].header.stamp
        assert wait_for(lambda: len(robot.diagnostics) > counts[1] + 5), 'no word while paused'
        assert robot.loads[-1].header.stamp == paused, 'stamped by another clock'
        assert len(robot.reports) == counts[0]
        player.running.set()
        assert wait_for(lambda: len(robot.ended()) > 10 + before + len(looped), 20.0)

        first_s, last_s = player.span_s
        for message in (*robot.found, *robot.reports, robot.plans[-1], robot.loads[-1]):
            assert first_s <= message.header.stamp.sec <= last_s
        numbers = [report.frame_seq for report in robot.reports]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), 'a frame has no end'
        assert all(process.process.poll() is None for process in robot.processes)
    finally:
        player.stop()
        robot.close()
