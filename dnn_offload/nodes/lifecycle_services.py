"""A transition that is not possible now is refused; rclpy would end the process.

rclpy's service ``change_state`` lets the error of the state machine out of its callback, out of
``spin`` and so out of the node: any tool that asks an active node to activate would kill it.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy._rclpy_pybind11 import RCLError
from rclpy.lifecycle import LifecycleNode

LABEL_CHARS = 64
# What may be asked for in each state, as the state machine of ROS 2 has it.
POSSIBLE = {
    'unconfigured': 'configure, shutdown',
    'inactive': 'activate, cleanup, shutdown',
    'active': 'deactivate, shutdown',
    'finalized': 'nothing',
}


def refuse_impossible_transitions(node: LifecycleNode, state_name: Callable[[], str]) -> None:
    """Let a node answer ``success: false`` and log what was possible.

    Args:
        node: The node, with its services made.
        state_name: Gives the name of its state.
    """
    for service in node.services:
        if service.srv_type is ChangeState:
            service.callback = _refusing(node, service.callback, state_name)


def _refusing(
    node: LifecycleNode, callback: Callable[[Any, Any], Any], state_name: Callable[[], str]
) -> Callable[[Any, Any], Any]:
    @functools.wraps(callback)
    def change_state(request: Any, response: Any) -> Any:
        label = request.transition.label
        try:
            if label:  # one that is not possible now rclpy answers by itself, without a word
                node._state_machine.get_transition_by_label(label)
            response = callback(request, response)
            refused = False
        except RCLError:
            response.success, refused = False, True
        if refused:
            wanted = repr(label[:LABEL_CHARS]) if label else f'with id {request.transition.id}'
            state = state_name()
            node.get_logger().warning(
                f'transition {wanted} is refused: the node is {state}; '
                f'allowed: {POSSIBLE[state]}'
            )
        return response

    return change_state
