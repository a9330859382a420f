"""The server's side of the uplink over DDS: greeting, acknowledging, reassembling, answering.

Everything that arrives is distrusted: it is deserialised under guard, belongs to a robot that
has greeted, is admitted by its first slice before a byte is kept, and takes at most one frame
of memory per robot. What does not fit is refused with the reason, to that robot alone.

A robot that was forgotten gets no answer until it greets again: it was silent for long, or does
not listen, so a publisher made anew would not reach it sooner. Missing acknowledgements tell it
within its ``server_timeout_s``, and then it greets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
import threading
import time
from typing import cast, Protocol

from rclpy._rclpy_pybind11 import InvalidHandle, RCLError
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher

from dnn_offload.errors import RefusedError
from dnn_offload.exchange import TailJob, TailResult, Verdict
from dnn_offload.msg import TensorChunk, TensorResult
from dnn_offload.tensors import TensorSpec
from dnn_offload.transport import names, topics
from dnn_offload.transport.answers import AnswerQueue, OutgoingAnswer
from dnn_offload.transport.claim import Claim
from dnn_offload.transport.conversion import (
    fill_answer,
    header_of,
    MAX_REASON,
    read_message,
    specs_of,
)
from dnn_offload.transport.listener import Listener
from dnn_offload.transport.qos import profile_of
from dnn_offload.transport.reassembly import Reassembler, SliceHeader

MAX_MESSAGE_BYTES = 128 << 10  # a slice with 64 described tensors is below 85 kB
MATCH_PERIOD_S = 0.02
HOUSEKEEPING_PERIOD_S = 0.5
DEAF_S = 2.0                   # forgotten when nobody listens to its result topic for so long
MAX_REFUSED_CLIENTS = 8        # robots that are kept just long enough to tell them no
REFUSED_CLIENT_S = 3.0


class Admit(Protocol):
    """Says how large a frame may be, or refuses it; see ``runtime/admission.py``."""

    def __call__(
        self, cut_id: str, specs: tuple[TensorSpec, ...], codec: str, result_codec: str,
        return_id: str,
    ) -> int:
        """Give the most bytes that such a frame may have; raises RefusedError."""


@dataclass(frozen=True)
class ServiceSettings:
    """Bounds of the service.

    Attributes:
        max_clients: Robots served at a time; the reader's history is made for so many.
        client_timeout_s: A robot that sends nothing for so long is forgotten.
        max_request_bytes: Larger frames are refused.
    """

    max_clients: int = 8
    client_timeout_s: float = 30.0
    max_request_bytes: int = 64 << 20


@dataclass(frozen=True)
class ServiceHooks:
    """What the service calls, from its own thread.

    Attributes:
        admit: See ``Admit``.
        on_frame: A frame is complete.
        on_cancel: A robot has abandoned a frame.
        on_forget: A robot is gone.
    """

    admit: Admit
    on_frame: Callable[[TailJob], None]
    on_cancel: Callable[[str, int], None]
    on_forget: Callable[[str], None]


@dataclass
class _Client:
    name: str
    publisher: Publisher
    frames: Reassembler
    heard_s: float
    listens_s: float
    accepted: bool = False
    greeted: bool = True       # a HELLO waits for its answer
    refusal: str = ''
    claim: Claim | None = None  # to be settled before the answer
    answers: AnswerQueue = field(default_factory=AnswerQueue)


@dataclass
class ServiceCounters:
    """What has come and gone since start."""

    refused: int = 0
    ignored: int = 0
    frames: int = 0
    longest_publish_ms: float = field(default=0.0)


class TensorServer:
    """Receives frames of several robots and sends them their answers.

    Args:
        node: Node to publish and subscribe with.
        rendezvous: Absolute namespace in which robots and servers meet.
        server: Our name.
        model_identity: Digest of our model; robots with another one are refused.
        hooks: See ``ServiceHooks``.
        settings: Bounds; ``configure`` changes all but ``max_clients`` while running.
    """

    def __init__(
        self,
        node: Node,
        rendezvous: str,
        server: str,
        model_identity: str,
        hooks: ServiceHooks,
        settings: ServiceSettings,
    ) -> None:
        self._node = node
        self._rendezvous = names.check_rendezvous(rendezvous)
        self._server = server
        self._model_identity = model_identity
        self._hooks = hooks
        self._settings = settings
        self.counters = ServiceCounters()
        self._log = node.get_logger()
        self._lock = threading.Lock()  # publishers vanish here while the worker answers
        self._sending = threading.Lock()  # of slices of answers, two threads in turn
        self._clients: dict[str, _Client] = {}
        self._owed: tuple[_Client, TensorChunk, int] | None = None  # an acknowledgement
        self._house_s = 0.0
        self._listener = Listener(
            node, TensorChunk, names.tensors(self._rendezvous, server),
            profile_of(topics.TENSORS_IN.keeping(
                topics.tensor_reader_depth(settings.max_clients)
            ).quality),
            self._take, between=self._between, name='tensors',
        )

    @property
    def clients(self) -> tuple[str, ...]:
        """Robots that are served."""
        return tuple(client.name for client in list(self._clients.values()) if client.accepted)

    @property
    def held_bytes(self) -> int:
        """Memory of frames that are not complete [byte]."""
        return sum(client.frames.held_bytes for client in list(self._clients.values()))

    def configure(self, settings: ServiceSettings) -> None:
        """Apply new bounds to all robots: to frames that begin from now on."""
        self._settings = replace(settings, max_clients=self._settings.max_clients)
        for client in list(self._clients.values()):
            client.frames.max_frame_bytes = settings.max_request_bytes

    def stop(self) -> None:
        """Forget all robots and stop to listen."""
        self._listener.stop()
        for name in list(self._clients):
            self._forget(name, 'the service ends')

    def respond(self, result: TailResult) -> None:
        """Send a frame's end to its robot; from any thread."""
        if result.verdict is Verdict.REFUSED:
            self.counters.refused += 1
        client = self._clients.get(result.job.client)
        if client is not None:
            with self._sending:
                client.answers.put(result)
            self._send_answers(client)

    def _send_answers(self, client: _Client) -> None:
        """Publish the slices of answers that may go now."""
        with self._sending:
            while (step := client.answers.next_slice(time.monotonic())) is not None:
                self._send(client.name, self._answer_slice(*step))

    def _answer_slice(self, answer: OutgoingAnswer, index: int) -> TensorResult:
        job = answer.result.job
        message = self._message(job.client, TensorChunk.KIND_TENSORS, job.frame_seq)
        fill_answer(message, answer, index)
        return message

    # ---- what arrives ----------------------------------------------------------------------

    def _take(self, serialised: bytes) -> None:
        now_s = time.monotonic()
        try:
            if len(serialised) > MAX_MESSAGE_BYTES:
                raise RefusedError('message is too large', given=f'{len(serialised)} bytes',
                                   allowed=f'{MAX_MESSAGE_BYTES}')
            message = cast(TensorChunk, read_message(serialised, TensorChunk))
            names.check_name(message.client, 'robot')
            if message.server != self._server:
                raise RefusedError('message is for another server', given=message.server[:64],
                                   allowed=self._server)
        except RefusedError as error:
            self._ignore(str(error))
            return
        self._pay_owed(message)
        if message.kind == TensorChunk.KIND_HELLO:
            self._greet(message, now_s)
            return
        client = self._clients.get(message.client)
        if client is None or not client.accepted:
            self._ignore(f'robot {message.client!r} has not greeted')
            return
        client.heard_s = now_s
        if message.kind == TensorChunk.KIND_TENSORS:
            self._take_slice(client, message, now_s)
        elif message.kind == TensorChunk.KIND_PROBE:
            self._acknowledge(client, message, len(message.data))
        elif message.kind == TensorChunk.KIND_RECEIVED:
            with self._sending:
                client.answers.acked(message.frame_seq, message.chunk_index, now_s)
            self._send_answers(client)
        elif message.kind == TensorChunk.KIND_CANCEL:
            client.frames.abandon(message.frame_seq)
            with self._sending:
                client.answers.cancel(message.frame_seq)
            self._hooks.on_cancel(client.name, message.frame_seq)
        elif message.kind == TensorChunk.KIND_BYE:
            self._forget(client.name, 'it said good-bye')
        else:
            self._ignore(f'robot {client.name!r} sends an unknown kind: {message.kind}')

    def _take_slice(self, client: _Client, message: TensorChunk, now_s: float) -> None:
        try:
            first_of_all = message.chunk_index == 0
            if first_of_all and message.model_identity != self._model_identity:
                client.frames.abandon(message.frame_seq)
                raise RefusedError(
                    'frame is of another model', given=message.model_identity[:16],
                    allowed=self._model_identity[:16],
                )
            header = header_of(message)
            specs = specs_of(message.tensors) if first_of_all else ()
            arrival = client.frames.add(header, specs, memoryview(message.data))
        except RefusedError as error:
            self._refuse(client, message, str(error))
            return
        received_bytes = arrival.received_bytes if arrival else 0
        if message.chunk_index == message.chunk_count - 2:
            self._owed = client, message, received_bytes
        else:
            self._acknowledge(client, message, received_bytes)
        if arrival is None or arrival.payload is None:
            return
        self.counters.frames += 1
        first = arrival.first
        self._hooks.on_frame(
            TailJob(
                client.name, first.frame_seq, first.plan_epoch, first.cut_id, first.codec,
                first.result_codec, arrival.payload, now_s,
                max(message.budget_ms, 0.0), first.return_id,
                tuple(spec.name for spec in arrival.specs),
            )
        )

    def _pay_owed(self, next_message: TensorChunk | None = None) -> None:
        """Acknowledge the last slice but one, unless the last is there and does so for both.

        Its sender waits for the last only: so a frame of two slices costs one message less.
        """
        if self._owed is None:
            return
        (client, message, received_bytes), self._owed = self._owed, None
        if next_message is None or (
            next_message.client, next_message.kind, next_message.frame_seq,
            next_message.chunk_index,
        ) != (client.name, message.kind, message.frame_seq, message.chunk_count - 1):
            self._acknowledge(client, message, received_bytes)

    def _admit(self, header: SliceHeader, specs: tuple[TensorSpec, ...]) -> int:
        return self._hooks.admit(
            header.cut_id, specs, header.codec, header.result_codec, header.return_id
        )

    # ---- robots come and go ----------------------------------------------------------------

    def _greet(self, message: TensorChunk, now_s: float) -> None:
        name = message.client
        client = self._clients.get(name)
        mismatch = self._mismatch(message)
        refusal = mismatch or self._why_full(client)
        if client is None:
            refused = sum(not known.accepted for known in self._clients.values())
            if refusal and refused >= MAX_REFUSED_CLIENTS:
                self._ignore(f'robot {name!r}: {refusal}')
                return
            publisher = self._node.create_publisher(
                TensorResult, names.results(self._rendezvous, name),
                profile_of(topics.RESULTS_OUT.quality),
                # Its default events would be things for the executor to wait on, and they would
                # vanish under it: publishers come and go on our thread.
                event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
            )
            client = _Client(name, publisher, self._new_reassembler(), now_s, now_s)
            with self._lock:
                self._clients[name] = client
        else:  # it has lost us: nothing of before counts
            client.frames = self._new_reassembler()
            with self._sending:
                client.answers = AnswerQueue()
            self._hooks.on_forget(name)
        client.heard_s = now_s
        client.greeted = True
        client.refusal = refusal
        client.claim = self._claim_of(client) if refusal and not mismatch else None
        client.accepted = client.accepted and not refusal  # ``_between`` answers

    def _mismatch(self, message: TensorChunk) -> str:
        if message.model_identity == self._model_identity:
            return ''
        return (
            f'the server runs another model; given: {message.model_identity[:16]}; '
            f'allowed: {self._model_identity[:16]}'
        )

    def _why_full(self, client: _Client | None) -> str:
        places = self._settings.max_clients
        others = sum(
            not known.refusal for known in self._clients.values() if known is not client
        )
        if others >= places:
            return f'the server is full: it serves {places} robots; raise max_clients'
        return ''

    def _claim_of(self, client: _Client) -> Claim | None:
        """A claim to the place of a robot's former life, the one that is silent longest."""
        lives = [
            known for known in self._clients.values()
            if known.accepted and names.same_robot(known.name, client.name)
        ]
        if not lives:
            return None
        if client.claim is not None and client.claim.former in self._clients:
            return client.claim  # it greets again while we ask
        return Claim(min(lives, key=lambda known: known.heard_s).name)

    def _settled(self, client: _Client, claim: Claim, now_s: float) -> bool:
        """Whether it is known if the former life is there; where it is not, its place is free."""
        former = self._clients.get(claim.former)
        if former is not None and not claim.answered(former.heard_s):
            if claim.ask(now_s):
                question = self._message(former.name, TensorChunk.KIND_HELLO, 0)
                question.status = TensorResult.STATUS_ACCEPTED
                self._send(former.name, question)
            if not claim.granted(now_s):
                return False
            self._forget(former.name, f'it does not answer, and {client.name!r} is here')
        client.claim = None
        client.refusal = self._why_full(client)
        return True

    def _new_reassembler(self) -> Reassembler:
        return Reassembler(self._admit, self._settings.max_request_bytes)

    def _between(self, now_s: float) -> float:
        """What is due between messages; gives when to come again."""
        self._pay_owed()
        self._answer_greetings(now_s)
        if now_s >= self._house_s:
            self._house_s = now_s + HOUSEKEEPING_PERIOD_S
            self._keep_house()
        greeted = any(client.greeted for client in self._clients.values())
        return min(self._house_s, now_s + MATCH_PERIOD_S) if greeted else self._house_s

    def _answer_greetings(self, now_s: float) -> None:
        """Answer each HELLO once the robot's subscription is known, else it would miss it."""
        for client in list(self._clients.values()):
            if not client.greeted or client.name not in self._clients:  # forgotten on the way
                continue
            if client.publisher.get_subscription_count() == 0:
                continue
            if client.claim is not None and not self._settled(client, client.claim, now_s):
                continue
            client.greeted = False
            message = self._message(client.name, TensorChunk.KIND_HELLO, 0)
            message.status = TensorResult.STATUS_REFUSED
            message.reason = client.refusal[:MAX_REASON]
            if not client.refusal:
                message.status = TensorResult.STATUS_ACCEPTED
                if not client.accepted:
                    self._log.info(f'robot {client.name!r} is served')
                client.accepted = True
            else:
                self.counters.refused += 1
                self._log.warning(f'robot {client.name!r} is refused: {client.refusal}',
                                  throttle_duration_sec=5.0)
            self._send(client.name, message)

    def _keep_house(self) -> None:
        """Forget robots that are silent or gone."""
        now_s = time.monotonic()
        for client in list(self._clients.values()):
            silent_s = now_s - client.heard_s
            if client.publisher.get_subscription_count() > 0:
                client.listens_s = now_s
            deaf_s = now_s - client.listens_s
            with self._sending:
                dropped = client.answers.give_up(now_s)
            if dropped:
                self._log.warning(f'robot {client.name!r} takes no answers: {dropped} bytes of '
                                  'them are dropped', throttle_duration_sec=5.0)
            if client.refusal and silent_s > REFUSED_CLIENT_S:
                self._forget(client.name, 'it was refused')
            elif silent_s > self._settings.client_timeout_s:
                self._forget(client.name, f'nothing came for {silent_s:.1f} s')
            elif deaf_s > DEAF_S:
                self._forget(client.name, f'it has not listened for {deaf_s:.1f} s')

    def _forget(self, name: str, why: str) -> None:
        with self._lock:
            client = self._clients.pop(name)
        self._node.destroy_publisher(client.publisher)
        self._hooks.on_forget(name)
        if client.accepted:
            self._log.info(f'robot {name!r} is forgotten: {why}')

    # ---- sending ---------------------------------------------------------------------------

    def _message(self, client: str, kind: int, frame_seq: int) -> TensorResult:
        message = TensorResult()
        message.client = client
        message.server = self._server
        message.model_identity = self._model_identity
        message.request_kind = kind
        message.frame_seq = frame_seq
        return message

    def _acknowledge(self, client: _Client, message: TensorChunk, received: int) -> None:
        answer = self._message(client.name, message.kind, message.frame_seq)
        answer.model_identity = ''
        answer.status = TensorResult.STATUS_RECEIVED
        answer.plan_epoch = message.plan_epoch
        answer.chunk_index = message.chunk_index
        answer.chunk_count = message.chunk_count
        answer.received_bytes = received
        self._send(client.name, answer)

    def _refuse(self, client: _Client, message: TensorChunk, reason: str) -> None:
        self.counters.refused += 1
        self._log.warning(
            f'frame {message.frame_seq} of robot {client.name!r} is refused: {reason}',
            throttle_duration_sec=1.0,
        )
        answer = self._message(client.name, message.kind, message.frame_seq)
        answer.status = TensorResult.STATUS_REFUSED
        answer.plan_epoch = message.plan_epoch
        answer.chunk_index = message.chunk_index
        answer.reason = reason[:MAX_REASON]
        self._send(client.name, answer)

    def _ignore(self, why: str) -> None:
        """Something that cannot be answered: nobody is known to listen."""
        self.counters.ignored += 1
        self._log.warning(f'message is ignored: {why}', throttle_duration_sec=1.0)

    def _send(self, name: str, message: TensorResult) -> None:
        with self._lock:
            client = self._clients.get(name)
            if client is None:
                return
            began_s = time.monotonic()
            try:
                client.publisher.publish(message)
            except (RCLError, InvalidHandle) as error:
                if self._node.context.ok():
                    self._log.error(f'cannot answer {name!r}: {error}',
                                    throttle_duration_sec=1.0)
            took_ms = 1e3 * (time.monotonic() - began_s)
            self.counters.longest_publish_ms = max(self.counters.longest_publish_ms, took_ms)
