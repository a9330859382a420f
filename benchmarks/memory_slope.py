"""Does the robot's inference process grow? Streams for half an hour and fits a line.

    python benchmarks/memory_slope.py [--minutes 30] [--rate-hz 10] [--backend torch]

Prints the slope of the resident memory in MB per hour with its 95 % interval (block bootstrap:
neighbouring samples are alike), leaving out the first tenth, in which caches fill; and the same
of its anonymous part alone, since code that runs for the first time (another plan, another
codec) is resident from then on and is no leak, nor is the first moment in which the robot holds
one picture more than ever before (0.9 MB): a busy one does. So that this has happened before
measuring begins, each strategy plans for some seconds first, calm and beside busy processes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
import tempfile
import time

from aims import verdict
import numpy as np
import psutil

from dnn_offload.testbed.busy import BusyProcesses
from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.session import Session

AIM_MB_PER_H = 1.0
PERIOD_S = 2.0
WARM_UP = ('local', 'remote', 'neurosurgeon', 'dey2019', 'auto')
WARM_UP_S = 8.0  # for each
BUSY = 4  # processes
BLOCKS = 20
PARTS = 9  # a leak goes on in every part, a warm-up or a step does not


def slope_with_interval(times_h: np.ndarray, megabytes: np.ndarray) -> tuple[float, float, float]:
    """Slope [MB/h] and its 95 % interval, by resampling blocks of residuals."""
    slope, start = np.polyfit(times_h, megabytes, 1)
    line = slope * times_h + start
    blocks = np.array_split(megabytes - line, BLOCKS)
    random = np.random.default_rng(0)
    slopes = []
    for _ in range(2000):
        drawn = np.concatenate([blocks[i] for i in random.integers(0, BLOCKS, 2 * BLOCKS)])
        slopes.append(np.polyfit(times_h, line + drawn[:len(line)], 1)[0])
    low, high = np.percentile(slopes, [2.5, 97.5])
    return float(slope), float(low), float(high)


def anonymous_mb(pid: int) -> float:
    """Resident memory that is no file: heaps and stacks [MB]."""
    for line in Path(f'/proc/{pid}/status').read_text(encoding='ascii').splitlines():
        if line.startswith('RssAnon:'):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError('this kernel does not tell RssAnon')


def main() -> int:
    """Stream, sample, fit, print; 1 where the resident memory grows by more than the aim."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--minutes', type=float, default=30.0)
    parser.add_argument('--rate-hz', type=float, default=10.0, help='of the stream')
    parser.add_argument('--model', default='torchvision:squeezenet1_1')
    parser.add_argument('--backend', default='torch', help='of both sides; docs/backends.md')
    arguments = parser.parse_args()
    prepare_environment(95)
    times, sizes, heaps = [], [], []
    with tempfile.TemporaryDirectory() as folder, Session(
        Path(folder), model=arguments.model, server={}, rate_hz=arguments.rate_hz,
        common={'weights': 'random', 'backend': arguments.backend},
    ) as session:
        process = psutil.Process(session.pid('local_inference_node'))
        for busy in (0, BUSY):
            with BusyProcesses(busy, session.cores.robot):
                for strategy in WARM_UP:
                    session.recorder.set_parameters('partition_planner_node', strategy=strategy)
                    time.sleep(WARM_UP_S)
        start_s = time.monotonic()
        while time.monotonic() - start_s < 60.0 * arguments.minutes:
            session.fleet.check()
            times.append((time.monotonic() - start_s) / 3600.0)
            sizes.append(process.memory_info().rss / 1e6)
            heaps.append(anonymous_mb(process.pid))
            time.sleep(PERIOD_S)
        frames = session.recorder.latest.report.entered if session.recorder.latest.report else 0
    skip = len(times) // 10
    print(f'{arguments.minutes:.0f} min, {frames} frames')
    kept = {}
    for what, values in (('resident', sizes[skip:]), ('anonymous', heaps[skip:])):
        parts = [float(np.median(part)) for part in np.array_split(np.array(values), PARTS)]
        slope, low, high = slope_with_interval(np.array(times[skip:]), np.array(values))
        kept[what] = slope < AIM_MB_PER_H or low <= 0.0
        print(
            f'{what} {values[0]:.1f} -> {values[-1]:.1f} MB, slope {slope:+.2f} MB/h, 95 % '
            f'interval {low:+.2f} .. {high:+.2f} (aim: below {AIM_MB_PER_H:g} MB/h or not '
            f'distinguishable from 0: {verdict(kept[what])}); medians in turn [MB]: '
            + ' '.join(f'{part:.1f}' for part in parts)
        )
    return 0 if kept['resident'] else 1


if __name__ == '__main__':
    sys.exit(main())
