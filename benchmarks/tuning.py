"""Tune the planner over traces: regret and changes of plan for each setting, and a plot.

Every point replays all traces for three made-up networks (small, middle, large; the server five
times as fast): regret is the mean over all of them of ``Trace.typical_regret`` (one second on a
dead link decides the plain mean, and hides the rest), switches are per ten minutes. The grid is
``min_gain_ratio`` x ``hold_ticks``; other settings and the estimators' memories are swept one by
one around the defaults.

Run: ``nice python benchmarks/tuning.py [--seconds 100] [--plot docs/images/tuning.png]``; some ten
minutes of CPU time. With ``--resume FILE`` it can be stopped, and goes on with the settings that
are missing in the file; a file of other code must be deleted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
from dataclasses import replace
import importlib
import json
from multiprocessing import Pool
from pathlib import Path
import statistics
import sys
import time
from typing import Any

from dnn_offload.cost.profile import Profile
from dnn_offload.planning.session import PlannerSettings
from dnn_offload.report.tuning import plot_tuning
from dnn_offload.simulate.made_up import made_up_profile
from dnn_offload.simulate.replay import find, judge, replay, SETTLE_S

TRACES = (
    'slam_bursts', 'building_drive', 'busy_server', 'slow_drift', 'navigation_load+slow_drift',
    'slam_bursts:1+shaped_link',
)
NETWORKS: dict[str, dict[str, Any]] = {
    'small': {'cuts': 8, 'whole_ms': 12.0, 'largest_bytes': 300_000},
    'middle': {'cuts': 8, 'whole_ms': 40.0},
    'large': {'cuts': 8, 'whole_ms': 130.0, 'largest_bytes': 1_400_000},
}
RATIOS = (0.03, 0.12, 0.2)
TICKS = (1, 3, 6)
# Name -> (module, attribute, values); a module of '' is a field of PlannerSettings.
SWEEPS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    'least gain [ms]': ('', 'min_gain_ms', (0.0, 2.0, 6.0)),
    'cap on the demanded gain': ('planning.switch', 'MAX_NEEDED', (0.5, 0.75)),
    'link: half-life [s]': ('cost.transfer_fit', 'HALF_LIFE_S', (4.0, 8.0, 16.0)),
    'load: window of frames [s]': ('planning.edge_load', 'WINDOW_S', (0.5, 1.0, 2.0)),
}


def profiles(network: str) -> tuple[Profile, Profile]:
    """Robot and server."""
    shape = NETWORKS[network]
    return made_up_profile(**shape), made_up_profile(**shape, speed=5.0)


def default_of(module: str, attribute: str) -> float:
    """What is in force now."""
    owner = importlib.import_module(f'dnn_offload.{module}') if module else PlannerSettings()
    return float(getattr(owner, attribute))


@contextlib.contextmanager
def patched(module: str, attribute: str, value: float) -> Iterator[None]:
    """A constant of a module, changed for a while."""
    target = importlib.import_module(f'dnn_offload.{module}')
    before = getattr(target, attribute)
    setattr(target, attribute, value)
    try:
        yield
    finally:
        setattr(target, attribute, before)


Task = tuple[str, str, dict[str, float], float]


def scores_of(tasks: list[Task], jobs: int, resume: Path | None) -> list[dict[str, Any]]:
    """The scores of all settings, those in the file not computed again; prints each."""
    found: dict[str, dict[str, Any]] = {}
    if resume is not None and resume.exists():
        found = json.loads(resume.read_text(encoding='utf-8'))
    missing = [task for task in tasks if json.dumps(task) not in found]
    with Pool(jobs) as pool:
        for task, scored in zip(missing, pool.imap(score, missing), strict=True):
            found[json.dumps(task)] = scored
            print(
                f'{scored["values"]}: typical regret {100 * scored["regret"]:.2f} %, of the mean '
                f'{100 * scored["mean_regret"]:.2f} %, '
                f'{scored["switches"]:.1f} changes in ten minutes', flush=True,
            )
            if resume is not None:
                resume.write_text(json.dumps(found), encoding='utf-8')
    return [found[json.dumps(task)] for task in tasks]


def score(task: Task) -> dict[str, Any]:
    """All traces and networks under one setting."""
    module, attribute, values, seconds = task
    settings = PlannerSettings()
    with contextlib.ExitStack() as stack:
        if module:
            stack.enter_context(patched(module, attribute, values[attribute]))
        else:
            settings = replace(settings, **values)  # type: ignore[arg-type]
        rows = []
        for network in NETWORKS:
            edge, server = profiles(network)
            for name in TRACES:
                trace = find(name, seconds=seconds)
                told = replay(trace, edge, server, 'auto', settings=settings)
                verdict = judge('auto', name, told)
                minutes = trace.duration_s / 60.0
                typical = told.since(SETTLE_S).typical_regret()
                rows.append(
                    (network, name, typical, 10.0 * verdict.switches / minutes, verdict.regret)
                )
    return {
        'values': values,
        'regret': statistics.fmean(row[2] for row in rows),
        'switches': statistics.fmean(row[3] for row in rows),
        'mean_regret': statistics.fmean(row[4] for row in rows),
        'rows': rows,
    }


def main() -> int:
    """Print a table, write the figures and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=100.0, help='of each made-up trace')
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--resume', type=Path, help='keep finished settings in this file')
    parser.add_argument('--out', type=Path, default=Path('benchmarks/tuning.json'))
    parser.add_argument('--plot', type=Path, default=Path('docs/images/tuning.png'))
    args = parser.parse_args()
    tasks = [
        ('', '', {'min_gain_ratio': ratio, 'hold_ticks': ticks}, args.seconds)
        for ticks in TICKS for ratio in RATIOS
    ]
    swept = []
    for name, (module, attribute, values) in SWEEPS.items():
        for value in values:
            if value == default_of(module, attribute):
                continue  # a point of the grid
            swept.append(name)
            tasks.append((module, attribute, {attribute: value}, args.seconds))
    began_s = time.monotonic()
    scores = scores_of(tasks, args.jobs, args.resume)
    print(f'{len(tasks)} settings in {time.monotonic() - began_s:.0f} s')
    standard = next(
        f for f in scores
        if f['values'] == {'min_gain_ratio': PlannerSettings().min_gain_ratio,
                           'hold_ticks': PlannerSettings().hold_ticks}
    )
    grid, sweeps = scores[: len(TICKS) * len(RATIOS)], scores[len(TICKS) * len(RATIOS) :]
    result = {
        'ratios': RATIOS,
        'ticks': TICKS,
        'regret': [[f['regret'] for f in grid[i * len(RATIOS):][: len(RATIOS)]]
                   for i in range(len(TICKS))],
        'switches': [[f['switches'] for f in grid[i * len(RATIOS):][: len(RATIOS)]]
                     for i in range(len(TICKS))],
        'sweeps': {
            name: sorted(
                [
                    {'value': default_of(module, attribute), 'regret': standard['regret'],
                     'switches': standard['switches']},
                    *(
                        {'value': f['values'][attribute], 'regret': f['regret'],
                         'switches': f['switches']}
                        for whose, f in zip(swept, sweeps, strict=True) if whose == name
                    ),
                ],
                key=lambda point: point['value'],
            )
            for name, (module, attribute, _) in SWEEPS.items()
        },
        'default_rows': standard['rows'],
        'traces': TRACES,
        'networks': NETWORKS,
        'seconds': args.seconds,
    }
    args.out.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    plot_tuning(args.plot, result, PlannerSettings())
    print(f'drawn: {args.plot}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
