"""What plans with two cuts and placements over branches bring, on measured profiles.

Run::

    dnn-offload profile torchvision:googlenet --weights random --output googlenet.json
    python benchmarks/plan_shapes.py googlenet.json ...

Plans ``auto`` in two grids of conditions and counts which shape of plan wins: uplink = downlink,
load of the robot, layers that must stay there, and how many times as fast as the profiled machine
the server is. *gain* is how much faster the winner is than the best with one cut, at most over the
grid.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
import sys

from dnn_offload.cost.profile import Profile
from dnn_offload.planning import placement, two_cuts
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    LinkState,
    ServerState,
)
from dnn_offload.planning.search import ALL_SHAPES, plan

ALPHA_MS = 3.0
SHAPES = ('one cut', 'two cuts', 'placement', 'all local')
# name -> uplinks [Mbit/s], loads, private layers, speeds of the server
GRIDS: dict[str, tuple[Sequence[float], Sequence[float], Sequence[int], Sequence[float]]] = {
    'open': ((1, 3, 10, 30, 100, 300), (1, 1.5, 2, 4), (0, 1, 2, 4), (8,)),
    'private': ((1, 3, 10, 30, 100, 300), (1, 1.5, 2, 4), tuple(range(1, 20, 2)), (2, 4, 8, 30)),
}  # fmt: skip


def shape_of(best: Candidate) -> str:
    """Which of ``SHAPES`` a plan has."""
    if best.is_local:
        return 'all local'
    if best.frontier:
        return 'placement'
    return 'two cuts' if best.return_id else 'one cut'


def cases(grid: str, profile: Profile) -> Iterator[tuple[str, Conditions, int]]:
    """Conditions of a grid in words, as the planner takes them, and how many layers stay."""
    for mbps, load, private_layers, speed in product(*GRIDS[grid]):
        link = LinkState(ALPHA_MS, 1e6 * mbps, ALPHA_MS, 1e6 * mbps, 1.0)
        server = ServerState('server', profile, link, load_factor=1.0 / speed)
        where = (
            f'{mbps:g} Mbit/s, load {load:g}, {private_layers} private layers, server {speed:g} '
            'times as fast'
        )
        yield where, Conditions(profile, load, 1.0, (server,)), private_layers


def judge(profile: Profile, grid: str) -> tuple[Counter[str], dict[str, tuple[float, str]]]:
    """How often each shape wins, and its largest gain over one cut with where that is."""
    wins: Counter[str] = Counter()
    gains: dict[str, tuple[float, str]] = {}
    for where, conditions, private_layers in cases(grid, profile):
        wanted = Constraints(private_layers, shapes=ALL_SHAPES, most=1)
        best = plan('auto', conditions, wanted)[0]
        shape = shape_of(best)
        wins[shape] += 1
        if shape in ('two cuts', 'placement'):
            one = plan('auto', conditions, Constraints(private_layers, most=1))[0]
            gain = 1.0 - best.latency_ms / one.latency_ms
            gains[shape] = max(gains.get(shape, (0.0, '')), (gain, where))
    return wins, gains


def main() -> int:
    """Print a line per profile and grid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('profiles', nargs='+', type=Path, metavar='PROFILE.json')
    arguments = parser.parse_args()
    print(f'shapes beside one cut: {two_cuts.SHAPE}, {placement.SHAPE}')
    for path in arguments.profiles:
        profile = Profile.from_json(path.read_text(encoding='utf-8'))
        for grid in GRIDS:
            wins, gains = judge(profile, grid)
            counts = ', '.join(f'{shape} {wins[shape]}' for shape in SHAPES)
            print(f'{profile.model}, {grid}, {wins.total()} conditions: {counts}', flush=True)
            for shape, (gain, where) in gains.items():
                print(f'  {shape}: gain up to {gain:.1%} ({where})')
    return 0


if __name__ == '__main__':
    sys.exit(main())
