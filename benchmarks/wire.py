"""What a tensor costs on a shaped link: our slices beside what else could be picked (root).

    python benchmarks/wire.py [--rates 1,10,80] [--kilobytes 400] [--loss 0.01] [--json FILE]

A payload goes from a robot's to a server's network namespace (``testbed/network.py``: ``tbf`` each
way, burst at least 32 kB): by our uplink (slices, acknowledged), by our downlink (from server to
robot), both also with ``config/fastdds_lossy.xml``, as one reliable and as one best-effort DDS
sample, as one reliable sample with ``FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA``, over plain TCP. The
ways take turns, round after round, each with processes of its own: one transfer to warm up, two
that count, none while DDS still announces its participants. With ``--loss`` a relay drops that
share of the packets, both ways. Ours load ``config/fastdds.xml``, as our launch files do; the
others run with what Fast DDS does by default.

Printed, median and worst: time from handing over to having all, over the time that the payload
takes at the link's rate less the burst; bytes that left the sender's shaper until it is quiet, all
headers, heartbeats and repairs counted, over the payload, how much of that flows in such a time
anyway (idle: discovery, status), and the rest (net); the same of the other direction.
Exits with 1 when a median of ours misses its aim. Needs the built package (``. tools/env.sh``).
"""

from __future__ import annotations

import argparse
import array
from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass
import itertools
import json
import os
from pathlib import Path
import queue
import socket
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

from aims import Aim, told
from ament_index_python.packages import get_package_share_directory
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import UInt8MultiArray

from dnn_offload.ending import ending_politely
from dnn_offload.errors import OffloadError
from dnn_offload.exchange import Answer, TailJob, TailResult, UplinkRequest, Verdict
from dnn_offload.msg import ServerStatus
from dnn_offload.tensors import contiguous_strides, TensorSpec
from dnn_offload.testbed.lossy_link import LossyNetwork
from dnn_offload.testbed.network import BURST_BYTES, Network, NetworkEnd, TICK_S, why_no_network
from dnn_offload.testbed.processes import bound_to_us
from dnn_offload.transport import names, qos
from dnn_offload.transport.tensor_server import ServiceHooks, ServiceSettings, TensorServer
from dnn_offload.transport.uplink import DdsUplink
from dnn_offload.transport.uplink_settings import UplinkSettings

WAYS = (
    'ours up', 'ours down', 'lossy up', 'lossy down', 'reliable', 'best effort', 'LARGE_DATA',
    'TCP',
)
OURS = {'ours': 'fastdds.xml', 'lossy': 'fastdds_lossy.xml'}
JUDGED = ('ours up', 'ours down')  # the others are beside them; the lossy profile costs bytes
AIMS = (Aim('time', 1.08, 'of the ideal'), Aim('bytes', 1.05, 'of the payload'))  # no loss
AIMED_MBPS = (1.0, 10.0, 80.0)
COUNTED = 2           # transfers of a way in a round, beside the first
START_S = 30.0
ANNOUNCED_S = 3.5     # config/fastdds.xml: participants announce themselves for 3 s
IDLE_S, SLOTS = 0.25, 16  # the traffic at rest: median of so many slots
QUIET_S = 0.3         # nothing waits at either shaper for so long: a transfer is over
SPARE_S = 3.0         # what does not arrive within five times its time and this, is lost
SERVER, IDENTITY, PORT, TOPIC = 'wire_server', 'e' * 40, 5999, 'payload'


def tell(word: str) -> None:
    """One line for the parent: what happened, and when."""
    print(f'{word} {time.monotonic():.6f}', flush=True)


# ---- ours ----------------------------------------------------------------------------------


def _spec(nbytes: int) -> TensorSpec:
    return TensorSpec('payload', 'uint8', (nbytes,), contiguous_strides((nbytes,)))


def our_server(nbytes: int, down: bool) -> None:
    """Take frames; answer each, with the payload if it is the downlink that is measured."""
    rclpy.init()
    node = Node(SERVER)
    jobs: queue.SimpleQueue[TailJob] = queue.SimpleQueue()

    def on_frame(job: TailJob) -> None:
        if not down:
            tell('arrived')
        jobs.put(job)

    def answer() -> None:
        payload = os.urandom(nbytes) if down else b'x'
        while True:
            job = jobs.get()
            if down:
                tell('sent')
            service.respond(TailResult(job, Verdict.OK, '', payload, (_spec(len(payload)),)))

    hooks = ServiceHooks(
        lambda *_: 64 << 20, on_frame, lambda *_: None, lambda *_: None
    )
    service = TensorServer(
        node, names.DEFAULT_RENDEZVOUS, SERVER, IDENTITY, hooks, ServiceSettings()
    )
    threading.Thread(target=answer, daemon=True).start()
    statuses = node.create_publisher(
        ServerStatus, names.server_status(names.DEFAULT_RENDEZVOUS), qos.latched()
    )
    status = ServerStatus(
        server=SERVER, session=1, state=ServerStatus.STATE_READY, model_identity=IDENTITY
    )
    node.create_timer(0.2, lambda: statuses.publish(status))
    rclpy.spin(node)


class OurRobot:
    """Our uplink with an engine that only tells when something came."""

    def __init__(self, nbytes: int, down: bool) -> None:
        rclpy.init()
        self._down, self._seq = down, 0
        self._payload = b'x' if down else os.urandom(nbytes)
        self._node = Node('wire_robot')
        self._uplink = DdsUplink(
            self._node, names.DEFAULT_RENDEZVOUS, names.new_client_id('wire'), IDENTITY, self,
            settings=UplinkSettings(),
        )
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        threading.Thread(target=executor.spin, daemon=True).start()

    def on_uplinked(self, frame_seq: int, uplink_ms: float, own_ms: float) -> None:
        """Part of ``UplinkEvents``."""

    def on_answer(self, answer: Answer) -> None:
        """Part of ``UplinkEvents``."""
        if self._down:
            tell('arrived')

    def on_superseded(self, frame_seq: int) -> None:
        """Part of ``UplinkEvents``."""

    def on_refused(self, frame_seq: int, reason: str) -> None:
        """Part of ``UplinkEvents``."""
        print(f'frame {frame_seq} is refused: {reason}', file=sys.stderr)

    def on_connection(self, server: str, connected: bool, reason: str) -> None:
        """Part of ``UplinkEvents``."""
        if connected:
            tell('ready')

    def send(self) -> None:
        """Hand a frame over."""
        self._seq += 1
        if not self._down:
            tell('sent')
        self._uplink.send(UplinkRequest(
            self._seq, 1, SERVER, 'c' * 16, 'raw', 'raw', (_spec(len(self._payload)),),
            self._payload,
        ))


# ---- the others ----------------------------------------------------------------------------


def one_sample_profile(reliable: bool) -> QoSProfile:
    """QoS of one message that carries everything."""
    policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=1, reliability=policy)


def sample_receiver(reliable: bool) -> None:
    """Tell of each message."""
    rclpy.init()
    node = Node('wire_receiver')
    node.create_subscription(
        UInt8MultiArray, TOPIC, lambda _: tell('arrived'), one_sample_profile(reliable), raw=True
    )
    rclpy.spin(node)


def sample_sender(nbytes: int, reliable: bool) -> Callable[[], None]:
    """Publishes one message a call, once a receiver is there."""
    rclpy.init()
    node = Node('wire_sender')
    publisher = node.create_publisher(UInt8MultiArray, TOPIC, one_sample_profile(reliable))
    message = UInt8MultiArray()
    message.data = array.array('B', os.urandom(nbytes))
    while publisher.get_subscription_count() == 0:
        time.sleep(0.05)
    time.sleep(1.0)  # the receiver has to have found us, too
    tell('ready')

    def send() -> None:
        tell('sent')
        publisher.publish(message)

    return send


def tcp_receiver(nbytes: int) -> None:
    """Take payloads of one connection."""
    with socket.create_server(('', PORT)) as listener:
        connection, _ = listener.accept()
    with connection:
        while True:
            missing = nbytes
            while missing:
                missing -= len(connection.recv(min(missing, 1 << 16))) or missing
            tell('arrived')


def tcp_sender(nbytes: int, address: str) -> Callable[[], None]:
    """Sends a payload a call over one connection."""
    payload = os.urandom(nbytes)
    while True:
        try:
            connection = socket.create_connection((address, PORT))
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tell('ready')

    def send() -> None:
        tell('sent')
        connection.sendall(payload)

    return send


def receive(way: str, nbytes: int) -> None:
    """Be the server's end of a way until killed."""
    if way.split()[0] in OURS:
        our_server(nbytes, way.endswith('down'))
    elif way == 'TCP':
        tcp_receiver(nbytes)
    else:
        sample_receiver(way != 'best effort')


def send(way: str, nbytes: int, address: str) -> None:
    """Be the robot's end of a way: one transfer for each line that comes."""
    if way.split()[0] in OURS:
        step = OurRobot(nbytes, way.endswith('down')).send
    elif way == 'TCP':
        step = tcp_sender(nbytes, address)
    else:
        step = sample_sender(nbytes, way != 'best effort')
    for _ in sys.stdin:
        step()


# ---- measuring -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Transfer:
    """One transfer: over the ideal, and bytes over the payload; ratio 0 = it never arrived."""

    way: str
    rate_mbps: float
    taken_ms: float
    ratio: float
    forward: float
    idle: float
    backward: float


class Ends:
    """The two processes of a way, and what they tell."""

    def __init__(self, way: str, nbytes: int, network: Network) -> None:
        self.heard: queue.Queue[tuple[str, float]] = queue.Queue()
        this = [sys.executable, str(Path(__file__).resolve())]
        self._processes: list[subprocess.Popen[str]] = []
        for end, role in ((network.server, '--receive'), (network.robot, '--send')):
            inside = end.entrance
            self._processes.append(subprocess.Popen(
                [*inside, *this, role, way, '--bytes', str(nbytes),
                 '--to', network.server.address],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                env=environment(way), preexec_fn=bound_to_us(),
            ))
        for process in self._processes:
            threading.Thread(target=self._listen, args=(process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            word, _, when = line.partition(' ')
            if word in ('ready', 'sent', 'arrived'):
                self.heard.put((word, float(when)))

    def wait_for(self, wanted: str, timeout_s: float) -> float | None:
        """When it happened; None if it does not in time."""
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0.0:
            with contextlib.suppress(queue.Empty):
                word, when_s = self.heard.get(timeout=left_s)
                if word == wanted:
                    return when_s
        return None

    def go(self) -> None:
        """One transfer."""
        stdin = self._processes[1].stdin
        assert stdin is not None
        stdin.write('go\n')

    def stop(self) -> None:
        """End both."""
        for process in self._processes:
            process.kill()
            process.communicate()


def environment(way: str) -> dict[str, str]:
    """Variables of the processes of a way."""
    result = {
        **os.environ, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET',
        'ROS_DOMAIN_ID': os.environ.get('ROS_DOMAIN_ID', '87'),
    }
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_BUILTIN_TRANSPORTS'):
        result.pop(name, None)
    profile = OURS.get(way.split()[0])
    if profile is not None:
        share = Path(get_package_share_directory('dnn_offload'))
        result['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(share / 'config' / profile)
    elif way == 'LARGE_DATA':
        result['FASTDDS_BUILTIN_TRANSPORTS'] = 'LARGE_DATA'
    return result


def measure(
    way: str, rate_mbps: float, nbytes: int, network: Network
) -> Iterator[Transfer]:
    """The transfers of one round of a way, the first not counted."""
    rate_bps = 1e6 * rate_mbps
    burst = max(BURST_BYTES, int(rate_bps * TICK_S / 8))
    ideal_ms = 8e3 * (nbytes - burst) / rate_bps
    ahead, back = network.robot, network.server
    if way.endswith('down'):
        ahead, back = back, ahead
    ends = Ends(way, nbytes, network)
    try:
        if ends.wait_for('ready', START_S) is None:
            raise OffloadError(f'{way}: the two ends do not find each other')
        time.sleep(ANNOUNCED_S)
        idle_bytes_per_s = idle_rate(network, ahead)
        for number in range(COUNTED + 1):
            wait_until_quiet(network)
            before = network.sent_bytes(ahead), network.sent_bytes(back)
            began_s = time.monotonic()
            ends.go()
            sent_s = ends.wait_for('sent', SPARE_S)
            if sent_s is None:
                raise OffloadError(f'{way}: nothing is sent')
            arrived_s = ends.wait_for('arrived', 5e-3 * ideal_ms + SPARE_S)
            wait_until_quiet(network)
            if number == 0:
                continue
            taken_ms = 0.0 if arrived_s is None else 1e3 * (arrived_s - sent_s)
            yield Transfer(
                way, rate_mbps, taken_ms, taken_ms / ideal_ms,
                (network.sent_bytes(ahead) - before[0]) / nbytes,
                idle_bytes_per_s * (time.monotonic() - began_s) / nbytes,
                (network.sent_bytes(back) - before[1]) / nbytes,
            )
    finally:
        ends.stop()


def idle_rate(network: Network, end: NetworkEnd) -> float:
    """What leaves an end at rest [byte/s]; not probes, one a second: they rest while frames go."""
    seen = [network.sent_bytes(end)]
    for _ in range(SLOTS):
        time.sleep(IDLE_S)
        seen.append(network.sent_bytes(end))
    return statistics.median(after - before for before, after in itertools.pairwise(seen)) / IDLE_S


def wait_until_quiet(network: Network) -> None:
    """Wait until nothing has waited at a shaper for ``QUIET_S``."""
    quiet_s = time.monotonic()
    while time.monotonic() - quiet_s < QUIET_S:
        time.sleep(0.02)
        if waiting_bytes(network.robot) or waiting_bytes(network.server):
            quiet_s = time.monotonic()


def waiting_bytes(end: NetworkEnd) -> int:
    """Bytes that wait at the shaper of an end."""
    command = ['tc', '-n', end.namespace, '-s', '-j', 'qdisc', 'show', 'dev', end.device]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(json.loads(shown.stdout)[0]['backlog'])


def print_table(rate_mbps: float, nbytes: int, loss: float, transfers: list[Transfer]) -> bool:
    """Median and worst of each way at one rate; whether no aim is missed."""
    print(f'\n{rate_mbps:g} Mbit/s, {nbytes} bytes, {100.0 * loss:g} % of the packets lost')
    print('              time/ideal             bytes/payload            back/payload   arrived')
    print('            median  worst     median  worst   idle    net      median')
    kept = True
    for way in WAYS:
        rows = [row for row in transfers if row.way == way and row.rate_mbps == rate_mbps]
        there = [row for row in rows if row.ratio > 0.0]
        if not rows:
            continue
        aimed = way in JUDGED and rate_mbps in AIMED_MBPS and not loss
        if not there:
            kept = kept and not aimed
            print(f'{way:12} {"nothing arrived":53}  0 of {len(rows)}')
            continue
        ratios, forward = [r.ratio for r in there], [r.forward for r in there]
        medians = {'time': statistics.median(ratios), 'bytes': statistics.median(forward)}
        met = len(there) == len(rows) and all(aim.met(medians) for aim in AIMS)
        kept = kept and (met or not aimed)
        print(
            f'{way:12}{medians["time"]:6.3f} {max(ratios):6.3f}     '
            f'{medians["bytes"]:6.3f} {max(forward):6.3f} '
            f'{statistics.median(r.idle for r in there):6.3f} '
            f'{statistics.median(r.forward - r.idle for r in there):6.3f}      '
            f'{statistics.median(r.backward for r in there):6.3f}     '
            f'{len(there)} of {len(rows)}'
            + (f'   {told(AIMS, medians)}' if aimed else ''), flush=True,
        )
    return kept


def compare(
    rates: list[float], nbytes: int, rounds: int, ways: list[str], loss: float
) -> tuple[list[Transfer], bool]:
    """All ways at all rates, in turn; and whether no aim is missed."""
    transfers: list[Transfer] = []
    kept = True
    for rate_mbps in rates:
        if nbytes < 10 * BURST_BYTES:
            raise OffloadError('the payload hardly exceeds the burst', given=nbytes,
                               allowed=f'{10 * BURST_BYTES} bytes and more')
        rate_bps = 1e6 * rate_mbps
        lossy = LossyNetwork(rate_bps, rate_bps, loss=loss)
        with lossy if loss else Network(rate_bps, rate_bps) as network:
            for _ in range(rounds):
                for way in ways:
                    transfers += measure(way, rate_mbps, nbytes, network)
        kept = print_table(rate_mbps, nbytes, loss, transfers) and kept
    return transfers, kept


def main() -> int:
    """Measure, 1 if an aim is missed; or be one end."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n', 1)[0])
    parser.add_argument('--rates', default='1,10,80', help='of the link [Mbit/s]')
    parser.add_argument('--kilobytes', type=int, default=400, help='payload [1000 bytes]')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--loss', type=float, default=0.0, help='share of the packets, 0..1')
    parser.add_argument('--ways', default=','.join(WAYS), help='which of them')
    parser.add_argument('--json', type=Path, help='write all transfers there')
    for role in ('--receive', '--send', '--to'):
        parser.add_argument(role, help=argparse.SUPPRESS)
    parser.add_argument('--bytes', type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receive:
        receive(arguments.receive, arguments.bytes)
    elif arguments.send:
        send(arguments.send, arguments.bytes, arguments.to)
    elif why_no_network():
        raise SystemExit(f'no shaped link: {why_no_network()}')
    else:
        rates = [float(rate) for rate in arguments.rates.split(',')]
        with ending_politely():
            transfers, kept = compare(
                rates, 1000 * arguments.kilobytes, arguments.rounds, arguments.ways.split(','),
                arguments.loss,
            )
        if arguments.json:
            rows: list[dict[str, Any]] = [vars(transfer) for transfer in transfers]
            arguments.json.write_text(json.dumps(rows, indent=1), encoding='utf-8')
        return 0 if kept else 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
