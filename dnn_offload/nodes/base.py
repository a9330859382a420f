"""The common ground of all nodes: lifecycle, parameters, diagnostics.

A node of this package derives from ``OffloadNode`` and fills in hooks; everything that rclpy
leaves to each node (logging failed transitions, checking parameters with a message that names
the allowed values, starting by itself, reporting to ``/diagnostics``) is here, once;
``process.py`` runs a node and ends it while the context still works.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import re
import time
import traceback
from typing import Any, ClassVar, TypeVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import (
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterUninitializedException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from dnn_offload.errors import OffloadError
from dnn_offload.nodes import topics
from dnn_offload.nodes.descriptors import coerced, descriptor_of, PARAMETER_TYPES
from dnn_offload.nodes.diagnostics import diagnostics_message
from dnn_offload.nodes.executor import let_wait
from dnn_offload.nodes.lifecycle_services import refuse_impossible_transitions
from dnn_offload.nodes.parameters import (
    by_name,
    COMMON_PARAMETERS,
    ParameterSpec,
    unknown_parameters,
    Value,
)
from dnn_offload.nodes.process_settings import (
    check_cores,
    PROCESS_PARAMETERS,
    ProcessSettings,
    why_nice_is_blind,
)
from dnn_offload.nodes.qos_overrides import check_overrides, open_endpoint, override_names
from dnn_offload.transport.qos import profile_of
from dnn_offload.transport.topics import Endpoint

OK: bytes = DiagnosticStatus.OK
WARN: bytes = DiagnosticStatus.WARN
ERROR: bytes = DiagnosticStatus.ERROR

DIAGNOSTICS_PERIOD_S = 1.0
COMPLAINT_PERIOD_S = 1.0
COMPLAINT_CHARS = 60
MAX_COMPLAINTS = 64
_SUCCESS = TransitionCallbackReturn.SUCCESS
_Callback = TypeVar('_Callback', bound=Callable[..., None])


class OffloadNode(LifecycleNode):
    """A lifecycle node with declared parameters, diagnostics and hooks.

    A subclass sets ``NODE`` and ``PARAMETERS``, ``COMMON`` where its defaults differ, and
    overrides what it needs of:

    - ``configure()``: make things; return within 2 s. Raise ``OffloadError`` for what the user
      can mend (the transition fails, the state stays), anything else is an internal error.
    - ``activate()``: open traffic. ``subscribe`` and ``every`` made here end by themselves.
    - ``deactivate()``, ``cleanup()``: the reverse; may be called after a half-done start, so
      each must cope with things that are not there.
    - ``shutdown()``: last words, after deactivate and cleanup.
    - ``check_settings(changed)``: refuse values that only make sense together; at start, all
      are given, and nothing but parameters is there yet.
    - ``on_parameters_changed(changed)``: apply new values; called only while configured.
    - ``diagnose()``: level, message and values for ``/diagnostics``; only while configured.
    """

    NODE: ClassVar[str] = ''
    PARAMETERS: ClassVar[tuple[ParameterSpec, ...]] = ()
    COMMON: ClassVar[tuple[ParameterSpec, ...]] = COMMON_PARAMETERS

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(self.NODE, **node_arguments)
        self._specs = by_name((*self.COMMON, *self.PARAMETERS))
        self._initial = ProcessSettings.now()
        self._blind = ''  # what was said about niceness
        self._failure = ''
        self._callback_errors = 0
        self._complained_s: dict[str, float] = {}  # about what -> when last
        self._active_entities: list[Subscription | Timer] = []
        self._publishers_made: list[Any] = []
        self._configured = False
        self._active = False
        self._finalized = False
        refuse_impossible_transitions(self, lambda: self.state_name)

        self._declare_all()
        # What file and command line gave; rclpy has no public way to it.
        given, overrides = self._parameter_overrides, override_names(self, self.endpoints())
        check_overrides(given, overrides)
        unknown = unknown_parameters(given, (*self._specs, *overrides))
        if unknown:
            self.get_logger().warning(unknown)
        self.add_pre_set_parameters_callback(self._coerce_parameters)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._parameters_set)

        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics_publisher = self.create_publisher(
            DiagnosticArray, topics.DIAGNOSTICS.name, profile_of(topics.DIAGNOSTICS.quality)
        )
        self._diagnostics_timer = self.create_timer(
            DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=self._steady_clock
        )
        self._autostart_timer: Timer | None = None
        if self.setting('autostart'):
            # From a timer, so that the executor already spins: transitions may need services.
            self._autostart_timer = self.create_timer(
                0.0, self._autostart, clock=self._steady_clock
            )

    # ---- hooks -----------------------------------------------------------------------------

    def endpoints(self) -> topics.NodeTopics:
        """What it publishes and subscribes to."""
        return topics.TOPICS[self.NODE]

    def configure(self) -> None:
        """Make what is needed; see the class."""

    def activate(self) -> None:
        """Open traffic; see the class."""

    def deactivate(self) -> None:
        """Close traffic; see the class."""

    def cleanup(self) -> None:
        """Release what ``configure`` made; see the class."""

    def shutdown(self) -> None:
        """Say good-bye; see the class."""

    def on_parameters_changed(self, changed: dict[str, Any]) -> None:
        """Apply new values; see the class."""

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """Level, message and values; see the class."""
        return OK, 'active' if self._active else 'inactive', {}

    # ---- for subclasses --------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether the node is in the active state."""
        return self._active

    @property
    def state_name(self) -> str:
        """Name of the lifecycle state, between transitions."""
        if self._finalized:
            return 'finalized'
        return 'active' if self._active else 'inactive' if self._configured else 'unconfigured'

    def setting(self, name: str) -> Any:
        """Current value of a declared parameter; arrays as tuples."""
        try:
            value = self.get_parameter(name).value
        except ParameterUninitializedException:
            value = None
        return self._specs[name].convert(value)

    def now_msg(self) -> Any:
        """Stamp of the node's clock (simulated time when ``use_sim_time`` is set)."""
        return self.get_clock().now().to_msg()

    def advertise(self, message_type: type, endpoint: Endpoint) -> Any:
        """A lifecycle publisher (silent while inactive) that ends with ``cleanup``."""
        publisher = open_endpoint(self.create_lifecycle_publisher, message_type, endpoint)
        self._publishers_made.append(publisher)
        if self._active:  # made late, when the transition that opens publishers is over
            publisher.on_activate(None)
        return publisher

    def subscribe(
        self,
        message_type: type,
        endpoint: Endpoint,
        callback: Callable[..., None],
        *,
        may_wait: bool = False,
        **options: Any,
    ) -> Subscription:
        """A subscription with a guarded callback that ends with ``deactivate``.

        A callback with two arguments gets rclpy's message info as well. Nobody is woken for a
        message that ``may_wait`` (``executor.let_wait``).
        """
        subscription = open_endpoint(
            self.create_subscription, message_type, endpoint, callback=self.guarded(callback),
            **options,
        )
        if may_wait:
            let_wait(subscription)
        self._active_entities.append(subscription)
        return subscription

    def every(self, period_s: float, callback: Callable[[], None]) -> Timer:
        """A guarded timer in real (steady) time that ends with ``deactivate``."""
        timer = self.steady_timer(period_s, callback)
        self._active_entities.append(timer)
        return timer

    def steady_timer(self, period_s: float, callback: Callable[[], None]) -> Timer:
        """A guarded timer on the steady clock, in any state; whoever made it destroys it."""
        return self.create_timer(period_s, self.guarded(callback), clock=self._steady_clock)

    def end(self, entity: Subscription | Timer) -> None:
        """End something that ``subscribe`` or ``every`` made before ``deactivate`` does."""
        if entity in self._active_entities:
            self._active_entities.remove(entity)
            self._destroy(entity)

    def complain(self, text: str, about: str = '') -> None:
        """Warn, at most once a second about the same thing; from any thread.

        rclpy's throttling counts by line of code, so one complaint would hide another.

        Args:
            text: What is logged.
            about: What tells it from other complaints, ``text`` if empty; numbers in it do not.
        """
        now_s, key = time.monotonic(), re.sub(r'[0-9.]+', '#', about or text)[:COMPLAINT_CHARS]
        if now_s - self._complained_s.get(key, -COMPLAINT_PERIOD_S) < COMPLAINT_PERIOD_S:
            return
        if len(self._complained_s) >= MAX_COMPLAINTS:
            self._complained_s.clear()
        self._complained_s[key] = now_s
        self.get_logger().warning(text)

    def guarded(self, callback: _Callback) -> _Callback:
        """Wrap a callback so that its exception is logged and counted, not fatal.

        An exception that leaves a callback ends ``spin`` and with it the process; one bad
        message must not stop a robot.
        """

        @functools.wraps(callback)
        def call(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except OffloadError as error:
                self._callback_errors += 1
                self.get_logger().warning(str(error), throttle_duration_sec=1.0)
            except Exception:
                self._callback_errors += 1
                self.get_logger().error(
                    f'error in {callback.__qualname__}, the message is dropped:\n'
                    f'{traceback.format_exc()}',
                    throttle_duration_sec=1.0,
                )

        return call  # type: ignore[return-value]

    # ---- lifecycle -------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Apply process settings, then the ``configure`` hook."""
        self._apply_process_settings()
        outcome = self._attempt('configure', self.configure)
        if outcome == _SUCCESS:
            outcome = super().on_configure(state)
        if outcome == _SUCCESS:
            self._configured = True
        else:
            self._quietly('cleanup', self.cleanup)
            self._destroy_publishers()
        return outcome

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the publishers, then the ``activate`` hook; close both if it fails."""
        outcome = super().on_activate(state)
        if outcome != _SUCCESS:
            return outcome
        self._active = True
        outcome = self._attempt('activate', self.activate)
        if outcome != _SUCCESS:
            self._quietly('deactivate', self._stop_traffic)
            super().on_deactivate(state)
        return outcome

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close traffic while publishers still speak, then silence them.

        The traffic is closed even if the hook fails: to stay active would be a lie, so the node
        goes on, and diagnostics keep the failure until the next transition.
        """
        self._attempt('deactivate', self._stop_traffic)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, goes on like ``on_deactivate``; can be configured again."""
        self._attempt('cleanup', self._release)
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End from any state; goes on to the end even if a step fails."""
        if self._active:
            self._quietly('deactivate', self._stop_traffic)
        if self._configured:
            self._quietly('cleanup', self._release)
        self._quietly('shutdown', self.shutdown)
        self._finalized = True
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything after an internal error; back to unconfigured."""
        self._quietly('deactivate', self._stop_traffic)
        self._quietly('cleanup', self._release)
        return _SUCCESS

    def _stop_traffic(self) -> None:
        self._active = False
        try:
            self.deactivate()
        finally:
            for entity in self._active_entities:
                self._destroy(entity)
            self._active_entities.clear()

    def _release(self) -> None:
        self._configured = False
        try:
            self.cleanup()
        finally:
            self._destroy_publishers()

    def _destroy(self, entity: Subscription | Timer) -> None:
        if isinstance(entity, Timer):
            self.destroy_timer(entity)
        else:
            self.destroy_subscription(entity)

    def _destroy_publishers(self) -> None:
        for publisher in self._publishers_made:
            self.destroy_lifecycle_publisher(publisher)
        self._publishers_made.clear()

    def _attempt(self, name: str, hook: Callable[[], None]) -> TransitionCallbackReturn:
        """Run a hook; rclpy would swallow what it raises, so say it here."""
        began_s = time.monotonic()
        try:
            hook()
        except OffloadError as error:
            self._failure = f'{name} failed: {error}'
            self.get_logger().error(self._failure)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self._failure = f'{name} failed: {type(error).__name__}: {error}'
            self.get_logger().error(f'{self._failure}\n{traceback.format_exc(limit=-6)}')
            return TransitionCallbackReturn.ERROR
        self._failure = ''
        self.get_logger().debug(f'{name} took {1e3 * (time.monotonic() - began_s):.0f} ms')
        return _SUCCESS

    def _quietly(self, name: str, hook: Callable[[], None]) -> None:
        """Run a hook on the way down: a failure is logged and does not stop the rest."""
        try:
            hook()
        except Exception:
            self.get_logger().error(f'{name} failed:\n{traceback.format_exc(limit=-6)}')

    def _autostart(self) -> None:
        assert self._autostart_timer is not None
        self._autostart_timer.cancel()
        if self._configured:  # somebody was faster
            return
        if self.trigger_configure() == _SUCCESS:
            self.trigger_activate()

    # ---- parameters ------------------------------------------------------------------------

    def _declare_all(self) -> None:
        """Declare every parameter with its start-up value, checked and converted.

        Declared twice: first without a type, to see what the start-up file says; rclpy would
        refuse YAML's ``5`` for a double and cannot tell the type of an empty array.

        Raises:
            ConfigurationError: A start-up value is not acceptable, by itself or beside others.
        """
        for spec in self._specs.values():
            default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
            anything = ParameterDescriptor(dynamic_typing=True)
            given = self.declare_parameter(spec.name, default, anything).value
            self.undeclare_parameter(spec.name)
            value = spec.convert(given)
            descriptor = descriptor_of(spec)
            kind = PARAMETER_TYPES[spec.type_name]
            if value == ():
                self.declare_parameter(spec.name, kind, descriptor, ignore_override=True)
                self.set_parameters([Parameter(spec.name, kind, [])])
            else:
                plain = list(value) if isinstance(value, tuple) else value
                self.declare_parameter(spec.name, plain, descriptor, ignore_override=True)
        self._check_together({name: self.setting(name) for name in self._specs})

    def _coerce_parameters(self, parameters: list[Parameter]) -> list[Parameter]:
        """Bring what can be converted without doubt into the declared type."""
        return [
            coerced(parameter, self._specs[parameter.name])
            if parameter.name in self._specs else parameter
            for parameter in parameters
        ]

    def _check_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Validate only; another callback may still refuse."""
        try:
            changed = {}
            for parameter in parameters:
                if parameter.name in self._specs:
                    changed[parameter.name] = self._specs[parameter.name].convert(parameter.value)
            self._check_together(changed)
        except OffloadError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _check_together(self, changed: dict[str, Any]) -> None:
        check_cores(changed.get('cpu_affinity', ()))
        self.check_settings(changed)

    def check_settings(self, changed: dict[str, Value]) -> None:
        """Override to refuse values that only make sense together.

        Raises:
            ConfigurationError: With what is allowed.
        """

    def _parameters_set(self, parameters: list[Parameter]) -> None:
        names = [parameter.name for parameter in parameters if parameter.name in self._specs]
        if not names or not self._configured:
            return
        changed = {name: self.setting(name) for name in names}
        if PROCESS_PARAMETERS & changed.keys():
            self._apply_process_settings()
        try:
            self.on_parameters_changed(changed)
        except Exception:
            # Raised further it would end the process from within the parameter service.
            self.get_logger().error(
                f'cannot apply {", ".join(changed)}:\n{traceback.format_exc(limit=-6)}'
            )

    def _apply_process_settings(self) -> None:
        """What of the machine this process may take; see ``process_settings``."""
        wanted = self._initial.yielding(
            self.setting('cpu_affinity'), self.setting('nice'), self.setting('oom_score_adj')
        )
        problem = wanted.apply()
        if problem:
            self.get_logger().warning(problem)
        blind = why_nice_is_blind() if self.setting('nice') > 0 else ''
        if blind and blind != self._blind:
            self._blind = blind
            self.get_logger().warning(blind)

    # ---- diagnostics -----------------------------------------------------------------------

    def _publish_diagnostics(self) -> None:
        level, message = OK, ''
        values: dict[str, object] = {}
        if self._configured:
            try:
                level, message, values = self.diagnose()
            except Exception as error:
                level, message = ERROR, f'diagnose failed: {type(error).__name__}: {error}'
                self.get_logger().error(
                    f'{message}\n{traceback.format_exc(limit=-6)}', throttle_duration_sec=10.0
                )
        if self._failure:
            level, message = ERROR, self._failure
        elif not self._configured:
            message = self.state_name
        elif level == OK and not self._has_time():
            level, message = WARN, 'use_sim_time is set and nothing comes on /clock'
        values = {
            'state': self.state_name, **values, 'callback_errors': self._callback_errors,
        }
        self._diagnostics_publisher.publish(diagnostics_message(
            self.get_fully_qualified_name(), level, message, values, self.now_msg()
        ))

    def _has_time(self) -> bool:
        """Whether stamps mean anything: simulated time is 0 until the first ``/clock``."""
        return bool(self.get_clock().now().nanoseconds)
