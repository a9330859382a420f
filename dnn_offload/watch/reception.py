"""Finds robots and servers by the types of their topics, and takes what they say.

It must not be felt by whom it looks at, and must hear them whatever their settings. So all
subscriptions are best effort and volatile (they match every publisher, and none waits for them),
only small messages are taken, and there is no executor: what has come is fetched some times a
second, with the time of its arrival as the middleware notes it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
import json
from pathlib import Path
import time
from typing import Any

from ament_index_python.packages import get_package_share_directory
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from dnn_offload.msg import FrameReport, LinkSample, Load, Plan, ServerStatus
from dnn_offload.watch.conversion import (
    frame_fact,
    health_facts,
    link_fact,
    load_fact,
    plan_fact,
    server_fact,
)
from dnn_offload.watch.facts import plain
from dnn_offload.watch.system import System
from dnn_offload.watch.views import Alarm

RCLError = rclpy_implementation.RCLError
DISCOVERY_S = 1.0
DEPTH = 256                 # of what comes with every frame: seconds at 30 per second
FEW_DEPTH = 16
MAX_AT_ONCE = 2000          # messages of one topic that are taken in a row
MIXED_PATIENCE = 50         # messages that cannot be read, where other versions speak, too
COMPLAINT_S = 10.0          # so long a message that could not be read is spoken of
LONGEST_AGO_S = 60.0        # more is a clock that was set
DIAGNOSTICS = '/diagnostics'
# Of a publisher that was found before its node was (rmw_dds_common), for a moment.
NOT_YET_KNOWN = '_NODE_NAMESPACE_UNKNOWN_'
ROBOT_TYPES = (FrameReport, Plan, Load, LinkSample)


@dataclass
class _Source:
    """A topic that is listened to; ``robot`` is empty for those of all."""

    subscription: Subscription
    message_type: Any
    robot: str


class Reception:
    """Keeps a ``System`` fed from topics.

    Args:
        node: Node to listen with; nobody needs to spin it.
        system: What is told.
        only: Namespaces of the robots that count; none = all.
    """

    def __init__(self, node: Node, system: System, only: Collection[str] = ()) -> None:
        self._node = node
        self._system = system
        self._only = frozenset(only)
        self._sources: dict[str, _Source] = {}
        self._names = {_type_name(kind): kind for kind in (*ROBOT_TYPES, ServerStatus)}
        self._hashes = _own_hashes()
        self._mixed: frozenset[str] = frozenset()  # topics on which another version speaks, too
        self._unreadable: dict[str, tuple[float, str]] = {}  # topic -> when, why
        self._next_discovery_s = 0.0
        self._listen(DIAGNOSTICS, DiagnosticArray, '')

    # -- who is there -------------------------------------------------------------------

    def poll(self, now_s: float) -> None:
        """Look for who came and went, then take what was said; ``now_s`` is monotonic time."""
        if now_s >= self._next_discovery_s:
            self._next_discovery_s = now_s + DISCOVERY_S
            self._discover(now_s)
        for topic, source in self._sources.items():
            self._take(topic, source, now_s)

    def _discover(self, now_s: float) -> None:
        present: Counter[str] = Counter()
        strangers: dict[str, set[str]] = defaultdict(set)
        wanted: dict[str, tuple[Any, str]] = {}
        for topic, names in self._node.get_topic_names_and_types():
            for kind in [self._names[name] for name in names if name in self._names]:
                publishers = [
                    info for info in self._node.get_publishers_info_by_topic(topic)
                    if info.topic_type == _type_name(kind) and info.node_namespace != NOT_YET_KNOWN
                ]
                ours = []
                for info in publishers:
                    if self._speaks_ours(info):
                        ours.append(info)
                    elif self._counts(info):
                        strangers[_full_name(info)].add(topic)
                self._note(topic, kind, ours, wanted, present)
        for topic, (kind, robot) in wanted.items():
            if topic not in self._sources:
                self._listen(topic, kind, robot)
            self._sources[topic].robot = robot  # another than before, after a restart elsewhere
        self._forget(set(wanted))
        self._mixed = frozenset().union(*strangers.values())
        self._system.set_present(present, now_s)
        self._complain(strangers, now_s)

    def _note(
        self, topic: str, kind: Any, publishers: list[TopicEndpointInfo],
        wanted: dict[str, tuple[Any, str]], present: Counter[str],
    ) -> None:
        """A topic of one of our types: of which robot it is, and whether it is listened to."""
        if kind is ServerStatus:
            if publishers:
                wanted[topic] = kind, ''
            return
        if kind is Plan:  # `plan` is latched, `plan_trial` is not; by name they may be remapped
            publishers = [
                info for info in publishers
                if info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            ]
        robots = [info.node_namespace for info in publishers if self._counts(info)]
        if not robots:
            return
        wanted[topic] = kind, robots[0]
        for name in robots:
            present[name] += kind is FrameReport

    def _counts(self, info: TopicEndpointInfo) -> bool:
        """Whether a node is of a robot that was asked for."""
        return not self._only or info.node_namespace in self._only

    def _forget(self, wanted: set[str]) -> None:
        """End subscriptions whose publishers are gone: the domain forgets such topics, too."""
        for topic in [t for t in self._sources if t not in wanted and t != DIAGNOSTICS]:
            self._node.destroy_subscription(self._sources.pop(topic).subscription)

    def _speaks_ours(self, info: TopicEndpointInfo) -> bool:
        """Whether a publisher's message is laid out as ours; true where that is not known."""
        own = self._hashes.get(info.topic_type, '')
        theirs = info.topic_type_hash
        return not own or theirs.version <= 0 or str(theirs) == own

    def _complain(self, strangers: dict[str, set[str]], now_s: float) -> None:
        complaints = [
            Alarm(
                name, 'another version of dnn_offload: its messages '
                f'({", ".join(sorted(topics))}) are not read; install the same commit', True,
            )
            for name, topics in sorted(strangers.items())
        ]
        complaints += [
            Alarm('', f'messages on {topic} cannot be read: {why}', True)
            for topic, (at_s, why) in self._unreadable.items()
            if now_s - at_s < COMPLAINT_S
        ]
        self._system.set_complaints(complaints)

    # -- what they say ------------------------------------------------------------------

    def _listen(self, topic: str, message_type: Any, robot: str) -> None:
        few = message_type in (Plan, Load)
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=FEW_DEPTH if few else DEPTH,
            reliability=ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.VOLATILE,
        )
        subscription = self._node.create_subscription(
            message_type, topic, _never_called, profile,
            # Their only purpose here would be warnings on a terminal that is drawn on.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )
        self._sources[topic] = _Source(subscription, message_type, robot)

    def _take(self, topic: str, source: _Source, now_s: float) -> None:
        subscription = source.subscription
        wall_ns = time.time_ns()
        # What the middleware cannot read it throws away, and says what it says at the end.
        patience = MIXED_PATIENCE if topic in self._mixed else 1
        for _ in range(MAX_AT_ONCE):
            try:
                with subscription.handle:
                    taken = subscription.handle.take_message(source.message_type, False)
                if taken is None:
                    patience -= 1
                    if patience == 0:
                        return
                    continue
                message, info = taken
                # Arrival is told in wall time, which may jump: only how long ago it was is used.
                came_ns = info['received_timestamp'] or wall_ns
                at_s = now_s - min(max(0.0, (wall_ns - came_ns) / 1e9), LONGEST_AGO_S)
                self._tell(source, message, at_s)
            # Whatever a message of an unknown layout makes of our tables.
            except (RCLError, ArithmeticError, LookupError, ValueError, MemoryError) as error:
                self._unreadable[topic] = now_s, plain(str(error))

    def _tell(self, source: _Source, message: Any, at_s: float) -> None:
        kind = source.message_type
        if kind is DiagnosticArray:
            for namespace, fact in health_facts(message):
                self._system.hear_health(namespace, fact, at_s)
        elif kind is ServerStatus:
            self._system.hear_server(server_fact(message), at_s)
        else:
            robot = self._system.robot(source.robot, at_s)
            if robot is not None:
                if kind is FrameReport:
                    robot.hear_frame(frame_fact(message), at_s)
                    for transfer in message.transfers:
                        robot.hear_link(link_fact(transfer), at_s)
                elif kind is LinkSample:
                    robot.hear_link(link_fact(message), at_s)
                elif kind is Load:
                    robot.hear_load(load_fact(message), at_s)
                else:
                    robot.hear_plan(plan_fact(message), at_s)


def _never_called(message: Any) -> None:
    """Nobody spins the node: ``Reception`` takes the messages itself."""


def _type_name(message_type: Any) -> str:
    """As discovery tells it, e.g. ``dnn_offload/msg/Load``."""
    return f'{message_type.__module__.split(".")[0]}/msg/{message_type.__name__}'


def _own_hashes() -> dict[str, str]:
    """Type name to the hash of its layout, as installed; types whose hash is not are left out."""
    folder = Path(get_package_share_directory('dnn_offload')) / 'msg'
    hashes: dict[str, str] = {}
    for path in folder.glob('*.json'):
        for entry in json.loads(path.read_text(encoding='utf-8')).get('type_hashes', ()):
            hashes[entry['type_name']] = entry['hash_string']
    return hashes


def _full_name(info: TopicEndpointInfo) -> str:
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'
