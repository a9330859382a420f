"""Made-up traces of what robots meet: seeded, so that the same name is the same trace.

Each function takes a seed and a length and gives a ``Recording`` with a row per ``ROW_S``.
Small scatter and slow swings lie over all of them (mean-reverting walks in the logarithm), since
nothing in a building stands still; what a trace is about comes on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
import math

import numpy as np
from numpy.typing import NDArray

from dnn_offload.errors import ConfigurationError
from dnn_offload.simulate.recording import COLUMNS, Recording, TIME
from dnn_offload.simulate.world import World

ROW_S = 0.5
SECONDS = 600.0
LONGEST_S = 86_400.0
CORES = 4

Floats = NDArray[np.float64]
_CALM = World(edge_load=1.1, uplink_bps=10e6, downlink_bps=15e6, alpha_ms=3.0, queue_ms=0.5)


def step_load(seed: int = 0, seconds: float = SECONDS) -> Recording:
    """Levels of load on the robot that last 20 to 60 s and change at once."""
    dice = np.random.default_rng(seed)
    load = np.empty(_rows(seconds))
    for begin, end in _spells(dice, len(load), 20.0, 60.0):
        load[begin:end] = dice.choice([1.05, 1.5, 2.0, 3.0, 5.0])
    return _recording('step_load', seed, dice, edge_load=load, uplink_bps=_slow(load))


def slam_bursts(seed: int = 0, seconds: float = SECONDS) -> Recording:
    """Mapping works in bursts of 1 to 6 s, 3 to 20 s apart; a loop closure now and then."""
    dice = np.random.default_rng(seed)
    load = np.full(_rows(seconds), 1.1)
    at_s = 0.0
    while at_s < seconds:
        at_s += dice.uniform(3.0, 20.0)
        closure = dice.random() < 0.12
        long_s = dice.uniform(8.0, 15.0) if closure else dice.uniform(1.0, 6.0)
        level = dice.uniform(4.0, 6.0) if closure else dice.uniform(1.6, 3.5)
        load[round(at_s / ROW_S) : round((at_s + long_s) / ROW_S)] = level
        at_s += long_s
    return _recording('slam_bursts', seed, dice, edge_load=load, uplink_bps=_slow(load))


def building_drive(seed: int = 0, seconds: float = SECONDS) -> Recording:
    """A drive through a building: good Wi-Fi, a dead corner, a crowded channel, over and over."""
    dice = np.random.default_rng(seed)
    rows = _rows(seconds)
    rate, alpha = np.full(rows, 30e6), np.full(rows, 2.5)
    up = np.ones(rows)
    kinds = ('good', 'edge', 'dead', 'good', 'crowded')
    for number, (begin, end) in enumerate(_spells(dice, rows, 15.0, 45.0)):
        kind = kinds[number % len(kinds)]
        if kind == 'edge':  # away from the access point: the rate falls and comes back
            way = np.linspace(-1.0, 1.0, end - begin)
            rate[begin:end] = 30e6 * np.exp(-4.0 * (1.0 - way**2))
        elif kind == 'dead':
            rate[begin:end] = 0.15e6
            middle = (begin + end) // 2
            up[middle : min(middle + round(dice.uniform(3.0, 8.0) / ROW_S), end)] = 0.0
        elif kind == 'crowded':  # others take turns: half of the rate, or a tenth, and waiting
            rate[begin:end] = 30e6 * dice.choice([0.5, 0.1, 0.04], size=end - begin)
            alpha[begin:end] = dice.uniform(4.0, 30.0, size=end - begin)
    return _recording(
        'building_drive', seed, dice, edge_load=np.full(rows, 1.6), uplink_bps=rate,
        downlink_bps=1.5 * rate, alpha_ms=alpha, server_up=up,
    )


def busy_server(seed: int = 0, seconds: float = SECONDS) -> Recording:
    """A server that others use too: queues, slow spells, and twice a restart."""
    dice = np.random.default_rng(seed)
    rows = _rows(seconds)
    load, queue, up = np.ones(rows), np.full(rows, 0.5), np.ones(rows)
    for begin, end in _spells(dice, rows, 10.0, 40.0):
        others = int(dice.choice([0, 0, 1, 2, 4, 8]))
        load[begin:end] = 1.0 + 0.8 * others
        queue[begin:end] = 0.5 + 6.0 * others
    for share in (0.35, 0.7):
        begin = round((share + dice.uniform(-0.05, 0.05)) * rows)
        up[begin : begin + round(dice.uniform(4.0, 12.0) / ROW_S)] = 0.0
    return _recording(
        'busy_server', seed, dice, edge_load=np.full(rows, 2.0), server_load=load,
        queue_ms=queue, server_up=up,
    )


def slow_drift(seed: int = 0, seconds: float = SECONDS) -> Recording:
    """Load and link swing slowly, over minutes: the best plan changes without any step."""
    dice = np.random.default_rng(seed)
    t = np.arange(_rows(seconds)) * ROW_S
    phase = dice.uniform(0.0, 2.0 * math.pi, size=2)
    load = np.exp(0.6 + 0.6 * np.sin(2 * math.pi * t / 240.0 + phase[0]))
    rate = np.exp(math.log(5e6) + 1.3 * np.sin(2 * math.pi * t / 170.0 + phase[1]))
    return _recording(
        'slow_drift', seed, dice, edge_load=load, uplink_bps=rate, downlink_bps=1.5 * rate
    )


def bandwidth_sweep(seed: int = 0, seconds: float = SECONDS) -> Recording:
    """From 16 kbit/s to 80 Mbit/s and back, by the same factor each second."""
    dice = np.random.default_rng(seed)
    way = 1.0 - np.abs(np.linspace(-1.0, 1.0, _rows(seconds)))
    rate = 16e3 * (80e6 / 16e3) ** way
    return _recording(
        'bandwidth_sweep', seed, dice, edge_load=np.full(len(rate), 2.0), uplink_bps=rate,
        downlink_bps=rate,
    )


GENERATED: dict[str, Callable[[int, float], Recording]] = {
    make.__name__: make
    for make in (
        step_load, slam_bursts, building_drive, busy_server, slow_drift, bandwidth_sweep
    )
}


def generate(name: str, seed: int = 0, seconds: float = SECONDS) -> Recording:
    """A made-up trace by name.

    Raises:
        ConfigurationError: No such trace, or an impossible length.
    """
    if name not in GENERATED:
        raise ConfigurationError('unknown trace', given=name, allowed=', '.join(GENERATED))
    if not ROW_S <= seconds <= LONGEST_S:
        raise ConfigurationError(
            'length of a trace', given=seconds, allowed=f'{ROW_S:g}..{LONGEST_S:g} s'
        )
    return GENERATED[name](seed, seconds)


def _slow(like: Floats) -> Floats:
    """A link on which load decides: 2.5 Mbit/s."""
    return np.full(len(like), 2.5e6)


def _rows(seconds: float) -> int:
    return max(round(seconds / ROW_S), 1)


def _spells(
    dice: np.random.Generator, rows: int, shortest_s: float, longest_s: float
) -> Iterator[tuple[int, int]]:
    """Spells of random length, one after the other: first row, row behind the last."""
    begin = 0
    while begin < rows:
        end = min(begin + round(dice.uniform(shortest_s, longest_s) / ROW_S), rows)
        yield begin, end
        begin = end


def _walk(dice: np.random.Generator, rows: int, scatter: float, memory_s: float) -> Floats:
    """Log-normal mean-reverting factor, (rows,), of this standard deviation."""
    keep = math.exp(-ROW_S / memory_s)
    noise = scatter * math.sqrt(1.0 - keep**2) * dice.standard_normal(rows)
    level, path = 0.0, np.empty(rows)
    for row in range(rows):
        level = keep * level + noise[row]
        path[row] = level
    return np.asarray(np.exp(path))


def _recording(
    name: str, seed: int, dice: np.random.Generator, **columns: Floats
) -> Recording:
    """Columns with the usual unrest, as a recording; others are as on a calm day."""
    rows = len(next(iter(columns.values())))
    calm = vars(_CALM)
    values = {c: np.broadcast_to(np.asarray(v, float), rows) for c, v in calm.items()} | columns
    unrest = {
        'edge_load': (0.05, 5.0), 'server_load': (0.05, 5.0), 'uplink_bps': (0.15, 10.0),
        'downlink_bps': (0.15, 10.0), 'alpha_ms': (0.2, 2.0), 'queue_ms': (0.4, 2.0),
    }
    for column, (scatter, memory_s) in unrest.items():
        least, most, _ = COLUMNS[column]
        path = values[column] * _walk(dice, rows, scatter, memory_s)
        values[column] = np.clip(path, max(least, 16e3 if column.endswith('bps') else 0.0), most)
    worlds = []
    for row in range(rows):
        made = {column: float(path[row]) for column, path in values.items()}
        made['server_up'] = made['server_up'] >= 0.5
        made['edge_load'] = max(made['edge_load'], 1.0)
        made['server_load'] = max(made['server_load'], 1.0)
        worlds.append(replace(_CALM, **made))  # type: ignore[arg-type]
    return Recording(
        name if seed == 0 else f'{name}:{seed}', tuple(row * ROW_S for row in range(rows)),
        tuple(worlds), (math.nan,) * rows, (TIME, *(c for c in calm)), CORES,
        f'generated, seed {seed}',
    )
