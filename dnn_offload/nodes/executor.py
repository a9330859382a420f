"""An executor for one thread that does not build its wait set anew for every message.

rclpy's ``SingleThreadedExecutor`` collects everything that a node has, opens a handle for each and
makes a new wait set before each callback: about 0.4 ms for a lifecycle node with its dozen of
services, and planner and robot take some 150 messages a second. Here the set is kept until the
node tells that it has changed (``wake``). Subscriptions and timers are served from it; everything
rare (services, clients, tasks; QoS events once a second) is left to rclpy's own way. What it
saves, and why it is not rclpy's ``EventsExecutor``: docs/performance.md.

Messages that are read for what they say together may wait (``let_wait``): the executor does not
wake for them. They are taken, all that are there, before whatever it wakes for next, and at least
every ``PATIENCE_S``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
import math
import time
from typing import Any
from weakref import WeakSet

from rclpy._rclpy_pybind11 import InvalidHandle
from rclpy.event_handler import EventHandler
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from rclpy.waitable import NumberOfEntities, Waitable

RARE = ('guard_condition', 'service', 'client')
EVENTS_PERIOD_S = 1.0  # QoS events are for the log: they are looked for so often only
PATIENCE_S = 0.1       # messages that may wait do so at most for so long
TAKEN_AT_ONCE = 200    # of one subscription, so that a flood cannot keep timers from running

_patient: WeakSet[Subscription] = WeakSet()


def let_wait(subscription: Subscription) -> None:
    """Let messages of a subscription wait; other executors than ours take them as they come.

    Each wake-up for a message costs as much as reading it. Call it before the executor has seen
    the subscription.
    """
    _patient.add(subscription)


class _KeptSet:
    """All entities of some nodes, with their handles held open, and a wait set for them.

    A handle that is held open outlives its ``destroy``; the executor hears of that by ``wake``
    and makes a new set.
    """

    def __init__(self, nodes: list[Node], own_guards: list[Any], context: Any) -> None:
        self._held = ExitStack()
        self.timers: dict[int, Timer] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.patient: list[Subscription] = []
        self.guards: dict[int, Any] = {}
        self._waitables: list[Waitable] = []
        services: list[Any] = []
        clients: list[Any] = []
        self._held.enter_context(context.handle)
        for node in nodes:
            self._keep(node.timers, self.timers)
            subscriptions = list(node.subscriptions)
            self.patient += self._open(s for s in subscriptions if s in _patient)
            self._keep((s for s in subscriptions if s not in _patient), self.subscriptions)
            self._keep(node.guards, self.guards)
            services += self._open(node.services)
            clients += self._open(node.clients)
            for waitable in node.waitables:
                if isinstance(waitable, EventHandler):
                    continue
                with suppress(InvalidHandle):
                    self._held.enter_context(waitable)
                    self._waitables.append(waitable)
        guards = [*self.guards.values(), *self._open(own_guards)]
        more = NumberOfEntities()
        for waitable in self._waitables:
            more += waitable.get_num_entities()
        self._set = wait_set = rclpy_implementation.WaitSet(
            len(self.subscriptions) + more.num_subscriptions,
            len(guards) + more.num_guard_conditions,
            len(self.timers) + more.num_timers,
            len(clients) + more.num_clients,
            len(services) + more.num_services,
            more.num_events,
            context.handle,
        )
        self._additions: list[tuple[Callable[[Any], object], Any]] = [
            (add, entity.handle)
            for add, entities in (
                (wait_set.add_subscription, self.subscriptions.values()),
                (wait_set.add_timer, self.timers.values()),
                (wait_set.add_guard_condition, guards),
                (wait_set.add_service, services),
                (wait_set.add_client, clients),
            )
            for entity in entities
        ]

    def _open(self, entities: Any) -> list[Any]:
        """Hold the handles of those that an executor may take."""
        opened = []
        for entity in entities:
            if not entity.callback_group.can_execute(entity):
                continue
            with suppress(InvalidHandle):  # destroyed meanwhile
                self._held.enter_context(entity.handle)
                opened.append(entity)
        return opened

    def _keep(self, entities: Any, kept: dict[int, Any]) -> None:
        kept.update((entity.handle.pointer, entity) for entity in self._open(entities))

    def wait(self, timeout_s: float | None) -> None:
        """Wait for any of them; None or negative = without end, where nothing is patient."""
        if timeout_s is None or timeout_s < 0.0:
            timeout_s = float('inf')
        if self.patient:
            timeout_s = min(timeout_s, PATIENCE_S)
        timeout_ns = -1 if math.isinf(timeout_s) else int(1e9 * timeout_s)
        wait_set = self._set
        wait_set.clear_entities()
        for add, handle in self._additions:
            add(handle)
        for waitable in self._waitables:
            waitable.add_to_wait_set(wait_set)
        wait_set.wait(timeout_ns)

    def ready(self, kind: str) -> list[int]:
        """Which of a kind are ready, by pointer."""
        pointers: list[int] = self._set.get_ready_entities(kind)
        return pointers

    @property
    def something_rare(self) -> bool:
        """Whether anything but a timer or a subscription is ready."""
        if any(self.ready(kind) for kind in RARE):
            return True
        return any(waitable.is_ready(self._set) for waitable in self._waitables)

    def close(self) -> None:
        """Let the handles go."""
        self._held.close()


class LeanExecutor(SingleThreadedExecutor):
    """See the module. For nodes whose callbacks are plain functions, not coroutines."""

    def __init__(self) -> None:
        self._kept: _KeptSet | None = None
        self._changed = True
        self._events_due_s = 0.0
        super().__init__()

    def add_node(self, node: Node) -> bool:
        """See ``Executor``."""
        self._changed = True
        return bool(super().add_node(node))

    def wake(self) -> None:
        """Entities came or went; from any thread."""
        self._changed = True
        super().wake()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """See ``Executor``."""
        self._forget()
        return bool(super().shutdown(timeout_sec))

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait, and run what is ready: at most one message of each subscription.

        Raises:
            ExternalShutdownException: The context has ended.
        """
        if self._is_shutdown:
            return
        if self._tasks:
            super().spin_once(0)
            return
        if self._changed or self._kept is None:
            self._forget()
            self._changed = False  # before the look: a change during it makes another one
            self._kept = _KeptSet(
                self.get_nodes(), [_Own(self._guard), _Own(self._sigint_gc)], self._context
            )
        kept = self._kept
        kept.wait(timeout_sec)
        if self._is_shutdown:
            return
        if not self._context.ok():
            raise ExternalShutdownException
        for subscription in kept.patient:
            for _ in range(TAKEN_AT_ONCE):
                if not self._take_one(subscription):
                    break
                if self._changed:
                    return
        for pointer in kept.ready('timer'):
            timer = kept.timers[pointer]
            if timer.handle.is_timer_ready():  # not so if cancelled meanwhile
                timer.handle.call_timer()
                timer.callback()
            if self._changed:
                return  # whoever is left may be gone; what is still there is still ready
        for pointer in kept.ready('subscription'):
            self._take_one(kept.subscriptions[pointer])
            if self._changed:
                return
        for pointer in kept.ready('guard_condition'):
            if pointer in kept.guards:  # waiting has reset it: rclpy keeps this note for that
                kept.guards[pointer]._executor_triggered = True
        now_s = time.monotonic()
        if self._tasks or kept.something_rare or now_s >= self._events_due_s:
            self._events_due_s = now_s + EVENTS_PERIOD_S
            super().spin_once(0)

    @staticmethod
    def _take_one(subscription: Subscription) -> bool:
        """Take a message and call back; False where there is none."""
        taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
        if taken is None:
            return False
        if subscription._callback_type is Subscription.CallbackType.MessageOnly:
            subscription.callback(taken[0])
        else:
            subscription.callback(*taken)
        return True

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None


class _Own:
    """A guard condition of the executor itself, which has no group."""

    def __init__(self, guard: Any) -> None:
        self.handle = guard.handle
        self.callback_group = self

    def can_execute(self, entity: object) -> bool:
        """Always."""
        return True
