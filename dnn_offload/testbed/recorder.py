"""An observer's ROS node: listens to everything, sets parameters, keeps the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import contextlib
from dataclasses import dataclass, replace
import json
import threading
import time
from typing import Any

from cv_bridge import CvBridge
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from dnn_offload.cost.profile import Profile
from dnn_offload.errors import OffloadError
from dnn_offload.msg import FrameReport, Load, Plan, ServerStatus
from dnn_offload.planning.value_rules import frontier_depth
from dnn_offload.report.records import DROP_REASONS, FrameRow, LoadSample, OUTCOMES
from dnn_offload.transport.conversion import stamp_of

SERVICE_TIMEOUT_S = 5.0
BY_HAND = 1_000_000  # plans that are published here have larger numbers than a planner's
AUTO = 'auto'  # the default strategy; before the first plan the robot runs by itself
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
_TIMES = (
    'age_ms', 'wait_ms', 'preprocess_ms', 'head_ms', 'head_cpu_ms', 'head_wait_ms', 'encode_ms',
    'overlap_ms', 'uplink_ms', 'queue_ms', 'decode_ms', 'tail_ms', 'downlink_ms', 'rest_ms',
    'finish_ms', 'latency_ms',
)


@dataclass
class Snapshot:
    """What is known now, for the live view."""

    report: FrameReport | None = None
    plan: Plan | None = None
    load: Load | None = None
    status: ServerStatus | None = None
    navigation: dict[str, Any] | None = None


class Recorder:
    """Spins a node in its own thread and keeps what it hears.

    Args:
        namespace: Namespace of the robot, e.g. ``/robot``.
        rendezvous: Namespace where robots and servers meet.
        on_image: Gets annotated pictures, RGB uint8 (H, W, 3), on the spinning thread.
        annotated: Whether to ask for annotated pictures; drawing them costs the robot time.
    """

    def __init__(
        self,
        namespace: str,
        rendezvous: str,
        on_image: Callable[[np.ndarray], None],
        *,
        annotated: bool = True,
    ) -> None:
        self.rows: list[FrameRow] = []
        self.loads: list[LoadSample] = []
        self.latest = Snapshot()
        self.navigation_states: dict[str, int] = Counter()  # what it said since begin()
        self.profile: Profile | None = None
        self.counters: dict[int, dict[str, int]] = {}  # pid of each life -> its last counters
        self.phase = 'start'
        self.ready_s: dict[int, float] = {}  # session of each server's life -> first READY
        self._start_s: float | None = None
        self._strategies: dict[int, str] = {0: AUTO}
        self._trial_ids: set[int] = set()
        self._depths: dict[str, int] = {}
        self._frontiers: dict[str, list[str]] = {}  # of cuts that are none of the profile's
        self._namespace = namespace
        self._on_image = on_image
        self.diagnostics: dict[str, dict[str, str]] = {}  # node -> its last values
        self._gil_longest_ms = 0.0
        self._bridge = CvBridge()
        self._lock = threading.Lock()
        self._node = Node('recorder', namespace=namespace)
        many = QoSProfile(
            depth=200, reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        for message_type, topic, callback, qos in (
            (FrameReport, 'frame_report', self._on_report, many),
            (Plan, 'plan', self._on_plan, LATCHED),
            (Plan, 'plan_trial', self._on_trial, 10),
            (Load, 'load', self._on_load, 10),
            (String, 'navigation_status', self._on_navigation, 10),
            (String, 'edge_profile', self._on_profile, LATCHED),
            (ServerStatus, f'{rendezvous}/server_status', self._on_status, LATCHED),
            (DiagnosticArray, '/diagnostics', self._on_diagnostics, 10),
        ):
            self._node.create_subscription(message_type, topic, callback, qos)
        if annotated:
            self._node.create_subscription(Image, 'image_annotated', self._on_annotated, 2)
        self._plans = self._node.create_publisher(Plan, 'plan', LATCHED)
        self._trials = self._node.create_publisher(Plan, 'plan_trial', 10)
        self._plan_id = BY_HAND
        self._parameter_clients: dict[str, AsyncParameterClient] = {}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name='recorder', daemon=True)
        self._thread.start()

    # -- time ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Time zero of the record; what was recorded before gets times below zero."""
        self._start_s = start_s = self._clock_s()
        self.rows[:] = [replace(row, time_s=row.time_s - start_s) for row in self.rows]

    @property
    def started_s(self) -> float:
        """When ``begin`` was called, wall clock; 0 before."""
        return self._start_s if self._start_s is not None else 0.0

    def now_s(self) -> float:
        """Seconds since ``begin``."""
        return self._clock_s() - self.started_s

    def _clock_s(self) -> float:
        return float(self._node.get_clock().now().nanoseconds) / 1e9

    def take_gil_longest_ms(self) -> float:
        """Longest hold of the lock that the robot's diagnostics told since the last call [ms]."""
        longest, self._gil_longest_ms = self._gil_longest_ms, 0.0
        return longest

    # -- asking nodes -------------------------------------------------------------------

    def set_parameters(self, node: str, **values: Any) -> None:
        """What ``ros2 param set`` does.

        Raises:
            OffloadError: The node does not answer, or refuses the value.
        """
        name = f'{self._namespace}/{node}'
        with self._lock:
            if name not in self._parameter_clients:
                self._parameter_clients[name] = AsyncParameterClient(self._node, name)
            client = self._parameter_clients[name]
        if not client.wait_for_services(SERVICE_TIMEOUT_S):
            raise OffloadError('a node does not offer its parameters', given=name)
        parameters = [Parameter(key, value=value) for key, value in values.items()]
        results = self._await(client.set_parameters(parameters), f'parameters of {name}').results
        for key, result in zip(values, results, strict=True):
            if not result.successful:
                raise OffloadError(f'{name} refused {key}', hint=result.reason)

    def deactivate(self, node: str) -> None:
        """What ``ros2 lifecycle set NODE deactivate`` does."""
        self._change_state(node, Transition.TRANSITION_DEACTIVATE)

    def activate(self, node: str) -> None:
        """What ``ros2 lifecycle set NODE activate`` does."""
        self._change_state(node, Transition.TRANSITION_ACTIVATE)

    def _change_state(self, node: str, transition: int) -> None:
        name = f'{self._namespace}/{node}/change_state'
        client = self._node.create_client(ChangeState, name)
        if not client.wait_for_service(SERVICE_TIMEOUT_S):
            raise OffloadError('a node does not offer its lifecycle', given=name)
        request = ChangeState.Request()
        request.transition.id = transition
        done = self._await(client.call_async(request), name).success
        self._node.destroy_client(client)
        if not done:
            raise OffloadError(f'{node} refused a transition', given=str(transition))

    def publish_plan(
        self,
        model_identity: str,
        cut_id: str,
        codec: str,
        server: str,
        *,
        trial: bool = False,
        **more: object,
    ) -> int:
        """Say in the planner's place what to run (there must be none); returns the plan id.

        Args:
            model_identity: Of the model that the robot runs.
            cut_id: Identity of the cut.
            codec: Codec of what crosses.
            server: Name of the server; all three empty = all on the robot.
            trial: Only single frames shall run under it.
            more: Further fields of the message.
        """
        self._plan_id += 1
        publisher = self._trials if trial else self._plans
        publisher.publish(Plan(
            plan_id=self._plan_id, model_identity=model_identity, cut=cut_id, codec=codec,
            server=server, strategy='by hand', reason='set by hand', **more,
        ))
        return self._plan_id

    def _await(self, future: Any, what: str) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(SERVICE_TIMEOUT_S):
            raise OffloadError('no answer', given=what, hint='see the node\'s log')
        return future.result()

    # -- listening ----------------------------------------------------------------------

    def _on_report(self, msg: FrameReport) -> None:
        stamp_s = stamp_of(msg)
        self.latest.report = msg
        self.counters[msg.pid] = {
            key: getattr(msg, key)
            for key in ('entered', 'remote', 'local', 'rescued', 'dropped', 'in_flight')
        }
        left = msg.uplink_bytes > 0
        self.rows.append(
            FrameRow(
                time_s=stamp_s - self.started_s,
                phase=self.phase,
                strategy=self._strategies.get(msg.plan_id, ''),
                frame_seq=msg.frame_seq,
                outcome=OUTCOMES[msg.outcome],
                drop_reason=DROP_REASONS[msg.drop_reason],
                cut=msg.cut,
                cut_index=msg.cut_index,
                cut_label=msg.label,
                depth=self._depth_of(msg.cut) if left else -1,
                codec=msg.codec,
                server=msg.server,
                plan_epoch=msg.plan_epoch,
                plan_id=msg.plan_id,
                uplink_bytes=msg.uplink_bytes,
                deadline_met=msg.deadline_met,
                is_trial=msg.plan_id in self._trial_ids,
                stood_in=msg.stood_in,
                **{name: float(getattr(msg, name)) for name in _TIMES},
            )
        )

    def _on_plan(self, msg: Plan) -> None:
        self.latest.plan = msg
        self._note_plan(msg)

    def _on_trial(self, msg: Plan) -> None:
        self._trial_ids.add(msg.plan_id)
        self._note_plan(msg)

    def _note_plan(self, msg: Plan) -> None:
        self._strategies[msg.plan_id] = msg.strategy
        if msg.frontier:
            self._frontiers[msg.cut] = list(msg.frontier)

    def _depth_of(self, cut: str) -> int:
        """Weighted layers before a cut; 0, a picture, where nothing is known of it."""
        frontier = self._frontiers.get(cut)
        if cut not in self._depths and frontier is not None and self.profile is not None:
            self._depths[cut] = max(frontier_depth(self.profile, frontier), 0)
        return self._depths.get(cut, 0)

    def _on_load(self, msg: Load) -> None:
        self.latest.load = msg
        if self._start_s is not None:
            navigation = self.latest.navigation or {}
            self.loads.append(
                LoadSample(
                    self.now_s(), msg.factor, msg.loadavg_1min / max(msg.cores, 1),
                    float(navigation.get('loop_hz', 0.0)),
                )
            )

    def _on_navigation(self, msg: String) -> None:
        self.latest.navigation = said = json.loads(msg.data)
        if self._start_s is not None:
            self.navigation_states[said['state']] += 1

    def _on_profile(self, msg: String) -> None:
        self.profile = Profile.from_json(msg.data)
        self._depths = {cut.cut_id: cut.depth for cut in self.profile.cuts}

    def _on_status(self, msg: ServerStatus) -> None:
        self.latest.status = msg
        if msg.state == ServerStatus.STATE_READY:
            self.ready_s.setdefault(msg.session, self.now_s())

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            values = {item.key: item.value for item in status.values}
            self.diagnostics[status.name] = values
            held_ms = float(values.get('gil_longest_ms', 0.0))
            self._gil_longest_ms = max(self._gil_longest_ms, held_ms)

    def _on_annotated(self, msg: Image) -> None:
        self._on_image(self._bridge.imgmsg_to_cv2(msg, 'rgb8'))

    def _spin(self) -> None:
        # When the context is shut down under us, there is nothing left to hear.
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        if not self._thread.is_alive():
            return
        self._executor.shutdown()
        self._thread.join(SERVICE_TIMEOUT_S)
        self._node.destroy_node()


def wait_until(condition: Callable[[], bool], timeout_s: float, period_s: float = 0.05) -> bool:
    """Wait for something; False if it did not happen in time."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s or not rclpy.ok():
            return False
        time.sleep(period_s)
    return True
