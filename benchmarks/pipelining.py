"""How well the stages of successive frames overlap with real nodes, and how old results get.

    python benchmarks/pipelining.py [--seconds 6] [--rounds 2]

in the package's environment (``source tools/env.sh``). Robot and server on one core each run
SqueezeNet, cut by hand near 200 kB (raw), under uplink limits that make one stage after the other
the slowest. Pictures come faster than any stage. ``overlap`` = results per second times the
slowest stage's median time; aim: >= 0.9, and a latency (p95) below the sum of the stages plus
two turns of the slowest. Windows are measured in turn. In exact, virtual time:
``test/test_pipelining.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import statistics
import tempfile

import numpy as np

from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.session import Session

TENSOR_BYTES = 200_000
UPLINKS_BPS = {'no limit': 0.0, '60 Mbit/s': 60e6, '15 Mbit/s': 15e6}
WINDOWS = (2, 4)
PICTURES_HZ = 60.0


def stages_ms(row: FrameRow) -> dict[str, float]:
    """Time at each place that takes one frame at a time [ms]."""
    return {
        'robot': row.preprocess_ms + row.head_ms + row.encode_ms,
        'uplink': row.uplink_ms,
        'server': row.decode_ms + row.tail_ms,
        'downlink': row.downlink_ms,
        'output': row.finish_ms,
    }


def show(uplink: str, window: int, rows: list[FrameRow]) -> None:
    """Print one line."""
    good = [row for row in rows if row.outcome == 'remote']
    if len(good) < 10:
        raise SystemExit(f'only {len(good)} frames came back under {uplink}, window {window}')
    found = [stages_ms(row) for row in good]
    middle = {name: statistics.median(row[name] for row in found) for name in found[0]}
    slowest = max(middle, key=lambda name: middle[name])
    ends_s = sorted(row.result_time_s for row in good)
    rate_hz = (len(ends_s) - 1) / (ends_s[-1] - ends_s[0])
    p95_ms = float(np.quantile([row.latency_ms for row in good], 0.95))
    print(
        f'{uplink:10} window {window}: {rate_hz:5.1f} Hz, slowest {slowest} '
        f'{middle[slowest]:.1f} of {sum(middle.values()):.1f} ms, overlap '
        f'{1e-3 * rate_hz * middle[slowest]:.2f}, latency median '
        f'{statistics.median(row.latency_ms for row in good):.0f}, p95 {p95_ms:.0f} ms',
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=6.0, help='per line [s]')
    parser.add_argument('--rounds', type=int, default=2)
    arguments = parser.parse_args()
    prepare_environment(97)
    with tempfile.TemporaryDirectory() as folder, Session(
        Path(folder), model='torchvision:squeezenet1_1', rate_hz=PICTURES_HZ, server={},
        strategy='', robot={'deadline_ms': 0.0},
        common={'backend': 'torch', 'weights': 'random'},
    ) as session:
        cut = session.run_inner_cut(TENSOR_BYTES)
        print(f'cut {cut.index} ({cut.label}), {cut.frontier_bytes} bytes')
        for _ in range(arguments.rounds):
            for uplink, bps in UPLINKS_BPS.items():
                for window in WINDOWS:
                    session.limit_uplink(bps)
                    session.recorder.set_parameters('local_inference_node', window=window)
                    rows = session.collect(arguments.seconds, settle_s=2.0)
                    show(uplink, window, rows)


if __name__ == '__main__':
    main()
