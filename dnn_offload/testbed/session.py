"""One robot and one server under a running stream: what benchmarks and tests measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
import os
from pathlib import Path
import time

import cv2
import numpy as np
import rclpy
from rclpy.signals import SignalHandlerOptions

from dnn_offload.cost.profile import CutProfile, Profile
from dnn_offload.errors import OffloadError
from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.environment import changed_environment
from dnn_offload.testbed.fleet import Fleet, RENDEZVOUS
from dnn_offload.testbed.network import Network
from dnn_offload.testbed.processes import share_cores
from dnn_offload.testbed.recorder import Recorder, wait_until

ROBOT = '/robot'
SERVER = '/edge_server'
SERVER_ID = 'edge_server'
READY_TIMEOUT_S = 240.0
FIRST_FRAMES_S = 30.0
PICTURE_SIZE = (640, 480)


def write_pictures(folder: Path, count: int = 8, seed: int = 3, grain_px: int = 40) -> Path:
    """Made-up pictures, 640x480, as a camera source; returns their folder.

    Args:
        folder: Made if needed.
        count: How many.
        seed: Of the random numbers.
        grain_px: Size of what is seen in them; less of it makes larger JPEGs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        shape = PICTURE_SIZE[1] // grain_px, PICTURE_SIZE[0] // grain_px, 3
        coarse = generator.integers(0, 255, shape, np.uint8)
        picture = cv2.resize(coarse, PICTURE_SIZE, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'{number:03d}.bmp'), picture)
    return folder


class Session:
    """Starts the nodes in ``with``; everything has ended when the block is left.

    Args:
        folder: Where logs and pictures go.
        model: Model source.
        rate_hz: Pictures per second; or how many, once the robot's profile is known.
        robot: Further parameters of local_inference_node.
        server: Further parameters of remote_inference_node; None = no server.
        strategy: Strategy of the planner; '' = no planner, see ``Recorder.publish_plan``.
        common: Parameters of both inference nodes.
        network: A link between robot and server, made already; none by default. The calling
            thread, and so the recorder, is then at the robot's end while the block lasts.
        grain_px: See ``write_pictures``.
        camera_first: Whether the camera starts with the other nodes, not when they are ready.
        planner: Further parameters of partition_planner_node.
        navigation: Whether the navigation stand-in runs beside it.
        groups, within: See ``Fleet``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: str = 'demo:detector',
        rate_hz: float | Callable[[Profile], float] = 10.0,
        robot: Mapping[str, object] | None = None,
        server: Mapping[str, object] | None = None,
        strategy: str = 'auto',
        common: Mapping[str, object] | None = None,
        network: Network | None = None,
        grain_px: int = 40,
        camera_first: bool = False,
        planner: Mapping[str, object] | None = None,
        navigation: bool = False,
        groups: Mapping[str, Path] | None = None,
        within: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._camera_first = camera_first
        self.folder = folder
        self.cores = share_cores(frozenset(os.sched_getaffinity(0)))
        networks = {} if network is None else {
            ROBOT: network.robot.namespace, SERVER: network.server.namespace,
        }
        self.fleet = Fleet(
            folder / 'logs', model, common=common, networks=networks, groups=groups,
            within=within,
        )
        self._rate_hz = rate_hz
        self._planner = dict(planner or {})
        self._navigation = navigation
        self._robot = dict(robot or {})
        self._server = None if server is None else dict(server)
        self._strategy = strategy
        self._network = network
        self._grain_px = grain_px
        self._stack = ExitStack()
        self.recorder: Recorder
        self._ready_before = 0  # lives of the server that were ready before the newest
        self.inference_started_s = 0.0  # wall clock
        self.rate_hz = 0.0              # of the pictures, once they come

    def __enter__(self) -> Session:
        with ExitStack() as stack:  # what was made goes again if the rest cannot be
            if self._network is not None:
                stack.enter_context(self._network.inside(self._network.robot))
                stack.enter_context(
                    changed_environment({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'})
                )
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
            stack.callback(rclpy.try_shutdown)
            self.recorder = Recorder(ROBOT, RENDEZVOUS, lambda _: None, annotated=False)
            stack.callback(self.recorder.close)
            stack.enter_context(self.fleet)
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        fleet, robot_cores = self.fleet, self.cores.robot
        if self._server is not None:
            self.start_server()
        self.inference_started_s = time.time()
        if self._camera_first:
            self._add_camera()
        fleet.add('local_inference_node', ROBOT, robot_cores, client_id='robot', **self._robot)
        fleet.add('load_monitor_node', ROBOT, robot_cores)
        planned = self._strategy != ''
        if planned:
            fleet.add(
                'partition_planner_node', ROBOT, robot_cores, strategy=self._strategy,
                **self._planner,
            )
        if self._navigation:
            fleet.add('navigation_node', ROBOT, robot_cores)
        recorder = self.recorder

        def ready() -> bool:
            fleet.check()
            status = recorder.latest.status
            served = self._server is None or (
                status is not None and status.state == status.STATE_READY
            )
            plan_there = recorder.latest.plan is not None or not planned
            return recorder.profile is not None and plan_there and served

        if not wait_until(ready, READY_TIMEOUT_S):
            raise OffloadError('the nodes did not get ready', hint=f'see {fleet.folder}')
        if not self._camera_first:
            self._add_camera()
        recorder.begin()
        if not wait_until(lambda: len(recorder.rows) > 5, FIRST_FRAMES_S):
            raise OffloadError('no frame came through', hint=f'see {fleet.folder}')

    def _add_camera(self) -> None:
        rate_hz = self._rate_hz
        if callable(rate_hz):
            profile = self.recorder.profile
            if profile is None:
                raise OffloadError('the rate of pictures needs a profile: camera_first is false')
            rate_hz = rate_hz(profile)
        self.rate_hz = rate_hz
        self.fleet.add(
            'camera_node', ROBOT, self.cores.robot, rate_hz=rate_hz,
            source=str(write_pictures(self.folder / 'pictures', grain_px=self._grain_px)),
        )

    def run_inner_cut(self, nbytes: int, codec: str = 'raw') -> CutProfile:
        """Let the server go on from the inner cut that is nearest in size; without a planner.

        Args:
            nbytes: Size of what crosses, uncoded.
            codec: Codec of what crosses.
        """
        profile = self.recorder.profile
        assert profile is not None
        cut = min(profile.cuts[1:-1], key=lambda c: abs(c.frontier_bytes - nbytes))
        self.recorder.publish_plan(profile.model_identity, cut.cut_id, codec, SERVER_ID)
        return cut

    def start_server(self) -> None:
        """Start the server, also after it was killed."""
        self._ready_before = len(self.recorder.ready_s)
        key = f'{SERVER}/remote_inference_node'
        if key in self.fleet.nodes:
            self.fleet.nodes[key].start()
        else:
            # One thread, as the robot has: figures say the same whatever cores a machine has.
            self.fleet.add(
                'remote_inference_node', SERVER, self.cores.server, server_id=SERVER_ID,
                **{'threads': 1, **(self._server or {})},
            )

    def wait_for_server(self, timeout_s: float = READY_TIMEOUT_S) -> bool:
        """Wait until the server is ready in its newest life; False if it was not in time."""
        recorder = self.recorder
        return wait_until(lambda: len(recorder.ready_s) > self._ready_before, timeout_s)

    def kill_server(self) -> None:
        """Kill -9."""
        self.fleet.nodes[f'{SERVER}/remote_inference_node'].kill()

    def pause_server(self, paused: bool) -> None:
        """Freeze the server, or let it go on: an outage where there is no link to take down."""
        self.fleet.nodes[f'{SERVER}/remote_inference_node'].pause(paused)

    def pause_camera(self, paused: bool) -> None:
        """No pictures for a while: nothing of ours computes."""
        self.fleet.nodes[f'{ROBOT}/camera_node'].pause(paused)

    def limit_uplink(self, max_uplink_bps: float) -> None:
        """Have the robot send no faster than this [bit/s]; 0 = no limit."""
        self.recorder.set_parameters('local_inference_node', max_uplink_bps=max_uplink_bps)

    def collect(self, seconds: float, settle_s: float = 0.0) -> list[FrameRow]:
        """Frames acquired in the next ``seconds``, after ``settle_s`` not counted."""
        time.sleep(settle_s)
        start_s = self.recorder.now_s()
        end_s = start_s + seconds
        while self.recorder.now_s() < end_s:
            time.sleep(0.1)
            self.fleet.check()
        return [row for row in self.recorder.rows if start_s <= row.time_s < end_s]

    def finish(self) -> None:
        """End the stream so that every frame gets its outcome and its report."""
        self.fleet.nodes[f'{ROBOT}/camera_node'].stop()
        time.sleep(0.5)
        self.recorder.deactivate('local_inference_node')
        lives = self.recorder.counters
        wait_until(lambda: all(life['in_flight'] == 0 for life in lives.values()), 3.0)

    def pid(self, node: str, namespace: str = ROBOT) -> int:
        """Process id of a node."""
        return self.fleet.nodes[f'{namespace}/{node}'].pid
