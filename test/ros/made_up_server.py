"""A server without torch, and a robot's uplink that remembers what it was told. Helpers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
import secrets
import sys
import threading
from typing import Any

import numpy as np
from rclpy.node import Node

from dnn_offload.codec import bundle
from dnn_offload.exchange import Answer, UplinkRequest
from dnn_offload.msg import ServerStatus
from dnn_offload.runtime.admission import Admission
from dnn_offload.runtime.tail_server import TailServer
from dnn_offload.transport import names, qos
from dnn_offload.transport.tensor_server import ServiceHooks, ServiceSettings, TensorServer
from dnn_offload.transport.uplink import DdsUplink

sys.path.append(str(Path(__file__).resolve().parents[1]))
from fake_tail_model import FakeModel  # noqa: E402 (lives beside the unit tests)

RENDEZVOUS = '/dnn_offload'


class MadeUpServer:
    """The whole service around ``FakeModel``; ``node`` must be spun."""

    def __init__(self, node: Node, name: str = 'server_a', *, identity: str = '',
                 settings: ServiceSettings | None = None,
                 fingerprint: Sequence[float] = (1.0, 2.0)) -> None:
        self.node, self.name = node, name
        self.fingerprint = list(fingerprint)
        self.model = FakeModel()
        if identity:
            self.model.identity = identity
        self.logged: list[str] = []
        self.state = ServerStatus.STATE_READY
        self.session = secrets.randbits(63)
        self.tail = TailServer(
            self.model, lambda result: self.tensors.respond(result), log=self.logged.append
        )
        hooks = ServiceHooks(
            Admission(self.model).admit, self.tail.submit, self.tail.cancel, self.tail.forget
        )
        self.tensors = TensorServer(
            node, RENDEZVOUS, name, self.model.identity, hooks,
            settings or ServiceSettings(),
        )
        self.tail.start()
        self.statuses = node.create_publisher(
            ServerStatus, names.server_status(RENDEZVOUS), qos.latched()
        )
        self.timer = node.create_timer(0.2, self.say)

    def say(self) -> None:
        self.statuses.publish(ServerStatus(
            server=self.name, session=self.session, state=self.state, model='fake',
            model_identity=self.model.identity, fingerprint=self.fingerprint, profile_revision=1,
        ))

    def stop(self) -> None:
        self.model.gate.set()
        self.node.destroy_timer(self.timer)
        self.tensors.stop()
        self.tail.stop()


@dataclass
class Told:
    """UplinkEvents that are remembered."""

    answers: dict[int, Answer] = field(default_factory=dict)
    superseded: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    uplinked: dict[int, float] = field(default_factory=dict)
    connections: list[tuple[str, bool, str]] = field(default_factory=list)
    samples: list[tuple[str, int, bool, int, float]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    def on_uplinked(self, frame_seq: int, uplink_ms: float, own_ms: float) -> None:
        self.uplinked[frame_seq] = uplink_ms

    def on_answer(self, answer: Answer) -> None:
        self.answers[answer.frame_seq] = answer
        self.came.set()

    def on_superseded(self, frame_seq: int) -> None:
        self.superseded.append(frame_seq)

    def on_refused(self, frame_seq: int, reason: str) -> None:
        self.refused[frame_seq] = reason

    def on_connection(self, server: str, connected: bool, reason: str) -> None:
        self.connections.append((server, connected, reason))

    def on_sample(self, *sample: Any) -> None:
        self.samples.append(sample)


class MadeUpRobot:
    """An uplink and what it was told; ``node`` must be spun."""

    def __init__(self, node: Node, identity: str = FakeModel.identity, **options: Any) -> None:
        self.told = Told()
        self.client = names.new_client_id(node.get_name())
        self.uplink = DdsUplink(
            node, RENDEZVOUS, self.client, identity, self.told,
            on_link_sample=self.told.on_sample, **options,
        )
        self.model = FakeModel()

    def send(self, seq: int, value: float, *, cut: int = 1, server: str = 'server_a',
             **changes: Any) -> None:
        """Send a frame whose sum is ``value``; the answer is twice that."""
        chosen = self.model.cuts[cut]
        fields = {
            'frame_seq': seq, 'plan_epoch': 1, 'server': server, 'cut_id': chosen.cut_id,
            'codec': 'raw', 'result_codec': 'raw', 'specs': chosen.frontier,
            'payload': self.payload(value, cut=cut), **changes,
        }
        self.uplink.send(UplinkRequest(**fields))

    def payload(self, value: float, *, cut: int = 1) -> bytes:
        """The frontier of a frame whose sum is ``value``."""
        frontier = self.model.cuts[cut].frontier
        arrays = [np.zeros(spec.shape, spec.dtype) for spec in frontier]
        arrays[-1].flat[0] = value
        return bundle.encode(arrays, frontier, 'raw')

    def answer(self, seq: int) -> float:
        """The number in an answer that has come."""
        answer = self.told.answers[seq]
        (outputs,) = bundle.decode(answer.payload, self.model.outputs, max_bytes=1000)
        return float(outputs[0, 0])
