"""QoS that users change by ROS 2's own parameters: ``qos_overrides.<topic>.<end>.<policy>``.

rclpy declares and applies them; here they are looked at when the node starts, since rclpy passes
over those that match nothing without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.topic_names import COMPRESSED, compressed_topic
from dnn_offload.nodes.topics import NodeTopics
from dnn_offload.transport.qos import profile_of
from dnn_offload.transport.topics import Endpoint

ADOPT = ReliabilityPolicy.BEST_AVAILABLE  # of a subscription: reliable if all publishers are
POLICIES: dict[str, tuple[str, ...]] = {
    'history': ('keep_last', 'keep_all'),
    'depth': (),  # a number
    'reliability': ('reliable', 'best_effort', ADOPT.name.lower()),
}
_Entity = TypeVar('_Entity')


def open_endpoint(
    create: Callable[..., _Entity], message_type: type, endpoint: Endpoint, **options: Any
) -> _Entity:
    """Make a publisher or a subscription with the endpoint's QoS, or the user's.

    Args:
        create: The node's ``create_...``; called with type, name, ``callback``, profile.
        message_type: Type of the topic.
        endpoint: What is opened.
        options: What it takes by name.
    """
    if endpoint.overridable:
        options['qos_overriding_options'] = QoSOverridingOptions.with_default_policies()
    profile = profile_of(endpoint.quality)
    return create(message_type, endpoint.name, qos_profile=profile, **options)


def override_names(node: Node, ends: NodeTopics) -> list[str]:
    """Parameters by which users may change the QoS of a node's topics, as they are remapped."""
    return [
        f'qos_overrides.{_full_name(node, endpoint)}.{end}.{policy}'
        for end, endpoints in (('publisher', ends.publishes), ('subscription', ends.subscribes))
        for endpoint in endpoints if endpoint.overridable
        for policy in POLICIES
    ]


def _full_name(node: Node, endpoint: Endpoint) -> str:
    if endpoint.name.endswith(COMPRESSED):
        return compressed_topic(node, endpoint.at(endpoint.name.removesuffix(COMPRESSED)))
    return node.resolve_topic_name(endpoint.name)


def check_overrides(given: Mapping[str, Parameter], names: Collection[str]) -> None:
    """Refuse values that no QoS has.

    Args:
        given: What file and command line gave.
        names: What ``override_names`` gave.

    Raises:
        ConfigurationError: With what is allowed.
    """
    for name in given.keys() & set(names):
        value = given[name].value
        choices = POLICIES[name.rpartition('.')[2]]
        number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value not in choices if choices else not number:
            raise ConfigurationError(
                f'parameter {name} is refused', given=repr(value),
                allowed=', '.join(choices) or '1 or more',
            )


def adopts_reliability(node: Node, subscription: Any) -> bool:
    """Whether the user leaves the reliability of a subscription to whoever publishes."""
    name = f'qos_overrides.{subscription.topic_name}.subscription.reliability'
    return bool(node.get_parameter(name).value == ADOPT.name.lower())
