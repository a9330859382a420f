"""QoS that users change by ROS 2's own parameters: ``qos_overrides.<topic>.<end>.<policy>``.

rclpy declares and applies them; here a bad one gets an error that says what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import InvalidQosOverridesError, QoSOverridingOptions

from dnn_offload.errors import ConfigurationError
from dnn_offload.transport.qos import profile_of
from dnn_offload.transport.topics import Endpoint

ADOPT = ReliabilityPolicy.BEST_AVAILABLE  # of a subscription: reliable if all publishers are
ALLOWED = (
    'history: keep_last, keep_all; depth: 1 or more; reliability: reliable, best_effort, '
    'best_available'
)
_HISTORIES = (HistoryPolicy.KEEP_LAST, HistoryPolicy.KEEP_ALL)
_RELIABILITIES = (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT, ADOPT)
_Entity = TypeVar('_Entity')


def open_endpoint(
    create: Callable[..., _Entity], message_type: type, endpoint: Endpoint, *more: Any,
    **options: Any,
) -> _Entity:
    """Make a publisher or a subscription with the endpoint's QoS, or the user's.

    Args:
        create: The node's ``create_...``; called with type, name, ``more``, profile.
        message_type: Type of the topic.
        endpoint: What is opened.
        more: What ``create`` takes before the profile.
        options: What it takes by name.

    Raises:
        ConfigurationError: An override is not acceptable.
    """
    if endpoint.overridable:
        options['qos_overriding_options'] = QoSOverridingOptions.with_default_policies(
            callback=_check
        )
    profile = profile_of(endpoint.quality)
    try:
        return create(message_type, endpoint.name, *more, profile, **options)
    except (InvalidQosOverridesError, ParameterException, RuntimeError) as error:
        if not endpoint.overridable:
            raise
        raise ConfigurationError(
            f'a QoS override of topic {endpoint.name} is refused', given=str(error),
            allowed=ALLOWED, hint='overrides are taken when the node starts',
        ) from error


def adopts_reliability(node: Node, subscription: Any) -> bool:
    """Whether the user leaves the reliability of a subscription to whoever publishes."""
    name = f'qos_overrides.{subscription.topic_name}.subscription.reliability'
    return bool(node.get_parameter(name).value == ADOPT.name.lower())


def _check(profile: QoSProfile) -> SetParametersResult:
    good = (
        profile.depth >= 1 and profile.history in _HISTORIES
        and profile.reliability in _RELIABILITIES
    )
    given = f'{profile.history.name.lower()}, {profile.depth}, {profile.reliability.name.lower()}'
    return SetParametersResult(successful=good, reason='' if good else given)
