"""The nodes against the bare network, on this machine: what the package itself costs.

Prints one line per figure, with the aim of the project and a verdict beside it; exits with 1 when
an aim is missed. Machines are shared and noisy: where two times are compared, they are measured in
turn. What reacts to load and bandwidth is in ``reaction.py``.

    python benchmarks/loopback.py [--only NAME ...] [--json FILE]

in the package's environment (``source tools/env.sh``).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
import json
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time

from aims import Aim, judge, told
from memory_slope import anonymous_mb
import psutil
from reaction import COMMON, load_gone, load_step, uplink_step

from dnn_offload.ending import ending_politely
from dnn_offload.report.records import FrameRow
from dnn_offload.runtime.model_cache import cache_key, ModelRequest
from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.network import Network, why_no_network
from dnn_offload.testbed.recorder import wait_until
from dnn_offload.testbed.session import ROBOT, Session

MODEL = 'torchvision:squeezenet1_1'
TENSOR_BYTES = 100_000
SLOW_BPS = 1e6

_BARE = """
import json, os, statistics, sys, time
from pathlib import Path
from dnn_offload.runtime.backends.torch_backend import TorchBackend
from dnn_offload.runtime.pictures import natural_picture
model = TorchBackend().load(Path(sys.argv[1]))
model.set_threads(1)
whole = model.segment(0, len(model.cuts) - 1)
_, height, width, _ = model.program.input.shape
picture = natural_picture(height, width, 1)
for line in sys.stdin:
    times = []
    for _ in range(20):
        began_s = time.perf_counter()
        model.run(whole, [picture])
        times.append(1e3 * (time.perf_counter() - began_s))
        time.sleep(0.08)
    print(statistics.median(times), flush=True)
"""


def _median(rows: list[FrameRow], value: Callable[[FrameRow], float]) -> float:
    return statistics.median(value(row) for row in rows if row.has_result)


def _model_folder() -> Path:
    key = cache_key(ModelRequest(MODEL, weights=COMMON['weights'], backend=COMMON['backend']))
    return Path('~/.cache/dnn_offload').expanduser() / key


def _has_result(rows: list[FrameRow]) -> bool:
    return any(row.has_result for row in rows)


def local_overhead(folder: Path) -> dict[str, float | str]:
    """All-local through the nodes, and the bare network at the same rate on the same core."""
    node_ms: list[float] = []
    bare_ms: list[float] = []
    before_ms: list[float] = []
    with Session(folder, model=MODEL, common=COMMON, strategy='local') as session:
        core = session.cores.robot
        camera = session.fleet.nodes[f'{ROBOT}/camera_node']
        bare = subprocess.Popen(
            [sys.executable, '-c', _BARE, str(_model_folder())], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )
        assert bare.stdin is not None and bare.stdout is not None
        try:
            for _ in range(6):
                camera.pause(True)
                time.sleep(0.3)
                bare.stdin.write('\n')
                bare.stdin.flush()
                bare_ms.append(float(bare.stdout.readline()))
                camera.pause(False)
                rows = session.collect(3.0, settle_s=0.5)
                node_ms.append(_median(rows, lambda row: row.latency_ms - row.age_ms))
                before_ms.append(_median(rows, lambda row: row.age_ms))
        finally:
            camera.pause(False)
            bare.kill()
    node, base = statistics.median(node_ms), statistics.median(bare_ms)
    return {
        'figure': 'all-local, from the image callback on, over the bare network',
        'nodes_ms': node, 'bare_ms': base, 'extra_ms': node - base,
        'extra_percent': 100.0 * (node - base) / base,
        'before_callback_ms': statistics.median(before_ms),
    }


def remote_overhead(folder: Path) -> dict[str, float | str]:
    """A raw tensor of about 100 kB to the server and back, less the computing on both sides."""
    with Session(folder, model=MODEL, common=COMMON, server={}, strategy='') as session:
        cut = session.run_inner_cut(TENSOR_BYTES)
        rows = session.collect(8.0, settle_s=3.0)
        rows = [row for row in rows if row.outcome == 'remote' and row.codec == 'raw']
    if len(rows) < 20:
        raise SystemExit(f'only {len(rows)} frames went to the server')

    def extra_ms(row: FrameRow) -> float:
        computing = row.preprocess_ms + row.head_ms + row.tail_ms + row.finish_ms
        return row.latency_ms - row.age_ms - row.wait_ms - computing

    return {
        'figure': f'remote over loopback, {cut.frontier_bytes} bytes, from the start of work on, '
        'less computing',
        'extra_ms': _median(rows, extra_ms),
        'before_callback_ms': _median(rows, lambda row: row.age_ms),
        'waiting_ms': _median(rows, lambda row: row.wait_ms),
        'uplink_ms': _median(rows, lambda row: row.uplink_ms),
        'downlink_ms': _median(rows, lambda row: row.downlink_ms), 'frames': float(len(rows)),
    }


def picture_delivery(folder: Path) -> dict[str, float | str]:
    """640x480 pictures at 30 fps: how many enter local_inference_node."""
    seconds = 20.0
    with Session(folder, strategy='local', rate_hz=30.0) as session:
        rows = session.collect(seconds, settle_s=2.0)
    return {
        'figure': '640x480 pictures at 30 fps that arrive',
        'arrived_percent': 100.0 * len(rows) / (30.0 * seconds),
    }


def first_answer(folder: Path) -> dict[str, float | str]:
    """Start of the robot's nodes to the first result, with a cached profile."""
    times_s = []
    for number in range(3):
        with Session(
            folder / str(number), strategy='local', camera_first=True
        ) as session:
            rows = session.recorder.rows
            wait_until(partial(_has_result, rows), 20.0, 0.01)
            first = min(row.result_time_s for row in rows if row.has_result)
            started_s = session.inference_started_s - session.recorder.started_s
            times_s.append(first - started_s)
    return {
        'figure': 'first answer after start, cached profile',
        'median_s': statistics.median(times_s), 'worst_s': max(times_s),
    }


def memory_and_lock(folder: Path) -> dict[str, float | str]:
    """Resident memory with SqueezeNet, and the longest hold of Python's lock, also slowly."""
    with Session(
        folder, model=MODEL, common=COMMON, server={}, robot={'gil_monitor': True},
        strategy='',
    ) as session:
        session.collect(5.0, settle_s=3.0)
        session.run_inner_cut(4 * TENSOR_BYTES)
        longest_ms = {}
        for limit_bps in (0.0, 1e6):
            session.recorder.set_parameters('local_inference_node', max_uplink_bps=limit_bps)
            session.collect(2.0)
            session.recorder.take_gil_longest_ms()
            session.collect(15.0)
            longest_ms[limit_bps] = session.recorder.take_gil_longest_ms()
        pid = session.pid('local_inference_node')
        memory, own_mb = psutil.Process(pid).memory_info().rss, anonymous_mb(pid)
    return {
        'figure': 'longest hold of the interpreter lock; resident memory',
        'gil_longest_ms': longest_ms[0.0],
        'gil_longest_at_1_mbit_ms': longest_ms[1e6], 'resident_mb': memory / 1e6,
        'anonymous_mb': own_mb,
    }


def lock_over_a_link(folder: Path) -> dict[str, float | str]:
    """The longest hold of Python's lock while tensors of seconds cross a shaped link (root)."""
    figure = f'longest hold of the interpreter lock over a link of {SLOW_BPS / 1e6:.0f} Mbit/s'
    why_not = why_no_network()
    if why_not:
        return {'figure': f'{figure}: not measured, {why_not}'}
    with (
        Network(10.0 * SLOW_BPS, 10.0 * SLOW_BPS) as network,  # they find each other soon
        Session(
            folder, model=MODEL, common=COMMON, server={}, strategy='', network=network,
            robot={'gil_monitor': True, 'deadline_ms': 60_000.0},
        ) as session,
    ):
        session.run_inner_cut(4 * TENSOR_BYTES)
        session.collect(3.0, settle_s=3.0)
        network.shape(SLOW_BPS, SLOW_BPS)
        session.collect(5.0)
        session.recorder.take_gil_longest_ms()
        rows = [row for row in session.collect(30.0) if row.outcome == 'remote']
        longest_ms = session.recorder.take_gil_longest_ms()
    if not rows:
        raise SystemExit('no frame crossed the link')
    return {
        'figure': figure, 'gil_longest_ms': longest_ms,
        'frames': float(len(rows)), 'bytes_each': float(rows[0].uplink_bytes),
        'uplink_ms': _median(rows, lambda row: row.uplink_ms),
    }


FIGURES: dict[str, tuple[Callable[[Path], dict[str, float | str]], tuple[Aim, ...]]] = {
    'local_overhead': (
        local_overhead, (Aim('extra_percent', 10.0, '%', instead=Aim('extra_ms', 3.0, 'ms')),),
    ),
    'remote_overhead': (remote_overhead, (Aim('extra_ms', 3.0, 'ms'),)),
    'picture_delivery': (picture_delivery, (Aim('arrived_percent', 99.0, '%', at_least=True),)),
    'load_step': (load_step, (Aim('median_s', 1.0, 's', most=('worst_s', 2.0)),)),
    'load_gone': (load_gone, (Aim('median_s', 1.0, 's', most=('worst_s', 2.0)),)),
    'uplink_step': (
        uplink_step, (Aim('slower_median_s', 1.0, 's'), Aim('faster_median_s', 1.0, 's')),
    ),
    'first_answer': (first_answer, (Aim('median_s', 3.0, 's', most=('worst_s', 5.0)),)),
    'memory_and_lock': (memory_and_lock, (
        Aim('gil_longest_ms', 10.0, 'ms'), Aim('gil_longest_at_1_mbit_ms', 10.0, 'ms'),
        Aim('resident_mb', 450.0, 'MB'),
    )),
    'lock_over_a_link': (lock_over_a_link, (Aim('gil_longest_ms', 10.0, 'ms'),)),
}


def measure(name: str) -> dict[str, object]:
    """One figure, printed and judged."""
    figure, aims = FIGURES[name]
    with tempfile.TemporaryDirectory() as folder:
        result = figure(Path(folder))
    aim = told(aims, result)
    numbers = ', '.join(
        f'{key} {value:.2f}' for key, value in result.items() if isinstance(value, float)
    )
    print(f'{result["figure"]}: {numbers} (aim: {aim})', flush=True)
    return {**result, 'aim': aim, 'met': judge(aims, result)}


def in_a_process(name: str) -> dict[str, dict[str, object]]:
    """One figure by name, in a process of its own: DDS keeps what a network was like.

    One that cannot be had is missed, and the others are measured all the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'figure.json')
        own = [sys.executable, __file__, '--only', name, '--json', str(path)]
        status = subprocess.run(own, check=False).returncode
        if not path.is_file():
            print(f'{name} ended with status {status}', flush=True)
            return {name: {'figure': name, 'met': False}}
        found: dict[str, dict[str, object]] = json.loads(path.read_text(encoding='utf-8'))
    return found


def main() -> int:
    """Measure and print; 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', nargs='+', choices=FIGURES, default=list(FIGURES))
    parser.add_argument('--json', type=Path, help='write the figures to this file, too')
    arguments = parser.parse_args()
    results = {}
    with ending_politely():
        if len(arguments.only) == 1:
            prepare_environment(96)
            results[arguments.only[0]] = measure(arguments.only[0])
        else:
            for name in arguments.only:
                results |= in_a_process(name)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    missed = [name for name, result in results.items() if result['met'] is False]
    print(f'missed: {", ".join(missed)}' if missed else 'no aim is missed')
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
