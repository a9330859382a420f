"""Greets a server as a robot does and measures the way there and back, by probes and answers.

Without the network's folder only the way there is measured: what comes back is an answer to a
frame, and for that the network must be known.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import json
from pathlib import Path
import socket
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from dnn_offload.codec import bundle
from dnn_offload.exchange import Answer, UplinkRequest
from dnn_offload.graph.fingerprint import seeded_inputs
from dnn_offload.graph.program import Program
from dnn_offload.testbed.environment import use_own_transports
from dnn_offload.transport import names
from dnn_offload.transport.link import Phase
from dnn_offload.transport.uplink import DdsUplink
from dnn_offload.transport.uplink_settings import LinkTiming, UplinkSettings

PROBE_PERIOD_S = 0.2
LARGE_BYTES = 150_000  # of an answer: well above what a radio lets through at once
ANSWER_TIMEOUT_S = 2.0
FRAMES = 12
PROBES = 6
MOST_REASONS = 4
TURN_S = 0.05  # well below what a probe is waited for


class Told:
    """What the uplink tells (``exchange.UplinkEvents``)."""

    def __init__(self) -> None:
        self.connected = threading.Event()
        self.ended = threading.Event()  # of the frame in flight
        self.reasons: list[str] = []
        self.service_ms: list[float] = []
        self.samples: list[dict[str, Any]] = []

    def on_uplinked(self, frame_seq: int, uplink_ms: float, own_ms: float) -> None:
        """Is a sample as well."""

    def on_answer(self, answer: Answer) -> None:
        """A frame has come back."""
        self.service_ms.append(answer.service_ms)
        self.ended.set()

    def on_superseded(self, frame_seq: int) -> None:
        """Only one frame of ours is under way at a time, so this is its end."""
        self.ended.set()

    def on_refused(self, frame_seq: int, reason: str) -> None:
        """The server does not take the frame."""
        self.reasons.append(reason)
        self.ended.set()

    def on_connection(self, server: str, connected: bool, reason: str) -> None:
        """Greeted, refused or lost."""
        if connected:
            self.connected.set()
        else:
            self.reasons.append(reason)

    def on_sample(
        self, server: str, kind: int, probe: bool, nbytes: int, duration_ms: float
    ) -> None:
        """One transfer."""
        self.samples.append({
            'kind': kind, 'probe': probe, 'nbytes': nbytes, 'duration_ms': duration_ms,
        })

    def probes(self) -> int:
        """How many have come through."""
        return sum(bool(sample['probe']) for sample in self.samples)


def connect(uplink: DdsUplink, told: Told, server: str, seconds: float) -> bool:
    """Wait until the server is connected, or for so long; whether it has answered a greeting.

    Looked at all the while: a link on which no probe comes through goes back to greeting.
    """
    greeted, end_s = False, time.monotonic() + seconds
    while not told.connected.wait(TURN_S) and time.monotonic() < end_s:
        state = uplink.describe().get(server, '')
        greeted = greeted or state.startswith(Phase.PROBING.value)
    return greeted or told.connected.is_set()


def frames(folder: Path, server: str) -> list[UplinkRequest]:
    """One frame whose answer is the network's outputs, one whose answer is large."""
    program = Program.load(folder)
    picture, inner = program.cuts[0], program.cuts[1:-1]
    payload = bundle.encode(seeded_inputs(program.inputs), picture.frontier, 'raw')
    large = min(inner, key=lambda cut: abs(cut.nbytes - LARGE_BYTES), default=None)
    return [
        UplinkRequest(
            frame_seq=0, plan_epoch=1, server=server, cut_id=picture.cut_id, codec='raw',
            result_codec='raw', specs=picture.frontier, payload=payload, return_id=return_id,
        )
        for return_id in dict.fromkeys(('', large.cut_id if large else ''))
    ]


def measure(uplink: DdsUplink, told: Told, asked: list[UplinkRequest], end_s: float) -> None:
    """Send frames, one after another, then let probes go, until there is enough or no time."""
    for number in range(FRAMES if asked else 0):
        if time.monotonic() > end_s or len(told.reasons) >= MOST_REASONS:
            return
        told.ended.clear()
        uplink.send(replace(asked[number % len(asked)], frame_seq=number + 1))
        told.ended.wait(min(ANSWER_TIMEOUT_S, max(end_s - time.monotonic(), 0.1)))
    while time.monotonic() < end_s and told.probes() < PROBES:
        time.sleep(0.05)


def main() -> int:
    """Print what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--rendezvous', required=True)
    parser.add_argument('--server', required=True)
    parser.add_argument('--identity', required=True)
    parser.add_argument('--folder', type=Path, default=None)
    parser.add_argument('--seconds', type=float, required=True)
    args = parser.parse_args()
    use_own_transports()
    rclpy.init(args=[])
    client = names.new_client_id(f'doctor_{socket.gethostname()}')
    node = Node(client, start_parameter_services=False)
    told = Told()
    uplink = DdsUplink(
        node, args.rendezvous, client, args.identity, told,
        settings=UplinkSettings(timing=LinkTiming(probe_period_s=PROBE_PERIOD_S)),
        accept_server=lambda status: '' if status.server == args.server else 'it is not meant',
        on_link_sample=told.on_sample,
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    end_s = time.monotonic() + args.seconds
    try:
        greeted = connect(uplink, told, args.server, args.seconds)
        if told.connected.is_set():
            asked = [] if args.folder is None else frames(args.folder, args.server)
            measure(uplink, told, asked, end_s)
        state = uplink.describe().get(args.server, 'its status did not come')
    finally:
        uplink.stop()
        executor.shutdown(timeout_sec=1.0)
        spinning.join(1.0)
        node.destroy_node()
        rclpy.try_shutdown()
    print(json.dumps({
        'connected': told.connected.is_set(), 'greeted': greeted, 'state': state,
        'samples': told.samples, 'reasons': told.reasons, 'service_ms': told.service_ms,
    }))
    return 0


if __name__ == '__main__':
    sys.exit(main())
