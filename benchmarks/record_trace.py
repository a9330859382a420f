"""Record what a simulation replays: load of this machine, rates of a real link, a real server.

``load`` starts and stops real work (navigation: mapping and path planning, or busy loops)
after a seeded schedule. Meanwhile a small convolution in numpy, in a process of its own, runs
at 10 Hz: its wall time over its CPU time before any work is the true ``edge_load``.
The load sources of ``dnn_offload.cost`` are read beside it and written to a second file with
``--sources``. ``link`` (root) sends 60 kB over a veth pair shaped by tbf while the rates
change, and writes the rates and fixed costs that were measured, each way.

Run: ``nice python benchmarks/record_trace.py load --kind navigation --seconds 180 --out F``,
``python benchmarks/record_trace.py link --seconds 180 --out F``.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
from dataclasses import replace
import datetime
import math
import os
from pathlib import Path
import platform
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

import numpy as np

from dnn_offload.cost.load import LoadReadings, LoadTracker
from dnn_offload.own_program import own_program
from dnn_offload.simulate.recording import Recording
from dnn_offload.simulate.world import World
from dnn_offload.testbed.processes import bound_to_us

FRAME_S = 0.1
ROW_S = 0.5
WORK_MS = 15.0
CALM_S = 8.0               # before any work: what the frames are compared with
LARGE_BYTES = 65_536 * 2   # well above the shaper's burst
BURST_BYTES = 8_192
NAVIGATION = own_program('dnn_offload.demo.navigation')
LOOP = (sys.executable, '-c', 'while True: sum(range(10000))')
SOURCES = ('schedstat', 'procs_running', 'probe', 'loadavg_1min')


# ---- load ------------------------------------------------------------------------------------


def frames() -> None:
    """The stream, in a process of its own: prints start, wall and CPU time of each frame."""
    picture = np.random.default_rng(0).standard_normal((64, 64, 32)).astype(np.float32)
    weights = np.random.default_rng(1).standard_normal((9 * 32, 32)).astype(np.float32)

    def layer() -> float:
        """A 3x3 convolution as one matrix product, and a ReLU: (64, 64, 32) -> one number."""
        # 1 for the channels, and no axis=(0, 1): numpy's types know a single axis only.
        windows = np.lib.stride_tricks.sliding_window_view(picture, (3, 3, 1))
        return float(np.maximum(windows.reshape(-1, 9 * 32) @ weights, 0.0).sum())

    for _ in range(5):
        layer()
    began = time.thread_time()
    for _ in range(20):
        layer()
    repeats = max(round(WORK_MS * 20 / 1e3 / (time.thread_time() - began)), 1)
    due_s = time.monotonic()
    while os.getppid() != 1:
        due_s = max(due_s + FRAME_S, time.monotonic())
        time.sleep(max(due_s - time.monotonic(), 0.0))
        start_s, cpu_s = time.monotonic(), time.thread_time()
        for _ in range(repeats):
            layer()
        wall_ms, cpu_ms = 1e3 * (time.monotonic() - start_s), 1e3 * (time.thread_time() - cpu_s)
        print(f'{start_s:.4f} {wall_ms:.4f} {cpu_ms:.4f}', flush=True)


def schedule(kind: str, seconds: float, seed: int) -> list[tuple[float, int]]:
    """(when [s], processes that work from then on), the calm beginning first."""
    dice = random.Random(seed)
    changes = [(0.0, 0)]
    now_s = CALM_S
    while now_s < seconds:
        if kind == 'navigation':  # mapping in bursts, a second or a few, with pauses
            changes.append((now_s, dice.choice((1, 1, 2))))
            now_s += dice.uniform(2.0, 12.0)
            changes.append((now_s, dice.choice((0, 1))))
            now_s += dice.uniform(3.0, 10.0)
        else:                     # levels that last
            changes.append((now_s, dice.choice((0, 0, 1, 2, 3))))
            now_s += dice.uniform(15.0, 30.0)
    return changes


def record_load(kind: str, seconds: float, seed: int) -> tuple[Recording, list[dict[str, float]]]:
    """Run the schedule; the truth twice a second, and what the load sources said."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
    stream = subprocess.Popen(
        [sys.executable, __file__, '--frames'], stdout=subprocess.PIPE, text=True,
        env=environment, preexec_fn=bound_to_us(),
    )
    work: list[subprocess.Popen[bytes]] = []
    tracker = LoadTracker()
    tracker.watch(stream.pid, (stream.pid,))
    assert stream.stdout is not None
    os.set_blocking(stream.stdout.fileno(), False)
    seen: list[tuple[float, float, float]] = []
    readings: list[tuple[float, LoadReadings]] = []
    rest = ''
    try:
        select.select([stream.stdout], [], [], 20.0)  # it says when it is ready
        began_s = time.monotonic()
        todo = schedule(kind, seconds, seed)
        tick = 0
        while time.monotonic() - began_s < seconds:
            now_s = time.monotonic()
            while todo and todo[0][0] <= now_s - began_s:
                _, wanted = todo.pop(0)
                while len(work) < wanted:
                    command = NAVIGATION if kind == 'navigation' else LOOP
                    work.append(subprocess.Popen(
                        command, stdout=subprocess.DEVNULL, preexec_fn=bound_to_us(),
                    ))
                while len(work) > wanted:
                    _end(work.pop())
            tracker.sample(now_s)
            if tick % 12 == 0:
                tracker.probe(now_s)
            if tick % 5 == 0:
                readings.append((now_s - began_s, tracker.readings(now_s)))
            with contextlib.suppress(OSError, TypeError):
                rest += stream.stdout.read() or ''
            *rows, rest = rest.split('\n')
            for row in rows:
                at_s, wall_ms, cpu_ms = (float(field) for field in row.split())
                seen.append((at_s - began_s, wall_ms, cpu_ms))
            tick += 1
            time.sleep(0.04)
    finally:
        for process in work:
            _end(process)
        _end(stream)
    return _as_recording(kind, seconds, seed, seen, readings)


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def _as_recording(
    kind: str,
    seconds: float,
    seed: int,
    seen: list[tuple[float, float, float]],
    readings: list[tuple[float, LoadReadings]],
) -> tuple[Recording, list[dict[str, float]]]:
    # CPU time, since others may be at work on this machine while nothing of ours is.
    calm_ms = statistics.median(cpu for at_s, _, cpu in seen if 1.0 <= at_s < CALM_S)
    times, worlds, averages, sources = [], [], [], []
    factor = 1.0
    for index in range(int(seconds / ROW_S)):
        now_s = index * ROW_S
        # Mean over the row and its neighbours: a frame of 15 ms alone is mostly scatter.
        near = [w for at_s, w, _ in seen if now_s - ROW_S / 2 <= at_s < now_s + 1.5 * ROW_S]
        factor = statistics.fmean(near) / calm_ms if near else factor
        said = next((r for at_s, r in readings if at_s >= now_s), readings[-1][1])
        times.append(now_s)
        worlds.append(World(edge_load=round(max(factor, 0.5), 3)))
        averages.append(said.loadavg_1min)
        sources.append(
            {'t_s': now_s, 'true': factor, **{s: float(getattr(said, s)) for s in SOURCES}}
        )
    note = (
        f'{kind} work started and stopped (seed {seed}) beside a numpy convolution at '
        f'{1 / FRAME_S:g} Hz, {calm_ms:.1f} ms calm; {_where_and_when()}'
    )
    recording = Recording(
        f'{kind}_load', tuple(times), tuple(worlds), tuple(averages),
        ('t_s', 'edge_load', 'loadavg'), len(os.sched_getaffinity(0)), note,
    )
    return recording, sources


# ---- link ------------------------------------------------------------------------------------


def rates(seconds: float, seed: int) -> list[tuple[float, float, float]]:
    """(when [s], uplink, downlink [bit/s]): a walk between 0.3 and 60 Mbit/s."""
    dice = random.Random(seed)
    level, now_s, found = math.log(20e6), 0.0, []
    while now_s < seconds:
        up = math.exp(level)
        found.append((now_s, up, up * dice.uniform(0.8, 2.0)))
        level += dice.gauss(0.0, 0.8)
        level = min(max(level, math.log(0.3e6)), math.log(60e6))
        now_s += dice.choice((1.0, 2.0, 4.0, 8.0, 15.0))
    return found


def serve(listener: socket.socket) -> None:
    """Answer each request: its size up, the wanted size down; one byte at its end up."""
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while True:
            head = _receive(connection, 8)
            if not head:
                return
            up, down = struct.unpack('!II', head)
            _receive(connection, up)
            connection.sendall(b'\0' * down)


def _receive(connection: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 16))
        if not part:
            return b''
        parts.append(part)
        count -= len(part)
    return b''.join(parts)


def exchange(connection: socket.socket, up: int, down: int) -> float:
    """Round trip with so many bytes each way [ms]."""
    start_s = time.perf_counter()
    connection.sendall(struct.pack('!II', up, down) + b'\0' * up)
    _receive(connection, down)
    return 1e3 * (time.perf_counter() - start_s)


def record_link(seconds: float, seed: int) -> Recording:
    """Shape a veth pair after a walk, measure it by real TCP transfers."""
    from dnn_offload.testbed.network import Network

    todo = rates(seconds, seed)
    times, worlds = [], []
    with Network(*todo[0][1:], burst_bytes=BURST_BYTES) as network:
        with network.inside(network.server):
            listener = socket.create_server((network.server.address, 0))
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        with network.inside(network.robot):
            connection = socket.create_connection(listener.getsockname(), timeout=60.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, listener:
            began_s = time.monotonic()
            while (now_s := time.monotonic() - began_s) < seconds:
                while todo and todo[0][0] <= now_s:
                    _, up_bps, down_bps = todo.pop(0)
                    network.shape(up_bps, down_bps, BURST_BYTES)
                small_ms = min(exchange(connection, 1, 1) for _ in range(3))
                up_ms = exchange(connection, LARGE_BYTES, 1) - small_ms
                down_ms = exchange(connection, 1, LARGE_BYTES) - small_ms
                times.append(round(now_s, 3))
                worlds.append(World(
                    uplink_bps=round(8e3 * LARGE_BYTES / max(up_ms, 0.1)),
                    downlink_bps=round(8e3 * LARGE_BYTES / max(down_ms, 0.1)),
                    alpha_ms=round(small_ms / 2.0, 3),
                ))
                time.sleep(max(ROW_S - (time.monotonic() - began_s - now_s), 0.05))
    times = [t - times[0] for t in times]
    note = (
        f'TCP, {LARGE_BYTES} bytes each way, over a veth pair shaped by tbf (burst '
        f'{BURST_BYTES} bytes, rates changed after seed {seed}); {_where_and_when()}'
    )
    return Recording(
        'shaped_link', tuple(times), tuple(worlds), (math.nan,) * len(times),
        ('t_s', 'uplink_bps', 'downlink_bps', 'alpha_ms'), 1, note,
    )


def _where_and_when() -> str:
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return f'{os.cpu_count()} cores, {platform.machine()}, {day}'


def main() -> int:
    """Record one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('what', nargs='?', choices=('load', 'link', 'server'), default='load')
    parser.add_argument('--out', type=Path, default=Path('trace.csv'))
    parser.add_argument('--kind', choices=('navigation', 'busy'), default='navigation')
    parser.add_argument('--seconds', type=float, default=180.0)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--name', default='', help='of the trace; default: by its kind')
    parser.add_argument('--sources', type=Path, help='what the load sources said, as CSV')
    parser.add_argument('--frames', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.frames:
        frames()
        return 0
    sources: list[dict[str, float]] = []
    if args.what == 'load':
        recording, sources = record_load(args.kind, args.seconds, args.seed)
    elif args.what == 'link':
        recording = record_link(args.seconds, args.seed)
    else:
        from record_server import record_server  # needs ROS, as nothing else here does

        recording = record_server(args.seconds, args.seed)
        recording = replace(recording, note=f'{recording.note}; {_where_and_when()}')
    recording = replace(recording, name=args.name or recording.name)
    args.out.write_text(recording.to_csv(), encoding='utf-8')
    print(f'{args.out}: {len(recording.times_s)} rows, {recording.duration_s:.0f} s')
    for source in SOURCES[:3]:
        errors = [abs(r[source] / r['true'] - 1) for r in sources if math.isfinite(r[source])]
        if errors:
            print(f'mean error of {source}: {100 * statistics.fmean(errors):.0f} %')
    if args.sources and sources:
        with args.sources.open('w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, list(sources[0]))
            writer.writeheader()
            writer.writerows(sources)
    return 0


if __name__ == '__main__':
    sys.exit(main())
