"""What benchmarks and the demo record of a running robot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness import Graph, running_graph, wait_for
import pytest
from std_msgs.msg import String

from dnn_offload.msg import FrameReport, Plan
from dnn_offload.simulate.made_up_graph import made_up_inception
from dnn_offload.testbed.recorder import Recorder
from dnn_offload.transport.qos import latched

PRIVATE_LAYERS = 3
CUT = 'dag:0123456789ab'  # none of the profile's


@pytest.fixture(scope='module')
def graph() -> Iterator[Graph]:
    with running_graph() as graph:
        yield graph


@pytest.fixture
def recorder(graph: Graph) -> Iterator[Recorder]:
    recorder = Recorder('/robot', '/dnn_offload', lambda _: None, annotated=False)
    yield recorder
    recorder.close()


def test_what_a_placement_over_branches_sends_is_no_picture(
    graph: Graph, recorder: Recorder
) -> None:
    """The demo took such frames for pictures that had left the robot."""
    made_up = made_up_inception()
    values = next(cut.frontier for cut in made_up.cuts if cut.depth >= PRIVATE_LAYERS)
    profile = graph.publisher(String, '/robot/edge_profile', latched())
    plans = graph.publisher(Plan, '/robot/plan', latched())
    reports: Any = graph.publisher(FrameReport, '/robot/frame_report', latched(10))
    profile.publish(String(data=made_up.to_json()))
    plans.publish(Plan(plan_id=7, cut=CUT, frontier=list(values), server='s'))
    assert wait_for(lambda: recorder.profile is not None and recorder.latest.plan is not None)
    for cut in (CUT, 'nobody knows it'):
        reports.publish(FrameReport(plan_id=7, cut=cut, server='s', uplink_bytes=100))
    reports.publish(FrameReport(plan_id=7, cut=CUT, server='s'))
    assert wait_for(lambda: len(recorder.rows) == 3)
    branches, unknown, nothing_left = (row.depth for row in recorder.rows)
    assert branches >= PRIVATE_LAYERS
    assert (unknown, nothing_left) == (0, -1)
