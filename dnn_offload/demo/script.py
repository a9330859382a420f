"""Runs the demo: starts the nodes, plays the phases, writes ``demo_out/``, gives the verdict."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
import os
from pathlib import Path
import sys
import time

from rich.console import Console

from dnn_offload.demo import phases as script
from dnn_offload.demo.live_view import LiveView
from dnn_offload.demo.outcome_files import write_outcome
from dnn_offload.demo.phases import AUTO, PHASES, Phase
from dnn_offload.demo.pictures import SnapshotStore
from dnn_offload.demo.processes import NodeProcess, node_process, share_cores, stop_all
from dnn_offload.demo.recorder import Recorder, wait_until
from dnn_offload.demo.verdict import (
    PhaseFinding,
    Verdict,
    Window,
    accounting_failures,
    count_outcomes,
    judge_phase,
)
from dnn_offload.demo.video import write_video
from dnn_offload.errors import OffloadError
from dnn_offload.report.records import Event, Span

ROBOT_NAMESPACE = '/robot'
SERVER_NAMESPACE = '/edge_server'
SERVER_ID = 'edge_server'
PREPARE_TIMEOUT_S = 180.0  # first start: export and profile on both sides, maybe on a slow machine
VIDEO_SECONDS = 20.0
TICK_S = 0.25


@dataclass(frozen=True)
class DemoOptions:
    """What the demo may be told.

    Attributes:
        out: Folder for its results.
        prefix: Prefix under which the package is installed.
        model: Model source.
        rate_hz: Pictures per second.
        deadline_ms: Deadline of a frame.
        cache_dir: Where exported networks and profiles are kept.
        time_scale: Length of the phases, 1 = about 60 s in all.
    """

    out: Path
    prefix: Path
    model: str = 'demo:detector'
    rate_hz: float = 15.0
    deadline_ms: float = 300.0
    cache_dir: Path = Path('~/.cache/dnn_offload')
    time_scale: float = 1.0


class Demo:
    """One run of the script.

    Args:
        options: Options.
        console: Where to talk to the user.
    """

    def __init__(self, options: DemoOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._cores = share_cores(frozenset(os.sched_getaffinity(0)))
        self._windows: list[Window] = []
        self._spans: list[Span] = []
        self._events: list[Event] = []
        options.out.mkdir(parents=True, exist_ok=True)
        self._nodes = self._describe_nodes()

    # -- processes ----------------------------------------------------------------------

    def _describe_nodes(self) -> dict[str, NodeProcess]:
        options, cores = self._options, self._cores
        video = options.out / 'drive.mp4'
        shared = {'model': options.model, 'cache_dir': str(options.cache_dir.expanduser())}
        described: tuple[tuple[str, str, frozenset[int], dict[str, object]], ...] = (
            ('remote_inference_node', SERVER_NAMESPACE, cores.server,
             {**shared, 'server_id': SERVER_ID}),
            ('local_inference_node', ROBOT_NAMESPACE, cores.robot,
             {**shared, 'client_id': 'robot', 'deadline_ms': options.deadline_ms}),
            ('load_monitor_node', ROBOT_NAMESPACE, cores.robot, {}),
            ('partition_planner_node', ROBOT_NAMESPACE, cores.robot, {}),
            ('navigation_node', ROBOT_NAMESPACE, cores.robot, {}),
            ('camera_node', ROBOT_NAMESPACE, cores.robot,
             {'source': str(video), 'rate_hz': options.rate_hz, 'loop': True}),
        )
        nodes = {
            name: node_process(
                options.prefix, name, namespace, parameters, cores=node_cores,
                log_dir=options.out / 'logs',
            )
            for name, namespace, node_cores, parameters in described
        }
        for node in nodes.values():
            node.log_path.unlink(missing_ok=True)
        return nodes

    def _check_alive(self) -> None:
        for node in self._nodes.values():
            if node.process is not None and not node.running and node.process.returncode != -9:
                raise OffloadError(
                    f'{node.name} has ended by itself', given=f'exit {node.process.returncode}',
                    hint=f'the end of its log:\n{node.last_lines()}',
                )

    # -- the run ------------------------------------------------------------------------

    def run(self) -> Verdict:
        """Run the script; all processes have ended when it returns, whatever happens.

        Raises:
            OffloadError: A node does not come up, dies by itself, or does not answer.
        """
        options = self._options
        self._console.print('drawing the drive ...')
        write_video(options.out / 'drive.mp4', VIDEO_SECONDS, options.rate_hz, (640, 480), 7)
        with ExitStack() as stack:
            pictures = SnapshotStore(options.out / 'annotated.mp4', 10.0)
            stack.callback(pictures.close)
            recorder = Recorder(ROBOT_NAMESPACE, '/dnn_offload', pictures.add)
            stack.callback(recorder.close)
            stack.callback(stop_all, list(self._nodes.values()))
            self._bring_up(recorder)
            recorder.begin()
            total_s = script.duration_s() * options.time_scale
            with LiveView(self._console, total_s) as view:
                for phase in PHASES:
                    self._play(phase, recorder, pictures, view)
            self._finish_stream(recorder)
            verdict = self._judge(recorder)
            pictures.close()
            write_outcome(
                options.out, verdict, recorder, self._spans, self._events, pictures.pictures,
                deadline_ms=options.deadline_ms, cores=self._cores, model=options.model,
            )
        return verdict

    def _bring_up(self, recorder: Recorder) -> None:
        self._console.print(
            'starting the nodes (the first time, both sides export and profile the network) ...'
        )
        for name, node in self._nodes.items():
            if name != 'camera_node':
                node.start()

        def ready() -> bool:
            self._check_alive()
            status = recorder.latest.status
            return (
                recorder.profile is not None
                and status is not None and status.state == status.STATE_READY
                and recorder.latest.plan is not None
                and recorder.latest.load is not None
            )

        if not wait_until(ready, PREPARE_TIMEOUT_S):
            raise OffloadError(
                'the nodes did not get ready', given=f'{PREPARE_TIMEOUT_S:.0f} s',
                hint=f'see {self._options.out / "logs"}',
            )
        self._nodes['camera_node'].start()
        if not wait_until(lambda: len(recorder.rows) > 10, 20.0):
            raise OffloadError(
                'no frame came through', hint=f'see {self._options.out / "logs"}'
            )

    def _play(
        self, phase: Phase, recorder: Recorder, pictures: SnapshotStore, view: LiveView
    ) -> None:
        start_s = recorder.now_s()
        recorder.phase = pictures.phase = phase.name
        self._events.append(Event(start_s, phase.title))
        view.say(f'[bold]{start_s:5.1f} s  {phase.title}[/bold]: {phase.what}')
        recorder.set_parameters('navigation_node', load_processes=phase.load_processes)
        recorder.set_parameters('partition_planner_node', private_layers=phase.private_layers)
        recorder.set_parameters('local_inference_node', max_uplink_bps=phase.max_uplink_bps)
        if phase.server == 'kill':
            self._nodes['remote_inference_node'].kill()
        elif phase.server == 'start':
            self._nodes['remote_inference_node'].start()
        scale = self._options.time_scale
        windows = [(AUTO, phase.auto_s, script.SETTLE_AUTO_S)]
        windows += [(s, script.BASELINE_S, script.SETTLE_BASELINE_S) for s in phase.baselines]
        for strategy, length_s, settle_s in windows:
            if phase.server == 'start' and strategy == AUTO:
                settle_s = length_s - script.SETTLE_AUTO_S
            begin_s = recorder.now_s()
            recorder.set_parameters('partition_planner_node', strategy=strategy)
            end_s = begin_s + length_s * scale
            while recorder.now_s() < end_s:
                time.sleep(TICK_S)
                self._check_alive()
                view.update(recorder.now_s(), phase.title, live_values(recorder))
            self._windows.append(
                Window(phase.name, strategy, begin_s + settle_s * scale, recorder.now_s())
            )
        recorder.set_parameters('partition_planner_node', strategy=AUTO)
        self._spans.append(Span(phase.name, phase.title, start_s, recorder.now_s()))

    def _finish_stream(self, recorder: Recorder) -> None:
        """End the stream so that every frame gets its outcome, and wait for the last report."""
        self._nodes['camera_node'].stop()
        time.sleep(2 * TICK_S)
        recorder.deactivate('local_inference_node')
        wait_until(
            lambda: all(life['in_flight'] == 0 for life in recorder.counters.values()), 3.0
        )

    def _judge(self, recorder: Recorder) -> Verdict:
        findings: list[PhaseFinding] = []
        for phase, span in zip(PHASES, self._spans, strict=True):
            findings.append(
                judge_phase(
                    phase, (span.start_s, span.end_s),
                    [window for window in self._windows if window.phase == phase.name],
                    recorder.rows, deadline_ms=self._options.deadline_ms,
                    grace_s=script.GRACE_S,
                )
            )
        failures = accounting_failures(recorder.rows, list(recorder.counters.values()))
        outcomes, reasons = count_outcomes(recorder.rows)
        return Verdict(tuple(findings), outcomes, reasons, tuple(failures))


def live_values(recorder: Recorder) -> dict[str, float | str]:
    """What the live view shows, from what was heard last."""
    now_s = recorder.now_s()
    latest = recorder.latest
    report, plan, load = latest.report, latest.plan, latest.load
    recent = [row for row in recorder.rows[-60:] if row.has_result and row.time_s > now_s - 1.5]
    values: dict[str, float | str] = {
        'fps': f'{len(recent) / 1.5:.1f}',
        'latency_ms': f'{recent[-1].latency_ms:.1f}' if recent else 'nan',
        'load': f'{load.factor:.2f}' if load is not None else 'nan',
        'uplink_mbps': f'{plan.uplink_bps / 1e6:.1f}' if plan is not None else '?',
        'cut': '-', 'codec': '', 'where': '-', 'reason': plan.reason if plan is not None else '',
        'navigation_hz': str((latest.navigation or {}).get('loop_hz', '?'))[:5],
        'remote': 0, 'local': 0, 'rescued': 0, 'dropped': 0,
    }
    if report is not None:
        values |= {
            'cut': f'{report.cut_index} {report.label}'[:40], 'codec': report.codec,
            'where': report.server or 'robot',
            'remote': report.remote, 'local': report.local, 'rescued': report.rescued,
            'dropped': report.dropped,
        }
    return values


def run(options: DemoOptions, console: Console, spin_up: Callable[[], None]) -> int:
    """Run the demo and say in five lines what happened; returns the exit status."""
    spin_up()
    options = replace(options, out=options.out.resolve())
    try:
        verdict = Demo(options, console).run()
    except OffloadError as error:
        print(f'demo: {error}', file=sys.stderr)
        return 2
    for line in summary_lines(verdict, options.out):
        console.print(line, highlight=False, soft_wrap=True)
    return 0 if verdict.passed else 1


def summary_lines(verdict: Verdict, out: Path) -> list[str]:
    """Five lines: frames, phases, comparison, verdict, where to look."""
    outcomes = verdict.outcomes
    frames = sum(outcomes.values())
    served = ', '.join(f'{item.phase.title}: {item.served}' for item in verdict.phases)
    ratios = [item.ratio for item in verdict.phases if item.ratio is not None]
    broken = [*verdict.failures]
    for item in verdict.phases:
        broken += [f'{item.phase.name}: {text}' for text in item.failures]
    return [
        f'{frames} frames entered, every one accounted for: {outcomes.get("remote", 0)} remote, '
        f'{outcomes.get("local", 0)} local, {outcomes.get("rescued", 0)} rescued, '
        f'{outcomes.get("dropped", 0)} dropped '
        f'({", ".join(f"{k} {v}" for k, v in verdict.drop_reasons.items()) or "none"})'
        if not verdict.failures else f'{frames} frames, accounts do not add up',
        f'what served: {served}',
        'auto against the best of all-local and all-remote, latency by phase: '
        + ', '.join(f'{ratio:.2f}' for ratio in ratios) + ' (promised: at most 1.20)',
        'all promises kept' if not broken else 'BROKEN: ' + '; '.join(broken),
        f'look at {out / "report.html"}, timeline.png, annotated.mp4, frames.csv, summary.json',
    ]
