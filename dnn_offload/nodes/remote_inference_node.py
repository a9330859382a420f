"""The edge server's inference node: tensors in, answers out, for several robots.

``runtime/tail_server.py`` computes, ``transport/tensor_server.py`` talks to the robots; this
node prepares the model in a child process, connects the two, and tells everybody how it is.
"""

from __future__ import annotations

import secrets
import socket
from typing import Any, NamedTuple

import cv2
import psutil
from std_msgs.msg import String

from dnn_offload.cost.load import relative
from dnn_offload.msg import ServerStatus
from dnn_offload.nodes.base import ERROR, OffloadNode, OK, WARN
from dnn_offload.nodes.load_watch import LoadWatch
from dnn_offload.nodes.model_loader import ModelLoader
from dnn_offload.nodes.model_parameters import check_model
from dnn_offload.nodes.process import run
from dnn_offload.nodes.remote_parameters import NODE, PARAMETERS
from dnn_offload.planning.costs import slow_down
from dnn_offload.runtime.admission import Admission
from dnn_offload.runtime.prepared_model import PreparedModel
from dnn_offload.runtime.tail_server import TailServer
from dnn_offload.transport import names, topics
from dnn_offload.transport.qos import profile_of
from dnn_offload.transport.tensor_server import ServiceHooks, ServiceSettings, TensorServer
from dnn_offload.vision.preprocess import PreprocessSpec

MAX_DETAIL = 400
LIVE_SERVICE_PARAMETERS = ('client_timeout_s', 'max_request_bytes')


class _Counts(NamedTuple):
    """Of frames, since the start of the process."""

    served: int = 0
    superseded: int = 0
    refused: int = 0


class RemoteInferenceNode(OffloadNode):
    """See the module; hooks as in ``OffloadNode``."""

    NODE = NODE
    PARAMETERS = PARAMETERS

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(**node_arguments)
        self._session = secrets.randbits(63) | 1
        self._server = self.setting('server_id') or names.sanitised(
            f'{socket.gethostname()}{self.get_namespace()}', 'server'
        )
        self._state = ServerStatus.STATE_PREPARING
        self._detail = 'not started'
        self._loader: ModelLoader | None = None
        self._served: PreparedModel | None = None
        self._profile_revision = 0
        self._tail: TailServer | None = None
        self._tensors: TensorServer | None = None
        self._load = LoadWatch(self._is_idle)
        self._max_clients = 1
        self._counted = _Counts()  # until the last deactivation
        self._status_timer: Any = None
        self._profile_publisher: Any = None

    # ---- lifecycle -------------------------------------------------------------------------

    def configure(self) -> None:
        """Start to prepare the model in a child process."""
        self._rendezvous = names.check_rendezvous(self.setting('rendezvous_namespace'))
        self._statuses = self.advertise(
            ServerStatus,
            topics.SERVER_STATUS_OUT.at(names.server_status(self._rendezvous)),
        )
        # Not a lifecycle publisher: what it has said once must stay for late-comers.
        self._profile_publisher = self.create_publisher(
            String, names.profile(self._rendezvous, self._server),
            profile_of(topics.PROFILE_OUT.quality),
        )
        self._max_clients = self.setting('max_clients')
        self._enter(ServerStatus.STATE_PREPARING, 'starting')
        self._loader = ModelLoader(
            self, 'server', on_loaded=self._take_model, on_measured=self._take_profile,
            on_failed=self._fail, on_progress=self._go_on,
        )

    def activate(self) -> None:
        """Say that we are here; serve, now or as soon as the model is ready."""
        self._set_status_rate()
        self._load.start()
        if self._served is not None:
            self._serve(self._served)
        self._publish_status()

    def deactivate(self) -> None:
        """Send the robots away and stop to serve."""
        if self._state == ServerStatus.STATE_READY:
            self._enter(ServerStatus.STATE_STOPPING, 'deactivated')
        self._load.stop()
        self._counted = self._counts()
        tensors, tail = self._tensors, self._tail
        self._tensors = self._tail = None
        if tensors is not None:
            tensors.stop()
        if tail is not None:
            tail.stop()

    def cleanup(self) -> None:
        """Give the model back."""
        if self._loader is not None:
            self._loader.stop()
            self._loader = None
        if self._profile_publisher is not None:
            self.destroy_publisher(self._profile_publisher)
            self._profile_publisher = None
        self._served = self._status_timer = None

    def check_settings(self, changed: dict[str, Any]) -> None:
        """See ``OffloadNode``: a model that can be had, no code from the network."""
        check_model(changed, self.setting)

    def on_parameters_changed(self, changed: dict[str, Any]) -> None:
        """Apply live."""
        if self._tensors is not None and any(
            name in changed for name in LIVE_SERVICE_PARAMETERS
        ):
            self._tensors.configure(self._service_settings())
        if 'status_rate_hz' in changed and self.is_active:
            self._set_status_rate()

    # ---- getting ready ---------------------------------------------------------------------

    def _go_on(self, detail: str) -> None:
        """Say how far it is, and that a failed attempt is not the end."""
        if self._state == ServerStatus.STATE_FAILED:
            self._enter(ServerStatus.STATE_PREPARING, detail)
        self._detail = detail[:MAX_DETAIL]

    def _take_model(self, served: PreparedModel) -> None:
        self._publish_profile(served)
        if self.is_active:
            self._serve(served)

    def _take_profile(self, served: PreparedModel) -> None:
        """The profile that replaces a provisional one, and what it is of; frames go on."""
        if self._tail is not None:
            self._tail.adopt(served.model, served.profile)
        self._publish_profile(served)

    def _publish_profile(self, served: PreparedModel) -> None:
        self._served = served
        self._profile_revision += 1
        self._profile_publisher.publish(String(data=served.profile_json))

    def _fail(self, why: str) -> None:
        self.get_logger().error(f'cannot serve: {why}')
        self._enter(ServerStatus.STATE_FAILED, why)

    def _serve(self, served: PreparedModel) -> None:
        """Open for robots."""
        tail = TailServer(
            served.model,
            self._respond,
            log=lambda text: self.get_logger().error(text, throttle_duration_sec=1.0),
            threads=served.threads,
            profile=served.profile,
            preprocess=PreprocessSpec.from_json(dict(served.model.program.preprocess)),
        )
        tail.start()
        hooks = ServiceHooks(Admission(served.model).admit, tail.submit, tail.cancel, tail.forget)
        self._tail = tail
        self._tensors = TensorServer(
            self, self._rendezvous, self._server, served.model.identity, hooks,
            self._service_settings(),
        )
        self._enter(ServerStatus.STATE_READY, 'serving')

    def _respond(self, result: Any) -> None:
        tensors = self._tensors
        if tensors is not None:
            tensors.respond(result)

    def _service_settings(self) -> ServiceSettings:
        live = {name: self.setting(name) for name in LIVE_SERVICE_PARAMETERS}
        return ServiceSettings(max_clients=self._max_clients, **live)

    # ---- telling how it is -----------------------------------------------------------------

    def _enter(self, state: int, detail: str) -> None:
        """Enter a state of the service and say so at once."""
        self._state = state
        self._detail = detail[:MAX_DETAIL]
        if self.is_active or state == ServerStatus.STATE_STOPPING:
            self._publish_status()

    def _set_status_rate(self) -> None:
        if self._status_timer is not None:
            self.end(self._status_timer)
        self._status_timer = self.every(1.0 / self.setting('status_rate_hz'), self._publish_status)

    def _publish_status(self) -> None:
        status = ServerStatus()
        status.server = self._server
        status.session = self._session
        status.state = self._state
        status.detail = self._detail[:MAX_DETAIL]
        status.model = self.setting('model')[:128]
        if self._served is not None:
            # Set while we serve, another model holds from the next configure.
            status.model = self._served.model.program.source[:128]
            status.model_identity = self._served.model.identity
            status.fingerprint = self._served.fingerprint
        status.load_factor = self._load_factor()
        counts = self._counts()
        status.frames_served = counts.served
        status.frames_superseded = counts.superseded
        status.frames_refused = counts.refused
        if self._tail is not None and self._tensors is not None:
            status.queue_ms = self._tail.statistics().queue_ms
            status.clients = len(self._tensors.clients)
        status.cpu_percent = psutil.cpu_percent(None)
        status.memory_available_bytes = psutil.virtual_memory().available
        status.profile_revision = self._profile_revision
        self._statuses.publish(status)

    def _counts(self) -> _Counts:
        """Since the start of the process; those of the service begin at each activation."""
        if self._tail is None or self._tensors is None:
            return self._counted
        now, before = self._tail.statistics(), self._counted
        return _Counts(
            before.served + now.served, before.superseded + now.superseded,
            before.refused + self._tensors.counters.refused,
        )

    def _is_idle(self) -> bool:
        """Whether frames say nothing about the load; called from the thread of ``_load``."""
        tail = self._tail
        # Before there is a model it is we who load this machine.
        return tail is not None and tail.statistics().load_factor is None

    def _load_factor(self) -> float:
        """Compute time now over profiled compute time: measured, or what it would be."""
        if self._served is None or self._tail is None:
            return 1.0
        measured = self._tail.statistics().load_factor
        if measured is not None:
            return measured
        readings = self._load.readings
        load = relative(readings.factor, readings.source, self._served.profile.load_ratios)
        return slow_down(load, self._served.threads)  # what one thread would see, for all of ours

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """State of the service and its counters."""
        if self._state == ServerStatus.STATE_FAILED:
            return ERROR, self._detail, {'server': self._server}
        if self._loader is not None and self._loader.failure:
            what = f'{self._detail}; before: {self._loader.failure}'
            return ERROR, what, {'server': self._server}
        if self._tail is None or self._tensors is None or self._served is None:
            return WARN, self._detail, {'server': self._server}
        statistics, counters = self._tail.statistics(), self._tensors.counters
        counts = self._counts()
        values: dict[str, object] = {
            'server': self._server,
            'model': self._served.model.program.source,
            'robots': ', '.join(self._tensors.clients),
            'max_clients': self._max_clients,
            'backend': self._served.model.backend,
            'threads': self._served.threads,
            'served': counts.served,
            'superseded': counts.superseded,
            'refused': counts.refused,
            'ignored_messages': counters.ignored,
            'queue_ms': statistics.queue_ms,
            'load_factor': self._load_factor(),
            'held_bytes': self._tensors.held_bytes,
            'longest_publish_ms': counters.longest_publish_ms,
            'profile': self._served.profile.provisional or 'measured',
        }
        counters.longest_publish_ms = 0.0
        return OK, f'serving {len(self._tensors.clients)} robots', values


def main() -> None:
    """Entry point of the executable ``remote_inference_node``."""
    cv2.setNumThreads(1)  # decoding a JPEG needs no pool of threads beside inference
    raise SystemExit(run(RemoteInferenceNode))


if __name__ == '__main__':
    main()
