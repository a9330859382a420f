"""A subscription on a thread of its own, for the topics that every frame waits for.

rclpy's executor builds a wait set of everything a node has for each message that it takes; with
the services, timers and event handlers of a lifecycle node that costs about half a millisecond,
and a frame that crosses the link is taken five times. Here the set has one subscription.
"""

from __future__ import annotations

from collections.abc import Callable
import threading
import time
from typing import Any

from rclpy._rclpy_pybind11 import InvalidHandle
from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSProfile

from dnn_offload.transport.guard import guarded

LONGEST_WAIT_S = 1.0
PAUSE_S = 0.1        # after a failure
_TAKEN_AT_ONCE = 16  # then the time is looked at again


class _NotForExecutors(CallbackGroup):
    """Entities that no executor may take."""

    def can_execute(self, entity: Any) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing began."""


class Listener:
    """Takes the raw messages of one topic, and looks after other things between them.

    Both callbacks run on this thread alone, so what only they touch needs no lock. What they
    raise is logged (``guard.guarded``).

    Args:
        node: Node to subscribe with.
        message_type: Type of the topic.
        topic: Its name.
        profile: QoS.
        on_message: Called with every serialised message.
        between: Called with ``time.monotonic()`` before each wait for messages; gives when the
            wait has to end at the latest, on the same clock.
        name: Of the thread.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        profile: QoSProfile,
        on_message: Callable[[bytes], None],
        *,
        between: Callable[[float], float] | None = None,
        name: str = 'listener',
    ) -> None:
        self._node = node
        self._on_message = guarded(node.get_logger(), on_message)
        self._between = guarded(node.get_logger(), between) if between else None
        self._stopping = False
        self._log = node.get_logger()
        group = _NotForExecutors()
        self._subscription = node.create_subscription(
            message_type, topic, on_message, profile, callback_group=group, raw=True,
            # Nobody waits for its events.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )
        self._guard = GuardCondition(None, group, context=node.context)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether messages are taken."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End after the message in work; nothing is called back afterwards, or a second time."""
        if self._stopping:
            return
        self._stopping = True
        self._guard.trigger()
        self._thread.join()
        self._node.destroy_subscription(self._subscription)
        self._guard.destroy()

    def _run(self) -> None:
        context = self._node.context
        wait_set = rclpy_implementation.WaitSet(1, 1, 0, 0, 0, 0, context.handle)
        while not self._stopping and context.ok():
            try:
                # In use while they are waited on, so that nobody destroys them under us.
                with self._subscription.handle, self._guard.handle, context.handle:
                    ready = self._wait(wait_set)
                if ready:
                    self._take_what_is_there()
            except InvalidHandle:
                return  # the node was destroyed
            except Exception as error:  # no memory, say: who ends here would be deaf for ever
                self._log.error(f'cannot take messages: {error}', throttle_duration_sec=1.0)
                time.sleep(PAUSE_S)

    def _wait(self, wait_set: Any) -> bool:
        """Wait for a message, the next look between, or the end; True for a message."""
        now_s = time.monotonic()
        wait_s = LONGEST_WAIT_S
        if self._between is not None:
            until_s = self._between(now_s)
            if until_s is not None:  # else it failed
                wait_s = min(max(until_s - now_s, 0.0), LONGEST_WAIT_S)
        wait_set.clear_entities()
        wait_set.add_subscription(self._subscription.handle)
        wait_set.add_guard_condition(self._guard.handle)
        wait_set.wait(int(1e9 * wait_s))
        return bool(wait_set.get_ready_entities('subscription'))

    def _take_what_is_there(self) -> None:
        for _ in range(_TAKEN_AT_ONCE):
            if self._stopping:
                return
            with self._subscription.handle:
                taken = self._subscription.handle.take_message(
                    self._subscription.msg_type, self._subscription.raw
                )
            if taken is None:
                return
            self._on_message(taken[0])
