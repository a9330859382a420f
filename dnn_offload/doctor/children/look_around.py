"""Listens on the ROS domain for robots and servers of ours, and tells what they say."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
import json
import os
import sys
import time
from typing import Any

try:
    import rclpy
except ImportError as error:
    print(f'rclpy cannot be imported: {error}', file=sys.stderr)
    sys.exit(3)
from rclpy.node import Node
from std_msgs.msg import String

from dnn_offload.errors import RefusedError
from dnn_offload.exchange import SERVER_STATES
from dnn_offload.msg import Plan, ServerStatus
from dnn_offload.testbed.environment import use_own_transports
from dnn_offload.transport import names, qos, topics
from dnn_offload.transport.conversion import read_message

PROFILE = '/edge_profile'
TURN_S = 0.1


class Listener:
    """Subscribes to what robots and servers latch, as it finds them.

    Args:
        node: To listen with.
        rendezvous: Absolute namespace in which they meet.
    """

    def __init__(self, node: Node, rendezvous: str) -> None:
        self._node = node
        self._rendezvous = rendezvous
        self._subscribed: set[str] = set()
        self.servers: dict[str, dict[str, Any]] = {}
        self.robots: dict[str, dict[str, Any]] = {}
        self.profiles: dict[str, str] = {}   # server to its profile in JSON
        self.unreadable: list[str] = []
        self.status_topic = names.server_status(rendezvous)
        self._subscribe(ServerStatus, self.status_topic, self._take_status)

    def look(self) -> None:
        """Subscribe to what has come up since."""
        for topic, types in self._node.get_topic_names_and_types():
            if topic.endswith(PROFILE) and 'std_msgs/msg/String' in types:
                namespace = topic.removesuffix(PROFILE) or '/'
                if not self._node.count_publishers(topic):
                    continue
                self.robots.setdefault(namespace, {'profile': '', 'plan': None})
                self._subscribe(String, topic, partial(self._take_robot, namespace))
                self._subscribe(
                    Plan, f'{namespace.rstrip("/")}/plan', partial(self._take_plan, namespace)
                )

    def other_messages(self) -> list[str]:
        """Topics on which somebody has another version of our message than we have."""
        found = []
        for topic in sorted(self._subscribed):
            ours = {
                str(info.topic_type_hash)
                for info in self._node.get_subscriptions_info_by_topic(topic)
                if info.node_name == self._node.get_name()
            }
            theirs = {
                str(info.topic_type_hash)
                for info in self._node.get_publishers_info_by_topic(topic)
            }
            if ours and theirs - ours:
                found.append(topic)
        return found

    def _subscribe(
        self, message_type: type, topic: str, callback: Callable[[Any], None]
    ) -> None:
        if topic in self._subscribed:
            return
        self._subscribed.add(topic)

        def take(serialised: bytes) -> None:
            try:
                callback(read_message(serialised, message_type))
            except RefusedError as error:
                self.unreadable.append(f'{topic}: {error}')

        self._node.create_subscription(
            message_type, topic, take, qos.latched(topics.STATUS_READER_DEPTH), raw=True
        )

    def _take_status(self, message: ServerStatus) -> None:
        known = message.state < len(SERVER_STATES)
        self.servers[message.server] = {
            'server': message.server,
            'state': SERVER_STATES[message.state] if known else f'unknown state {message.state}',
            'detail': message.detail,
            'model': message.model,
            'identity': message.model_identity,
            'fingerprint': list(message.fingerprint),
            'load_factor': message.load_factor,
            'queue_ms': message.queue_ms,
            'clients': message.clients,
        }
        if names.is_name(message.server):
            topic = names.profile(self._rendezvous, message.server)
            self._subscribe(String, topic, partial(self._take_profile, message.server))

    def _take_profile(self, server: str, message: String) -> None:
        self.profiles[server] = message.data

    def _take_robot(self, namespace: str, message: String) -> None:
        self.robots[namespace]['profile'] = message.data

    def _take_plan(self, namespace: str, message: Plan) -> None:
        self.robots[namespace]['plan'] = {
            'strategy': message.strategy, 'cut': message.label or message.cut,
            'codec': message.codec, 'server': message.server,
        }


def main() -> None:
    """Print who is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--rendezvous', required=True)
    parser.add_argument('--seconds', type=float, required=True)
    args = parser.parse_args()
    use_own_transports()
    rclpy.init(args=[])
    node = Node(f'dnn_offload_doctor_{os.getpid()}', start_parameter_services=False)
    listener = Listener(node, names.check_rendezvous(args.rendezvous))
    end_s = time.monotonic() + args.seconds
    while time.monotonic() < end_s:
        listener.look()
        until_s = time.monotonic() + TURN_S
        while (left_s := until_s - time.monotonic()) > 0.0:
            rclpy.spin_once(node, timeout_sec=left_s)
    own = node.get_name()
    answer = {
        'rmw': rclpy.get_rmw_implementation_identifier(),
        'domain': node.context.get_domain_id(),
        'nodes': sorted(
            f'{namespace.rstrip("/")}/{name}'
            for name, namespace in node.get_node_names_and_namespaces() if name != own
        ),
        'servers': list(listener.servers.values()),
        'profiles': listener.profiles,
        'robots': listener.robots,
        'other_messages': listener.other_messages(),
        'unreadable': sorted(set(listener.unreadable)),
    }
    print(json.dumps(answer), flush=True)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
