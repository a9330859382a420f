"""Two machines and a link out of one, with the speeds, rates and loads of a scenario."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from dnn_offload.bench.scenario.scenario import Conditions, Point
from dnn_offload.testbed.guardian import Guardian
from dnn_offload.testbed.loadavg import EmulatedLoadAverage, seen_as_loadavg
from dnn_offload.testbed.network import Network, why_no_network
from dnn_offload.testbed.quota import CpuGroup, entrance, why_no_quota
from dnn_offload.testbed.session import ROBOT, SERVER, Session

# What competes with inference for the robot's share of a core. Camera and planner stand outside:
# boards have four cores, and the one that is played here is the one that inference may use.
ON_THE_SHARE = ('local_inference_node', 'load_monitor_node', 'navigation_node')


def why_loopback() -> str:
    """Why machines and link cannot be emulated here; '' when they can."""
    return why_no_network() or why_no_quota()


class Emulation:
    """Link, quotas and load average while its ``with`` block lasts.

    Args:
        point: Speeds, and the conditions at first.
        folder: For the file that stands for ``/proc/loadavg``.
        burst_bytes: See ``Network``.
        time_scale: See ``EmulatedLoadAverage``.
        loopback: Do without root: no shaped link, no speeds; the uplink is limited by the
            robot's own pacing.
    """

    def __init__(
        self, point: Point, folder: Path, *, burst_bytes: int = 0, time_scale: float = 1.0,
        loopback: bool = False,
    ) -> None:
        self._point, self._folder = point, folder
        self._burst_bytes, self._time_scale = burst_bytes, time_scale
        self._loopback = loopback
        self._stack = ExitStack()
        self.network: Network | None = None
        self.robot: CpuGroup | None = None
        self.server: CpuGroup | None = None
        self.loadavg: EmulatedLoadAverage | None = None
        self.now = point.conditions

    def __enter__(self) -> Emulation:
        if self._loopback:
            return self
        first = self._point.conditions
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:  # what was made goes again if the rest cannot be
            stack.enter_context(Guardian())
            self.network = stack.enter_context(Network(
                first.uplink_mbps * 1e6, first.downlink_mbps * 1e6, self._burst_bytes
            ))
            self.robot = stack.enter_context(CpuGroup('robot', self._point.robot_speed))
            self.server = stack.enter_context(CpuGroup('server', self._point.server_speed))
            self.loadavg = stack.enter_context(EmulatedLoadAverage(
                self._folder / 'loadavg', self.robot.tasks, self._time_scale
            ))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    @property
    def groups(self) -> dict[str, Path]:
        """Of a ``Fleet``: which node enters which control group."""
        if self.robot is None or self.server is None:
            return {}
        door = entrance(self.robot.folder)
        return {
            **{f'{ROBOT}/{node}': door for node in ON_THE_SHARE},
            SERVER: entrance(self.server.folder),
        }

    @property
    def within(self) -> dict[str, list[str]]:
        """Of a ``Fleet``: the robot's nodes see its own load average."""
        return {} if self.loadavg is None else {ROBOT: seen_as_loadavg(self.loadavg.file)}

    def burst_bytes(self) -> float:
        """What passes the uplink at once after a pause."""
        if self.network is None:
            return 0.0
        return self.network.burst_bytes(self.now.uplink_mbps * 1e6, self._burst_bytes)

    def apply(self, wanted: Conditions, session: Session) -> None:
        """Make these conditions hold, from now on."""
        before, self.now = self.now, wanted
        rates = wanted.uplink_mbps * 1e6, wanted.downlink_mbps * 1e6
        if rates != (before.uplink_mbps * 1e6, before.downlink_mbps * 1e6):
            if self.network is not None:
                self.network.shape(*rates, self._burst_bytes)
            else:
                session.limit_uplink(rates[0])
        if wanted.load != before.load:
            session.recorder.set_parameters('navigation_node', load_processes=wanted.load)
        if wanted.outage != before.outage:
            if self.network is not None:
                self.network.set_link(not wanted.outage)
            else:
                session.pause_server(wanted.outage)
        if wanted.server and not before.server:
            session.start_server()
        elif before.server and not wanted.server:
            session.kill_server()
