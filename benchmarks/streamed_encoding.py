"""What sending while encoding gains: whole payloads and streamed ones in turn (root).

    python benchmarks/streamed_encoding.py [--rates 10,40,80] [--slower 1,10] [--json FILE]

A tensor of 3 MB (750 000 float32, half of them zeros, as behind a ReLU) goes as ``int8_zstd`` from
a robot's to a server's network namespace, over a link that ``tc tbf`` limits: once encoded whole
and then sent, once with its beginning sent while the rest is encoded, turn by turn. ``--slower``
encodes each block so many times, as a slower robot would take. Prints the medians of the time from
the beginning of the encoding to the answer, and their ratio. Needs the built package
(``. tools/env.sh``).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import signal
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from uplink_link import Robot, SERVER

from dnn_offload.codec import int8_blocks, zstd
from dnn_offload.codec.bundle import Encoder
from dnn_offload.codec.chunks import CHUNK_BYTES
from dnn_offload.testbed.network import Network, why_no_network

ROUNDS = 15
THIS = Path(__file__).resolve()


def measure(slower: int) -> None:
    """Be the robot; print one JSON line."""
    robot = Robot(0.0)
    if not robot.connected.wait(30.0):
        raise SystemExit('no connection within 30 s')
    cut = robot.model.cuts[-2]
    rng = np.random.default_rng(1)
    values = np.maximum(rng.standard_normal(cut.frontier[0].shape), 0.0).astype(np.float32)

    def compress(data: np.ndarray) -> bytes:
        for _ in range(slower - 1):
            zstd.compress(data)
        return zstd.compress(data)

    int8_blocks.compress = compress
    whole_ms: list[float] = []
    streamed_ms: list[float] = []
    encode_ms: list[float] = []
    for number in range(2 * (ROUNDS + 1)):
        began_s = time.perf_counter()
        encoder = Encoder([values], cut.frontier, 'int8_zstd')
        if number % 2:
            payload = encoder.take()
            encode_ms.append(1e3 * (time.perf_counter() - began_s))
            robot.send(cut, 'int8_zstd', payload)
            whole_ms.append(robot.wait(began_s))
        else:
            robot.send(cut, 'int8_zstd', encoder.take(CHUNK_BYTES), complete=False)
            while not encoder.done:
                part = encoder.take(CHUNK_BYTES)
                robot.uplink.send_more(SERVER, robot.seq, part, last=encoder.done)
            streamed_ms.append(robot.wait(began_s))
        time.sleep(0.05)
    print(json.dumps({
        'encode_ms': statistics.median(encode_ms),
        'bytes': len(payload),
        'whole_ms': statistics.median(whole_ms[1:]),
        'streamed_ms': statistics.median(streamed_ms[1:]),
    }), flush=True)
    robot.close()


def compare(rate_mbps: float, slower: int) -> dict[str, Any]:
    """One link and robot."""
    domain = {**os.environ, 'ROS_DOMAIN_ID': '87'}
    serving_script = THIS.with_name('uplink_link.py')
    with (
        Network(rate_mbps * 1e6, rate_mbps * 1e6) as network,
        subprocess.Popen(
            [*network.server.entrance, sys.executable, str(serving_script), '--serve'], env=domain
        ) as serving,
    ):
        try:
            result = subprocess.run(
                [*network.robot.entrance, sys.executable, str(THIS), '--measure', str(slower)],
                env=domain, stdout=subprocess.PIPE, text=True, check=True,
            )
        finally:
            serving.send_signal(signal.SIGINT)
    (line,) = (line for line in result.stdout.splitlines() if line.startswith('{'))
    return {'rate_mbps': rate_mbps, 'slower': slower, **json.loads(line)}


def main() -> None:
    """Run all links and robots."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--rates', default='10,40,80', help='emulated links [Mbit/s]')
    parser.add_argument('--slower', default='1,10', help='times that encoding takes')
    parser.add_argument('--json', type=Path, help='write all figures there')
    parser.add_argument('--measure', type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    why_not = why_no_network()
    if why_not:
        raise SystemExit(f'not measured: {why_not}')
    rows = []
    print('Mbit/s  slower  encode     kB    whole  streamed [ms]  ratio')
    for rate in arguments.rates.split(','):
        for slower in arguments.slower.split(','):
            row = compare(float(rate), int(slower))
            rows.append(row)
            print(
                f'{row["rate_mbps"]:6.0f}  {row["slower"]:6d}  {row["encode_ms"]:6.1f} '
                f'{row["bytes"] / 1e3:6.0f} {row["whole_ms"]:8.1f} {row["streamed_ms"]:9.1f} '
                f'     {row["streamed_ms"] / row["whole_ms"]:5.2f}', flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
