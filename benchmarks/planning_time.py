"""Time of one planning step with everything on: cuts, pairs of cuts, placements, all codecs.

Run: ``python benchmarks/planning_time.py [--runs 100] [--profiles EDGE.json SERVER.json]``.
Prints, for a network of Inception v3's size and one of SqueezeNet's, or for the profiles that are
given (held against the aims of Inception v3), the median and the worst of the runs for each
objective, with two servers and with several thread counts, what each part of the search takes, and
the once-only preparation of a pair of profiles. Exits non-zero when a median of CPU time misses
its aim (one thread count, all of them, two servers); wall time is that on a core that nobody else
uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
import statistics
import sys
import time

from dnn_offload.cli.given_profiles import read_profile
from dnn_offload.cost.energy import load_board, PowerModel
from dnn_offload.cost.profile import Profile, Variant
from dnn_offload.planning import one_cut, placement, two_cuts
from dnn_offload.planning.objective import ENERGY, LATENCY, Objective, THROUGHPUT, WEIGHTED
from dnn_offload.planning.plan import Conditions, Constraints, LinkState, Scope, ServerState
from dnn_offload.planning.search import ALL_SHAPES, plan
from dnn_offload.planning.switch import SwitchPolicy
from dnn_offload.simulate.made_up_graph import made_up_inception, made_up_squeezenet

RUNS = 100
FRAME_PERIOD_MS = 1e3 / 15.0
WANTED = 64                 # plans per server that become objects: the default of table_size
THREADS = (1, 2, 4)
BOARD = 'raspberry_pi_4b'
GIVEN = 'given'
# One server and thread count (one objective, all shapes, codecs, cuts), and with more of them.
AIMS_MS = {'inception': (10.0, 20.0), 'squeezenet': (5.0, 5.0), GIVEN: (10.0, 20.0)}
MAKERS: dict[str, Callable[[float], Profile]] = {
    'inception': made_up_inception,
    'squeezenet': made_up_squeezenet,
}
# Links from one that keeps all on the robot to one that takes all, with and without a burst
# that passes at once: branches are worth more on some than on others.
LINKS = (
    LinkState(3.0, 2e6, 3.0, 2e6, 1.0),
    LinkState(3.0, 20e6, 3.0, 20e6, 1.0, uplink_burst_bytes=30e3),
    LinkState(1.0, 200e6, 1.0, 200e6, 1.0),
)


@dataclass(frozen=True)
class Row:
    """What a planning step has to do."""

    objective: str
    servers: int = 1
    threads: tuple[int, ...] = ()
    powered: bool = False

    @property
    def name(self) -> str:
        """In words."""
        threads = f', threads {", ".join(map(str, self.threads))}' if self.threads else ''
        powered = ', power known' if self.powered else ''
        return f'{self.objective}{powered}, {self.servers} server(s){threads}'


LATENCY_ROW = Row(LATENCY)
ROWS = (
    LATENCY_ROW, Row(LATENCY, powered=True), Row(THROUGHPUT), Row(ENERGY), Row(WEIGHTED),
    Row(LATENCY, servers=2), Row(LATENCY, servers=2, powered=True),
    *(
        Row(objective, servers, THREADS)
        for servers in (1, 2) for objective in (LATENCY, THROUGHPUT, ENERGY, WEIGHTED)
    ),
)  # fmt: skip


def with_thread_counts(profile: Profile) -> Profile:
    """The profile with all of ``THREADS``; each further thread brings a little less."""
    return replace(
        profile,
        variants=tuple(
            Variant(
                profile.backend, count, tuple(cut.head_ms / count**0.8 for cut in profile.cuts),
                tuple(cut.tail_ms / count**0.8 for cut in profile.cuts),
            )
            for count in THREADS
            if count != profile.threads
        ),
    )  # fmt: skip


def problems(
    edge: Profile, server: Profile, row: Row, runs: int
) -> Iterator[tuple[Conditions, Constraints]]:
    """Other conditions in each run, so that nothing but the profiles can be cached."""
    # A power model prices the front of latency and energy as well: only where it is asked for.
    powered = row.powered or Objective(row.objective).needs_energy
    power: PowerModel | None = load_board(BOARD) if powered else None
    for run in range(runs):
        link = LINKS[run % len(LINKS)]
        link = replace(link, uplink_bps=link.uplink_bps * (1.0 + 0.001 * run))
        some = tuple(
            ServerState(f's{number}', server, link, 1.0 + number, 0.5)
            for number in range(row.servers)
        )
        conditions = Conditions(
            edge, 1.0 + 0.01 * (run % 40), 1.0, some, power=power, wake_ratio=0.2,
            frame_period_ms=FRAME_PERIOD_MS,
        )
        deadline_ms = (0.0, 100.0)[run % 2]
        private_layers = (0, 2)[run // 2 % 2]
        yield conditions, Constraints(
            private_layers, deadline_ms=deadline_ms, shapes=ALL_SHAPES, most=WANTED,
            threads=row.threads, objective=Objective(row.objective),
        )


def planning_times_ms(
    edge: Profile, server: Profile, row: Row, runs: int = RUNS
) -> tuple[list[float], list[float]]:
    """Wall and CPU times of search and switch decision [ms]."""
    policy = SwitchPolicy()
    policy.objective = Objective(row.objective)
    walls, cpus = [], []
    for run, (conditions, constraints) in enumerate(problems(edge, server, row, runs)):
        start, start_cpu = time.perf_counter(), time.thread_time()
        policy.decide(plan('auto', conditions, constraints), 0.2 * run)
        walls.append(1e3 * (time.perf_counter() - start))
        cpus.append(1e3 * (time.thread_time() - start_cpu))
    return walls, cpus


def parts_ms(edge: Profile, server: Profile, runs: int = RUNS) -> dict[str, float]:
    """Median CPU time of each part of the search with one server [ms]."""
    parts: dict[str, Callable[[Conditions, Constraints, Scope], object]] = {
        'cuts': one_cut.candidates,
        'two cuts': two_cuts.candidates,
        'placement': placement.candidates,
    }
    medians = {}
    for name, part in parts.items():
        times = []
        for conditions, constraints in problems(edge, server, LATENCY_ROW, runs):
            scope = Scope(deadline_ms=constraints.deadline_ms)
            start = time.thread_time()
            part(conditions, constraints, scope)
            times.append(1e3 * (time.thread_time() - start))
        medians[name] = statistics.median(times)
    return medians


def main() -> int:
    """Print the figures; 0 when the aims are met."""
    parser = argparse.ArgumentParser(description='Time of one planning step, against its aims.')
    parser.add_argument('--runs', type=int, default=RUNS, help='of each row [%(default)s]')
    parser.add_argument(
        '--profiles', nargs=2, type=Path, metavar=('EDGE', 'SERVER'),
        help='profiles of one network instead of made-up ones (JSON)',
    )
    options = parser.parse_args()
    runs = max(options.runs, 1)
    if options.profiles:
        robot, there = (read_profile('--profiles', path) for path in options.profiles)
        networks = {GIVEN: (robot, there)}
    else:
        networks = {name: (make(1.0), make(4.0)) for name, make in MAKERS.items()}
    missed = []
    for name, (robot, server) in networks.items():
        edge = with_thread_counts(robot)
        codecs = len(edge.cuts[1].codecs)
        print(f'{name}: {len(edge.layers)} layers, {len(edge.cuts)} cuts, {codecs} codecs')
        start = time.thread_time()
        plan('auto', *next(problems(edge, server, Row(LATENCY, threads=THREADS), 1)))
        print(f'  prepared once: {1e3 * (time.thread_time() - start):.0f} ms')
        for row in ROWS:
            walls, cpus = planning_times_ms(edge, server, row, runs)
            median = statistics.median(cpus)
            aim_ms = AIMS_MS[name][bool(row.threads) or row.servers > 1]
            met = median <= aim_ms
            if not met:
                missed.append(f'{name}, {row.name}: {median:.1f} ms')
            print(
                f'  {row.name}: CPU time {median:.1f} ms in the median, worst {max(cpus):.1f} ms '
                f'of {len(cpus)} runs (aim {aim_ms:g} ms{"" if met else ", missed"}), wall time '
                f'{statistics.median(walls):.1f} ms'
            )
        shares = parts_ms(edge, server, runs).items()
        parts = ', '.join(f'{part} {ms:.1f}' for part, ms in shares)
        print(f'  CPU time by part, latency, 1 server [ms]: {parts}')
    print('all aims are met' if not missed else f'missed: {"; ".join(missed)}')
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
