"""The uplink on its own: round trips, how full the link is, what publishing blocks.

    python benchmarks/uplink_link.py [--rates 10,1] [--json FILE]

A made-up server (its model only looks at the first byte) and the robot's uplink, in two
processes: first on this host, then, as root, in two network namespaces joined by a link that
``tc tbf`` limits each way (burst 32 kB), then on this host under our own ``max_uplink_bps``.
Prints median and 95th percentile of the round trip, the time that the bytes alone would take,
the longest ``publish`` call, and the longest time that the interpreter lock was held (the run
queue taken out). Needs the built package (``. tools/env.sh``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import contextlib
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from dnn_offload.codec import bundle
from dnn_offload.errors import CutError
from dnn_offload.exchange import Answer, UplinkRequest
from dnn_offload.graph.cuts import Cut, signature
from dnn_offload.graph.routes import Route
from dnn_offload.msg import ServerStatus
from dnn_offload.runtime.admission import Admission
from dnn_offload.runtime.gil import GilMonitor
from dnn_offload.runtime.tail_server import TailServer
from dnn_offload.tensors import contiguous_strides, TensorSpec
from dnn_offload.testbed.network import Network, why_no_network
from dnn_offload.transport import names, qos
from dnn_offload.transport.tensor_server import ServiceHooks, ServiceSettings, TensorServer
from dnn_offload.transport.uplink import DdsUplink
from dnn_offload.transport.uplink_settings import UplinkSettings

SERVER = 'bench_server'
SIZES_KB = (10, 100, 400, 1000, 3000)


class EchoModel:
    """Tensors of the sizes above; the answer is 1000 times the first element."""

    identity = 'e' * 40

    def __init__(self) -> None:
        picture = (1, 8, 8, 3)
        frontiers = [TensorSpec('picture', 'uint8', picture, contiguous_strides(picture))]
        frontiers += [_floats(f'tensor_{kb}', kb * 250) for kb in SIZES_KB]
        frontiers.append(_floats('outputs', 1000))
        self.cuts = tuple(
            Cut(index, signature((spec,)), spec.name, index, index, (spec,))
            for index, spec in enumerate(frontiers)
        )
        self.outputs = self.cuts[-1].frontier

    def segment(self, start: int, end: int) -> tuple[int, int]:
        """Nothing to prepare."""
        return (start, end)

    def piece(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> tuple[int, int]:
        """Not asked for here: only a route has pieces."""
        raise CutError('no such piece', given=f'{inputs} to {outputs}')

    def route(self, cut_id: str, return_id: str, frontier: Sequence[str]) -> Route:
        """Not asked for here: every frame is of a cut of the list and has no second one."""
        raise CutError('no such way', given=f'{cut_id} {return_id} {frontier}')

    def run(self, segment: tuple[int, int], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Look at one element."""
        return [np.full((1, 1000), arrays[0].flat[0], np.float32)]

    def hold(self, segments: Sequence[tuple[int, int]]) -> None:
        """Nothing to keep ready."""

    def to_half(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Not asked for here."""
        return list(arrays)

    def set_threads(self, threads: int) -> None:
        """No compute library here."""


def _floats(name: str, count: int) -> TensorSpec:
    return TensorSpec(name, 'float32', (1, count), contiguous_strides((1, count)))


def serve() -> None:
    """Be the server until a signal comes."""
    rclpy.init()
    node, model = Node('bench_server'), EchoModel()
    tail = TailServer(model, lambda result: service.respond(result), log=print)
    hooks = ServiceHooks(Admission(model).admit, tail.submit, tail.cancel, tail.forget)
    service = TensorServer(
        node, names.DEFAULT_RENDEZVOUS, SERVER, model.identity, hooks, ServiceSettings()
    )
    tail.start()
    topic = names.server_status(names.DEFAULT_RENDEZVOUS)
    statuses = node.create_publisher(ServerStatus, topic, qos.latched())
    status = ServerStatus(
        server=SERVER, session=1, state=ServerStatus.STATE_READY, model_identity=model.identity
    )
    node.create_timer(0.2, lambda: statuses.publish(status))
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


class Robot:
    """The robot's side: sends one frame at a time."""

    def __init__(self, limit_bps: float) -> None:
        rclpy.init()
        self.node, self.model = Node('bench_robot'), EchoModel()
        self.connected, self.came = threading.Event(), threading.Event()
        self.answer: Answer | None = None
        self.uplink = DdsUplink(
            self.node, names.DEFAULT_RENDEZVOUS, names.new_client_id('bench'),
            self.model.identity, self, settings=UplinkSettings(max_uplink_bps=limit_bps),
        )
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()
        self.seq = 0

    def on_uplinked(self, frame_seq: int, uplink_ms: float, own_ms: float) -> None:
        """Part of ``UplinkEvents``."""

    def on_answer(self, answer: Answer) -> None:
        """Part of ``UplinkEvents``."""
        self.answer = answer
        self.came.set()

    def on_superseded(self, frame_seq: int) -> None:
        """Part of ``UplinkEvents``."""

    def on_refused(self, frame_seq: int, reason: str) -> None:
        """Part of ``UplinkEvents``."""
        print(f'frame {frame_seq} is refused: {reason}', file=sys.stderr)

    def on_connection(self, server: str, connected: bool, reason: str) -> None:
        """Part of ``UplinkEvents``."""
        if connected:
            self.connected.set()

    def ask(self, cut: Cut) -> float:
        """Send a frame and wait; gives the round trip [ms]."""
        array = np.full(cut.frontier[0].shape, self.seq % 97, cut.frontier[0].dtype)
        payload = bundle.encode([array], cut.frontier, 'raw')
        began_s = time.perf_counter()
        self.send(cut, 'raw', payload)
        return self.wait(began_s)

    def send(self, cut: Cut, codec: str, payload: bytes, *, complete: bool = True) -> None:
        """Send the next frame, or its beginning."""
        self.seq += 1
        self.came.clear()
        self.uplink.send(UplinkRequest(
            self.seq, 1, SERVER, cut.cut_id, codec, 'raw', cut.frontier, payload,
            complete=complete,
        ))

    def wait(self, began_s: float) -> float:
        """Wait for the answer; gives the time since ``began_s`` (perf_counter) [ms]."""
        if not self.came.wait(60.0):
            raise SystemExit('no answer within a minute')
        return 1e3 * (time.perf_counter() - began_s)

    def close(self) -> None:
        """Leave."""
        self.uplink.stop()
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown()


def measure(rate_bps: float, limit_bps: float) -> None:
    """Be the robot; print one JSON line per size."""
    robot = Robot(limit_bps)
    if not robot.connected.wait(30.0):
        raise SystemExit('no connection within 30 s')
    monitor = GilMonitor()
    monitor.start()
    slow_bps = rate_bps or limit_bps
    for cut in robot.model.cuts[1:-1]:
        ideal_ms = 8e3 * cut.nbytes / slow_bps if slow_bps else 0.0
        count = 60 if ideal_ms == 0.0 else max(3, min(20, int(6e3 / ideal_ms)))
        if ideal_ms > 4e3:
            continue
        robot.ask(cut)
        monitor.take()
        robot.uplink.take_longest_publish_ms()
        times_ms = []
        for _ in range(count):
            times_ms.append(robot.ask(cut))
            time.sleep(0.02)
        print(json.dumps({
            'kilobytes': cut.nbytes // 1000,
            'median_ms': float(np.median(times_ms)),
            'p95_ms': float(np.percentile(times_ms, 95)),
            'ideal_ms': ideal_ms,
            'longest_publish_ms': robot.uplink.take_longest_publish_ms(),
            'gil_longest_ms': monitor.take().longest_ms,
            'frames': count,
        }), flush=True)
    monitor.stop()
    robot.close()


def compare(
    title: str, rate_bps: float, limit_bps: float, robot: list[str], server: list[str]
) -> list[dict[str, Any]]:
    """Run one scene in two processes and print its table."""
    this = [sys.executable, str(Path(__file__).resolve())]
    domain = {**os.environ, 'ROS_DOMAIN_ID': '87'}
    with subprocess.Popen([*server, *this, '--serve'], env=domain) as serving:
        try:
            arguments = ['--measure', f'{rate_bps},{limit_bps}']
            result = subprocess.run(
                [*robot, *this, *arguments], env=domain, stdout=subprocess.PIPE, text=True,
                check=True,
            )
        finally:
            serving.send_signal(signal.SIGINT)
    rows = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('{')]
    print(f'\n{title}\n    kB   median      p95    bytes alone   publish      lock   [ms]')
    for row in rows:
        print(
            f'{row["kilobytes"]:6d} {row["median_ms"]:8.2f} {row["p95_ms"]:8.2f} '
            f'{row["ideal_ms"]:14.1f} {row["longest_publish_ms"]:9.2f} '
            f'{row["gil_longest_ms"]:9.2f}'
        )
    return [{'scene': title, **row} for row in rows]


def main() -> None:
    """Run all scenes that this machine allows."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--rates', default='10,1', help='emulated links [Mbit/s]')
    parser.add_argument('--json', type=Path, help='write all figures there')
    parser.add_argument('--serve', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--measure', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    if arguments.measure:
        rate_bps, limit_bps = (float(part) for part in arguments.measure.split(','))
        measure(rate_bps, limit_bps)
        return
    rows = compare('same host', 0.0, 0.0, [], [])
    rates = [float(rate) for rate in arguments.rates.split(',') if rate]
    why_not = why_no_network()
    if why_not:
        print(f'\nemulated links are skipped: {why_not}')
    for rate in () if why_not else rates:
        with Network(rate * 1e6, rate * 1e6) as network:
            robot, server = network.robot.entrance, network.server.entrance
            rows += compare(f'link of {rate:g} Mbit/s', rate * 1e6, 0.0, robot, server)
    for rate in rates:
        rows += compare(f'our own limit of {rate:g} Mbit/s', 0.0, rate * 1e6, [], [])
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding='utf-8')


if __name__ == '__main__':
    main()
