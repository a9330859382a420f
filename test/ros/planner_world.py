"""A robot and an edge server, as far as a planner node can see. Helpers."""

from __future__ import annotations

from pathlib import Path
import threading

from harness import Graph, NodeProcess
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from dnn_offload.cost.profile import CodecCost, CutProfile, Profile
from dnn_offload.msg import FrameReport, LinkSample, Load, Plan, ServerStatus

LATCHED = QoSProfile(depth=8, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def profile(whole_ms: float, identity: str = 'abc') -> Profile:
    """Three cuts: picture, middle, all-local."""
    picture = {'jpeg': CodecCost(10_000, 0.3, 0.2), 'raw': CodecCost(150_000, 0.0, 0.0)}
    middle = {'int8': CodecCost(25_000, 0.2, 0.1), 'raw': CodecCost(100_000, 0.0, 0.0)}
    cuts = (
        CutProfile('c0', 0, 'picture', 0, 150_000, 0.0, whole_ms, codecs=picture),
        CutProfile('c1', 1, 'pool', 1, 100_000, 0.3 * whole_ms, 0.7 * whole_ms, codecs=middle),
        CutProfile('c2', 2, 'out', 2, 4_000, whole_ms, 0.0),
    )
    return Profile(
        'torchvision:test', identity, {}, 'torch', 1, {}, 0.1, {'raw': 4_000}, 1.0, cuts
    )


class World:
    """A robot and an edge server, as far as the planner can see.

    Args:
        graph: Where it speaks.
        edge, server: Their profiles; a robot that takes 100 ms and a server that takes 10 ms.
    """

    def __init__(
        self, graph: Graph, edge: Profile | None = None, server: Profile | None = None
    ) -> None:
        self.edge_profile, self.desk_profile = edge or profile(100.0), server or profile(10.0)
        self.plans: list[Plan] = graph.collect(Plan, '/robot/plan', LATCHED)
        self.edge = graph.publisher(String, '/robot/edge_profile', LATCHED)
        self.server_profile = graph.publisher(String, '/dnn_offload/desk/profile', LATCHED)
        self.status = graph.publisher(ServerStatus, '/dnn_offload/server_status', LATCHED)
        self.loads = graph.publisher(Load, '/robot/load')
        self.links = graph.publisher(LinkSample, '/robot/link_sample')
        self.reports = graph.publisher(FrameReport, '/robot/frame_report', LATCHED)
        self.state = ServerStatus.STATE_READY
        self.session = 1  # another one: the server was started again
        self.identity = 'abc'
        self.load = self.server_load = 1.0
        self.uplink_ms = 12.0
        self.runs: int | None = None  # id of the plan that frames run; None = the newest
        self.speaks = True
        self.transfers = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def say(self) -> None:
        self.status.publish(
            ServerStatus(
                server='desk', session=self.session, state=self.state,
                model_identity=self.identity, load_factor=self.server_load,
            )
        )

    def lose(self) -> None:
        self.links.publish(LinkSample(server='desk', kind=LinkSample.LOST))

    def transfer(self) -> None:
        """What a frame tells of the link, as the robot does: in the report of a frame."""
        newest = self.plans[-1].plan_id if self.plans else 0
        report = FrameReport(
            outcome=FrameReport.OUTCOME_DROPPED, drop_reason=FrameReport.DROP_SUPERSEDED,
            plan_id=newest if self.runs is None else self.runs,
        )
        report.transfers = [
            LinkSample(server='desk', kind=kind, payload_bytes=nbytes, duration_ms=duration_ms)
            for kind, nbytes, duration_ms in (
                (LinkSample.UPLINK, 60_000, self.uplink_ms), (LinkSample.DOWNLINK, 4_000, 2.0),
            )
        ]
        self.reports.publish(report)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            if self.speaks:
                self.say()
                if self.transfers:
                    self.transfer()
            self.loads.publish(
                Load(cores=2, factor=self.load, factor_source='probe', factor_probe=self.load,
                     factor_loadavg=1.0)
            )

    def __enter__(self) -> World:
        self.edge.publish(String(data=self.edge_profile.to_json()))
        self.server_profile.publish(String(data=self.desk_profile.to_json()))
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._stop.set()
        self._thread.join()

    def runs_on(self, server: str) -> bool:
        return bool(self.plans) and self.plans[-1].server == server


def planner(log: Path, *parameters: str) -> NodeProcess:
    given = [part for parameter in parameters for part in ('-p', parameter)]
    return NodeProcess('partition_planner_node', ['-r', '__ns:=/robot', *given], log)
