"""What the robot's nodes cost its CPU beside the network: in % of one core, by process and thread.

    python benchmarks/robot_cpu.py [--seconds 20] [--rounds 2] [--rate 30] [--json FILE]

in the package's environment (``source tools/env.sh``). Robot (core 0) and server (core 1) run the
detector at 640x480, planned by three strategies, and at an inner cut by hand. CPU time is the
kernel's (``/proc/PID/task/TID/schedstat``), so that other work on the machine hardly counts; what
the network itself took (``head_cpu_ms`` of the frame reports) is taken out. With ``py-spy`` on the
PATH threads have their Python names, else their ids. Exits with 1 when a plan misses the aim.
"""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from aims import Aim, verdict

from dnn_offload.ending import ending_politely
from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.session import Session

NODES = ('camera_node', 'local_inference_node', 'load_monitor_node', 'partition_planner_node')
TENSOR_BYTES = 200_000
STRATEGIES = ('local', 'remote', 'auto')  # of the planner
CODECS = ('raw', 'int8_zstd')             # an inner cut by hand, without the planner
AIM = Aim('rest_percent', 15.0, '%')
PLANS = (*STRATEGIES, *CODECS)
SHOWN_PERCENT = 0.2  # threads below are summed up


@dataclass(frozen=True)
class Spent:
    """CPU time of the robot's nodes over a while.

    Attributes:
        threads: CPU time by node and thread [% of one core].
        network: What the network itself took of it [% of one core].
        frames: Frames that ended in that time, per second.
    """

    threads: dict[tuple[str, str], float]
    network: float
    frames: float

    def node(self, name: str) -> float:
        """CPU time of a whole node [% of one core]."""
        return sum(value for (node, _), value in self.threads.items() if node == name)

    @property
    def rest(self) -> float:
        """All nodes, without the network [% of one core]."""
        return sum(self.threads.values()) - self.network

    @property
    def met(self) -> bool:
        """Whether that keeps the aim."""
        return AIM.met({AIM.key: self.rest})


Found = dict[str, list[Spent]]


def read_cpu_ns(pid: int) -> dict[int, int]:
    """CPU time of each thread of a process [ns]."""
    times = {}
    for task in Path(f'/proc/{pid}/task').iterdir():
        try:
            times[int(task.name)] = int((task / 'schedstat').read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended meanwhile
    return times


def thread_names(pid: int) -> dict[int, str]:
    """Names of Python's threads by native id, by py-spy; only the main thread without it."""
    names = {pid: 'main'}
    program = shutil.which('py-spy')
    if program is None:
        return names
    told = subprocess.run(
        [program, 'dump', '--json', '--pid', str(pid)], capture_output=True, text=True,
        check=False,
    )
    if told.returncode == 0:
        for thread in json.loads(told.stdout):
            if thread['os_thread_id'] != pid and thread['thread_name']:
                names[thread['os_thread_id']] = thread['thread_name']
    return names


def measure(session: Session, seconds: float) -> Spent:
    """Watch the robot's nodes for a while."""
    pids = {node: session.pid(node) for node in NODES if node_runs(session, node)}
    names = {node: thread_names(pid) for node, pid in pids.items()}
    began_s = time.monotonic()
    before = {node: read_cpu_ns(pid) for node, pid in pids.items()}
    rows: list[FrameRow] = session.collect(seconds)
    after = {node: read_cpu_ns(pid) for node, pid in pids.items()}
    took_s = time.monotonic() - began_s
    to_percent = 100.0 / (1e9 * took_s)
    threads: dict[tuple[str, str], float] = defaultdict(float)
    for node in pids:
        for tid, now_ns in after[node].items():
            percent = (now_ns - before[node].get(tid, 0)) * to_percent
            small = percent < SHOWN_PERCENT
            name = 'others' if small else names[node].get(tid, f'thread {tid - pids[node]:+d}')
            threads[node, name] += percent
    network = sum(row.head_cpu_ms for row in rows) * 1e6 * to_percent
    return Spent(dict(threads), network, len(rows) / took_s)


def node_runs(session: Session, node: str) -> bool:
    """Whether the robot has this node."""
    return f'/robot/{node}' in session.fleet.nodes


def set_plan(session: Session, plan: str) -> None:
    """Let one plan run from now on: by the planner, or by hand where there is none."""
    if plan in STRATEGIES:
        session.recorder.set_parameters('partition_planner_node', strategy=plan)
        return
    session.run_inner_cut(TENSOR_BYTES, plan)


def measure_plans(plans: Sequence[str], strategy: str, arguments: Namespace) -> Found:
    """Measure some plans in turn, in one session.

    Args:
        plans: Plans.
        strategy: The planner's, at first; '' = no planner.
        arguments: Of the command line.
    """
    found: Found = {plan: [] for plan in plans}
    if not plans:
        return found
    with tempfile.TemporaryDirectory() as folder, Session(
        Path(folder), rate_hz=arguments.rate, server={}, strategy=strategy,
        common={'backend': 'torch'},
    ) as session:
        for _ in range(arguments.rounds):
            for plan in plans:
                set_plan(session, plan)
                session.collect(1.0, settle_s=2.0)
                found[plan].append(measure(session, arguments.seconds))
    return found


def median_of(rounds: list[Spent]) -> Spent:
    """Rounds of the same plan as one."""
    keys = {key for spent in rounds for key in spent.threads}
    return Spent(
        {key: statistics.median(s.threads.get(key, 0.0) for s in rounds) for key in keys},
        statistics.median(s.network for s in rounds), statistics.median(s.frames for s in rounds),
    )


def show(plan: str, spent: Spent) -> None:
    """Print one plan's table."""
    print(f'\n{plan}: {spent.frames:.1f} frames per second, the network {spent.network:.1f} %')
    for node in NODES:
        if spent.node(node) == 0.0:
            continue
        network = spent.network if node == 'local_inference_node' else 0.0
        parts = sorted(
            ((value, name) for (of, name), value in spent.threads.items() if of == node),
            reverse=True,
        )
        print(f'  {node:24} {spent.node(node) - network:6.2f} %   ' + ', '.join(
            f'{name} {value:.2f}' for value, name in parts
        ))
    print(
        f'  {"all less the network":24} {spent.rest:6.2f} %   (aim: {AIM}: {verdict(spent.met)})'
    )


def main() -> int:
    """Measure and print; 1 if the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=20.0, help='per plan and round [s]')
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--rate', type=float, default=30.0, help='pictures per second [Hz]')
    parser.add_argument('--plans', nargs='+', choices=PLANS, default=list(PLANS))
    parser.add_argument('--json', type=Path, help='write the figures to this file, too')
    arguments = parser.parse_args()
    prepare_environment(96)
    planned = [plan for plan in arguments.plans if plan in STRATEGIES]
    by_hand = [plan for plan in arguments.plans if plan in CODECS]
    with ending_politely():
        found = measure_plans(planned, 'auto', arguments) | measure_plans(by_hand, '', arguments)
    results = {plan: median_of(rounds) for plan, rounds in found.items()}
    for plan, spent in results.items():
        show(plan, spent)
    if arguments.json:
        figures = {
            plan: {
                'rest_percent': spent.rest, 'network_percent': spent.network,
                'frames_hz': spent.frames, 'met': spent.met,
                'threads': {f'{node}/{name}': v for (node, name), v in spent.threads.items()},
            }
            for plan, spent in results.items()
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + '\n', encoding='utf-8')
    return 0 if all(spent.met for spent in results.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
