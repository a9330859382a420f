"""What a camera's JPEG costs the robot's processor: passed on, or brought to size here first.

    python benchmarks/jpeg_passing.py [--seconds 4] [--rounds 5] [--rate 15] [--json FILE]

in the package's environment (``source tools/env.sh``). The plan sends the picture; the ways take
turns, pictures are of 640x480. Time is the kernel's CPU time of the whole process
``local_inference_node``, per frame; other work of the machine touches all ways alike.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import statistics
import tempfile

import psutil

from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.recorder import wait_until
from dnn_offload.testbed.session import SERVER_ID, Session

WAYS = {
    'passed on': {'image_transport': 'compressed', 'pass_jpeg': 'always'},
    'to size': {'image_transport': 'compressed', 'pass_jpeg': 'never'},
    'raw': {'image_transport': 'raw', 'pass_jpeg': 'never'},
}
SETTLE_S = 2.0  # another subscription takes up to a second


def cpu_ms(process: psutil.Process) -> float:
    """CPU time of a process and its threads so far [ms]."""
    times = process.cpu_times()
    return 1e3 * float(times.user + times.system)


def measure(session: Session, way: str, seconds: float) -> tuple[float, list[FrameRow]]:
    """CPU time per frame [ms] one way, and the frames."""
    session.recorder.set_parameters('local_inference_node', **WAYS[way])
    session.collect(SETTLE_S)
    process = psutil.Process(session.pid('local_inference_node'))
    before_ms = cpu_ms(process)
    rows = [row for row in session.collect(seconds) if row.outcome == 'remote']
    return (cpu_ms(process) - before_ms) / max(len(rows), 1), rows


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=4.0, help='per way and round')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--rate', type=float, default=15.0, help='pictures per second [Hz]')
    parser.add_argument('--json', type=Path)
    options = parser.parse_args()
    prepare_environment(96)
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    frames: dict[str, list[FrameRow]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, Session(
        Path(folder), rate_hz=options.rate, strategy='', robot={'deadline_ms': 0.0}, server={},
    ) as session:
        profile = session.recorder.profile
        assert profile is not None
        session.recorder.publish_plan(
            profile.model_identity, profile.cuts[0].cut_id, 'jpeg', SERVER_ID
        )
        if not wait_until(lambda: session.recorder.rows[-1].outcome == 'remote', 20.0):
            raise SystemExit('the plan did not run')
        for number in range(options.rounds):
            for way in WAYS if number % 2 else reversed(list(WAYS)):
                spent_ms, rows = measure(session, way, options.seconds)
                cpu[way].append(spent_ms)
                frames[way] += rows
    for way in WAYS:
        rows = frames[way]
        print(
            f'{way:10} {statistics.median(cpu[way]):6.2f} ms CPU a frame, latency '
            f'{statistics.median(row.latency_ms for row in rows):6.1f} ms, '
            f'{statistics.median(row.uplink_bytes for row in rows) / 1e3:6.1f} kB, '
            f'{len(rows)} frames'
        )
    for other in ('to size', 'raw'):
        ratios = [a / b for a, b in zip(cpu['passed on'], cpu[other], strict=True)]
        print(
            f'passed on over {other}, {len(ratios)} rounds in turn: median '
            f'{statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}'
        )
    if options.json is not None:
        options.json.write_text(json.dumps({'cpu_ms': cpu}, indent=2) + '\n')


if __name__ == '__main__':
    main()
