"""The robot's way to its servers over DDS: the ROS side of ``link.py``.

Four threads meet here: whoever calls ``send``, a ``Listener`` that takes acknowledgements and
answers, the executor's, which takes the servers' status, and the thread of the ``Pump``. What is
due is published by the first two themselves, what has to wait by the last. Publishing keeps
Python's lock while the socket blocks, which the window of ``link.py`` prevents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time
from typing import cast

from rclpy._rclpy_pybind11 import InvalidHandle, RCLError
from rclpy.node import Node
from rclpy.publisher import Publisher

from dnn_offload.errors import RefusedError
from dnn_offload.exchange import Answer, UplinkEvents, UplinkRequest
from dnn_offload.msg import LinkSample, ServerStatus, TensorChunk, TensorResult
from dnn_offload.transport import names, topics
from dnn_offload.transport.conversion import (
    answer_header_of,
    answer_of,
    byte_array,
    meta_of,
    read_message,
)
from dnn_offload.transport.guard import guarded
from dnn_offload.transport.link import Phase, ServerLink
from dnn_offload.transport.link_events import (
    Connected,
    Event,
    Lost,
    Refused,
    Rejected,
    Sample,
    Uplinked,
)
from dnn_offload.transport.listener import Listener
from dnn_offload.transport.pacing import FlowWindow, Throttle
from dnn_offload.transport.pump import Pump
from dnn_offload.transport.qos import profile_of
from dnn_offload.transport.reassembly import Reassembler, SliceHeader
from dnn_offload.transport.room import first_to_go, MAX_SERVERS
from dnn_offload.transport.transfer import (
    KIND_BYE,
    KIND_HELLO,
    KIND_TENSORS,
    Step,
    Transfer,
)
from dnn_offload.transport.uplink_settings import UplinkSettings

OnSample = Callable[[str, int, bool, int, float], None]


@dataclass
class _Server:
    link: ServerLink
    answers: Reassembler
    session: int = 0
    publisher: Publisher | None = None
    verdict_on: tuple[int, int, str] | None = None
    verdict: str = ''


class DdsUplink:
    """The ``Uplink`` of ``exchange.py`` over DDS, to every server that announces itself.

    Args:
        node: Node to publish and subscribe with; it must be spun by somebody.
        rendezvous: Absolute namespace in which robots and servers meet.
        client_id: Our name, from ``names.new_client_id``.
        model_identity: Digest of our model; other servers' models are not greeted.
        events: Told of answers and connections, from our threads; must be short.
        settings: See ``UplinkSettings``; ``configure`` changes them while running.
        accept_server: Called when a server becomes ready or changes: '' to use it, else the
            reason why not (e.g. its fingerprint differs). The identity is checked before.
        on_status: Called with every server status, also of servers not accepted.
        on_link_sample: Called as ``(server, LinkSample.kind, probe, nbytes, duration_ms)``.
    """

    def __init__(
        self,
        node: Node,
        rendezvous: str,
        client_id: str,
        model_identity: str,
        events: UplinkEvents,
        *,
        settings: UplinkSettings | None = None,
        accept_server: Callable[[ServerStatus], str] | None = None,
        on_status: Callable[[ServerStatus], None] | None = None,
        on_link_sample: OnSample | None = None,
    ) -> None:
        self._node = node
        self._rendezvous = names.check_rendezvous(rendezvous)
        self._client_id = names.check_name(client_id, 'client')
        self._model_identity = model_identity
        self._events = events
        self._settings = settings or UplinkSettings()
        self._accept_server = accept_server
        self._on_status = on_status
        self._on_link_sample = on_link_sample
        self._log = node.get_logger()

        self._condition = threading.Condition()
        self._servers: dict[str, _Server] = {}
        self._throttle = Throttle()
        self._pending: list[tuple[str, Event]] = []  # in the order in which things happened
        self._telling = threading.Lock()
        self._stopping = False
        self._longest_publish_ms = 0.0
        self._tell = guarded(self._log, self._tell_one)

        self._pump = Pump(
            self._condition, self._collect, guarded(self._log, lambda step: self._publish(*step)),
            self._tell_pending, lambda: bool(self._pending), name='uplink',
        )
        self._statuses = node.create_subscription(
            ServerStatus, names.server_status(self._rendezvous),
            guarded(self._log, self._take_status), profile_of(topics.SERVER_STATUS_IN.quality),
            raw=True,
        )
        self._results = Listener(
            node, TensorResult, names.results(self._rendezvous, client_id),
            profile_of(topics.RESULTS_IN.quality), self._take_result, name='results',
        )

    # ---- exchange.Uplink -------------------------------------------------------------------

    def send(self, request: UplinkRequest) -> None:
        """Queue a frame and publish what may go at once; see ``exchange.Uplink``."""
        with self._condition:
            server = self._servers.get(request.server)
            if server is None:
                why = f'server {request.server!r} is not known'
                self._pending.append((request.server, Refused(request.frame_seq, why)))
            else:
                limit_bps = self._settings.max_uplink_bps
                events = server.link.send(request, limit_bps, time.monotonic())
                self._note(request.server, events)
        self._pump.run()

    def send_more(self, server: str, frame_seq: int, part: bytes, *, last: bool) -> None:
        """Queue more of a frame; see ``exchange.Uplink``.

        What is not the last is published by the pump's own thread, beside the encoder.
        """
        with self._condition:
            known = self._servers.get(server)
            if known is not None:
                known.link.send_more(frame_seq, part, time.monotonic(), last=last)
            if not last:
                self._pump.look_again()
        if last:
            self._pump.run()

    def cancel(self, frame_seq: int) -> None:
        """Stop sending a frame that nobody waits for."""
        with self._condition:
            for server in self._servers.values():
                server.link.cancel(frame_seq)
            self._pump.look_again()

    def connected(self, server: str) -> bool:
        """Whether the server has accepted us and is not known to be lost."""
        with self._condition:
            known = self._servers.get(server)
            return known is not None and known.link.connected

    def backlog_bytes(self) -> int:
        """Bytes handed over that are not acknowledged."""
        with self._condition:
            return sum(server.link.backlog_bytes for server in self._servers.values())

    def lost(self, server: str, why: str) -> None:
        """The engine saw no answer."""
        with self._condition:
            known = self._servers.get(server)
            if known is not None:
                self._note(server, known.link.lose(why, time.monotonic()))
            self._pump.look_again()

    # ---- for the node ----------------------------------------------------------------------

    def configure(self, settings: UplinkSettings) -> None:
        """Apply new settings to all servers, now."""
        with self._condition:
            self._settings = settings
            for server in self._servers.values():
                server.link.timing = settings.timing
                server.link.window.max_window_bytes = settings.max_window_bytes
            self._pump.look_again()

    def take_longest_publish_ms(self) -> float:
        """Longest single ``publish`` call since this was last asked [ms]."""
        longest, self._longest_publish_ms = self._longest_publish_ms, 0.0
        return longest

    def describe(self) -> dict[str, str]:
        """State of the link to each server in words, for diagnostics."""
        with self._condition:
            return {
                name: server.link.phase.value
                + (f' ({server.link.reason})' if server.link.reason else '')
                + f', {server.link.window.rate_bps / 1e6:.1f} Mbit/s'
                for name, server in self._servers.items()
            }

    def stop(self) -> None:
        """Say good-bye to all servers and end; nothing is called back afterwards."""
        with self._condition:
            if self._stopping:
                return
            self._stopping = True
        self._pump.stop()
        for name, server in self._servers.items():
            if server.publisher is not None:
                if server.link.phase is not Phase.ABSENT:
                    self._publish(name, server.publisher, Step(KIND_BYE))
                self._node.destroy_publisher(server.publisher)
        self._results.stop()
        self._node.destroy_subscription(self._statuses)
        self._servers.clear()

    # ---- publishing ------------------------------------------------------------------------

    def _collect(
        self, now_s: float
    ) -> tuple[list[tuple[str, Publisher, Step]], float]:
        """One step of each server, and when to look again; the lock is held."""
        until_s = float('inf')
        work = []
        for name, server in self._servers.items():
            self._note(name, server.link.check(now_s))
            if server.publisher is None:
                continue
            greeting = server.link.phase is Phase.GREETING
            matched = not greeting or server.publisher.get_subscription_count() > 0
            step = server.link.next_step(now_s, self._settings.max_uplink_bps, matched)
            if step.kind < 0:
                until_s = min(until_s, step.until_s)
            else:
                work.append((name, server.publisher, step))
        return work, until_s

    def _publish(self, name: str, publisher: Publisher, step: Step) -> None:
        if step.transfer is not None:
            message = self._slice_message(name, step.transfer, step)
        else:
            message = self._message(name, step.kind)
            message.frame_seq = step.frame_seq
            message.chunk_index = step.index
        began_s = time.monotonic()
        try:
            publisher.publish(message)
        except (RCLError, InvalidHandle) as error:
            if self._node.context.ok():  # else we are going down
                self._log.error(f'cannot publish to {name!r}: {error}',
                                throttle_duration_sec=1.0)
            return
        took_ms = 1e3 * (time.monotonic() - began_s)
        self._longest_publish_ms = max(self._longest_publish_ms, took_ms)

    def _message(self, server: str, kind: int) -> TensorChunk:
        message = TensorChunk()
        message.kind = kind
        message.client = self._client_id
        message.server = server
        if kind == KIND_HELLO:
            message.model_identity = self._model_identity
        return message

    def _slice_message(self, name: str, transfer: Transfer, step: Step) -> TensorChunk:
        message = self._message(name, transfer.kind)
        message.frame_seq = transfer.seq
        message.chunk_index = step.index
        message.chunk_count = step.count
        message.total_bytes = step.total_bytes
        message.data = byte_array(transfer.parts[step.index])
        request = transfer.request
        if request is not None:
            message.plan_epoch = request.plan_epoch
            if request.budget_ms > 0.0:
                message.budget_ms = max(1e3 * (transfer.deadline_s - time.monotonic()), 0.1)
            if step.index == 0:
                message.model_identity = self._model_identity
                message.cut = request.cut_id
                message.return_cut = request.return_id
                message.codec = request.codec
                message.result_codec = request.result_codec
                message.tensors = [meta_of(spec) for spec in request.specs]
        return message

    # ---- the executor's thread: status -----------------------------------------------------

    def _take_status(self, serialised: bytes) -> None:
        try:
            message = cast(ServerStatus, read_message(serialised, ServerStatus))
            names.check_name(message.server, 'server')
        except RefusedError as error:
            self._log.warning(str(error), throttle_duration_sec=5.0)
            return
        if self._on_status is not None:
            self._on_status(message)
        server = self._server_of(message)
        if server is None:
            return
        ready = message.state == ServerStatus.STATE_READY
        reason = self._verdict(server, message) if ready else message.detail
        with self._condition:
            if message.session != server.session:  # another process: it continues no answer
                server.session = message.session
                server.answers = self._new_answers()
            self._note(message.server, server.link.on_status(
                message.session, ready and not reason, reason, time.monotonic()
            ))
            self._pump.look_again()
        self._tell_pending()

    def _server_of(self, message: ServerStatus) -> _Server | None:
        """The server of that name, made if there is room; its publisher once it is ready."""
        server = self._servers.get(message.server)
        if server is None:
            if not self._make_room(message.server):
                return None
            settings = self._settings
            link = ServerLink(
                message.server, settings.timing, self._throttle,
                FlowWindow(settings.max_window_bytes),
            )
            server = _Server(link, self._new_answers())
            with self._condition:
                self._servers[message.server] = server
        if server.publisher is None and message.state == ServerStatus.STATE_READY:
            topic = names.tensors(self._rendezvous, message.server)
            profile = profile_of(topics.TENSORS_OUT.quality)
            server.publisher = self._node.create_publisher(TensorChunk, topic, profile)
        return server

    def _make_room(self, newcomer: str) -> bool:
        """Whether one more server can be known; one that is gone is forgotten for it."""
        with self._condition:
            if len(self._servers) < MAX_SERVERS:
                return True
            gone = first_to_go(
                (server.link for server in self._servers.values()), time.monotonic()
            )
            publisher = self._servers.pop(gone.name).publisher if gone is not None else None
        if gone is None:
            self._log.warning(
                f'server {newcomer!r} is ignored: {MAX_SERVERS} are known already, and are there',
                throttle_duration_sec=30.0,
            )
            return False
        if publisher is not None:
            self._node.destroy_publisher(publisher)
        self._log.info(f'server {gone.name!r} is forgotten: it is gone, {newcomer!r} is there',
                       throttle_duration_sec=1.0)
        return True

    def _new_answers(self) -> Reassembler:
        return Reassembler(self._admit_answer, self._settings.max_answer_bytes)

    def _verdict(self, server: _Server, message: ServerStatus) -> str:
        """Why we do not use this server, or ''; asked once per life and model of the server."""
        key = (message.session, message.state, message.model_identity)
        if server.verdict_on != key:
            if message.model_identity != self._model_identity:
                server.verdict = (
                    f'it runs another model ({message.model}, {message.model_identity[:12]}); '
                    f'ours is {self._model_identity[:12]}'
                )
            else:
                server.verdict = self._accept_server(message) if self._accept_server else ''
            server.verdict_on = key
            if server.verdict:
                self._log.warning(f'server {message.server!r} is not used: {server.verdict}')
        return server.verdict

    # ---- the listener's thread: acknowledgements and answers -------------------------------

    def _admit_answer(self, header: SliceHeader, specs: object) -> int:
        return self._settings.max_answer_bytes

    def _take_result(self, serialised: bytes) -> None:
        now_s = time.monotonic()
        try:
            message = cast(TensorResult, read_message(serialised, TensorResult))
            server = self._servers.get(message.server)
            if server is None or message.client != self._client_id:
                return
            answer = self._sort_result(server, message, now_s)
        except RefusedError as error:
            self._log.warning(f'answer is refused: {error}', throttle_duration_sec=1.0)
            return
        if answer is None or message.chunk_count > 1:
            self._pump.run()
        self._tell_pending()
        if message.status == TensorResult.STATUS_SUPERSEDED:
            self._events.on_superseded(message.frame_seq)
        if answer is not None:
            if self._on_link_sample is not None:
                self._on_link_sample(
                    message.server, LinkSample.DOWNLINK, False, len(answer.payload),
                    answer.downlink_ms,
                )
            self._events.on_answer(answer)

    def _sort_result(
        self, server: _Server, message: TensorResult, now_s: float
    ) -> Answer | None:
        link = server.link
        link.on_heard(now_s)
        status, kind, seq = message.status, message.request_kind, message.frame_seq
        index = message.chunk_index
        with self._condition:
            if status == TensorResult.STATUS_OK and kind == KIND_TENSORS:
                if not link.may_be_answered(seq):
                    # Before a slice is kept: a made-up number would close the stream up to it.
                    raise RefusedError(
                        'answer is to a frame that was not sent', given=seq,
                        allowed=f'the last frames sent to {link.name!r}',
                    )
                if message.chunk_count > 1:
                    link.acknowledge(seq, index)
                return self._answer_of(server, message, now_s)
            if status == TensorResult.STATUS_RECEIVED:
                self._note(link.name, link.on_acked(kind, seq, index, now_s))
            elif status == TensorResult.STATUS_ACCEPTED:
                link.on_accepted(now_s)
            elif status == TensorResult.STATUS_REFUSED and kind == KIND_TENSORS:
                events = link.on_frame_refused(seq, index, message.reason, now_s)
                self._note(link.name, events)
            elif status == TensorResult.STATUS_REFUSED:
                self._note(link.name, link.on_rejected(message.reason, now_s))
            elif status != TensorResult.STATUS_SUPERSEDED:
                raise RefusedError('answer has an unknown status', given=status)
        return None

    def _answer_of(self, server: _Server, message: TensorResult, now_s: float) -> Answer | None:
        arrival = server.answers.add(answer_header_of(message), (), memoryview(message.data))
        uplinked = server.link.uplinked(message.frame_seq)
        if arrival is None or arrival.payload is None or uplinked is None:
            return None  # not complete, or from before the connection was lost
        return answer_of(message, arrival.payload, *uplinked, now_s)

    # ---- telling ---------------------------------------------------------------------------

    def _note(self, server: str, events: list[Event]) -> None:
        """Keep events to be told; the lock is held, so that their order is that of the link."""
        self._pending += [(server, event) for event in events]

    def _tell_pending(self) -> None:
        """Tell the engine and the node, in order; never with the link's lock held.

        Three threads come here. One tells at a time, else a server might be connected again for
        the engine before it was lost.
        """
        with self._telling:
            with self._condition:
                events, self._pending = self._pending, []
            for server, event in events:
                self._tell(server, event)

    def _tell_one(self, server: str, event: Event) -> None:
        if isinstance(event, Uplinked):
            self._events.on_uplinked(event.frame_seq, event.uplink_ms, event.own_ms)
        elif isinstance(event, Sample):
            self._sample(server, LinkSample.UPLINK, event.probe, event.nbytes, event.duration_ms)
        elif isinstance(event, Refused):
            self._events.on_refused(event.frame_seq, event.reason)
        elif isinstance(event, Connected):
            self._log.info(f'server {server!r} is connected')
            self._events.on_connection(server, True, 'connected')
        elif isinstance(event, Lost):
            self._log.warning(f'server {server!r} is lost: {event.reason}')
            self._sample(server, LinkSample.LOST, False, event.nbytes, 0.0)
            self._events.on_connection(server, False, event.reason)
        elif isinstance(event, Rejected):
            self._log.warning(
                f'server {server!r} refuses us: {event.reason}', throttle_duration_sec=30.0
            )
            self._events.on_connection(server, False, event.reason)

    def _sample(
        self, server: str, kind: int, probe: bool, nbytes: int, duration_ms: float
    ) -> None:
        if self._on_link_sample is not None:
            self._on_link_sample(server, kind, probe, nbytes, duration_ms)
