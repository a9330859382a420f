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
from rich.progress import Progress

from dnn_offload.demo import phases as script
from dnn_offload.demo.closing import summary_lines
from dnn_offload.demo.live_values import live_values
from dnn_offload.demo.live_view import LiveView
from dnn_offload.demo.outcome_files import ANNOTATED, remove_outcome, write_outcome
from dnn_offload.demo.phases import AUTO, Phase, PHASES
from dnn_offload.demo.pictures import SnapshotStore
from dnn_offload.demo.verdict import (
    accounting_failures,
    count_outcomes,
    judge_phase,
    Kill,
    PhaseFinding,
    serves,
    Verdict,
    Window,
)
from dnn_offload.demo.video import write_video
from dnn_offload.errors import OffloadError
from dnn_offload.report.records import Event, Span
from dnn_offload.testbed.fleet import Fleet, RENDEZVOUS
from dnn_offload.testbed.processes import share_cores
from dnn_offload.testbed.recorder import Recorder, wait_until

ROBOT = '/robot'
SERVER = '/edge_server'
SERVER_ID = 'edge_server'
PREPARE_TIMEOUT_S = 180.0  # first start: export and profile on both sides, maybe on a slow machine
VIDEO_SECONDS = 20.0
TICK_S = 0.25


@dataclass(frozen=True)
class DemoOptions:
    """What the demo may be told.

    Attributes:
        out: Folder for its results.
        model: Model source.
        rate_hz: Pictures per second.
        deadline_ms: Deadline of a frame.
        cache_dir: Where exported networks and profiles are kept.
        time_scale: Length of the phases, 1 = about 60 s in all.
        log_level: Log level of the nodes, whose logs are in ``out/logs``.
        namespace: Absolute; the nodes' own are below it, and robot and server meet there.
    """

    out: Path
    model: str = 'demo:detector'
    rate_hz: float = 15.0
    deadline_ms: float = 500.0
    cache_dir: Path = Path('~/.cache/dnn_offload')
    time_scale: float = 1.0
    log_level: str = 'info'
    namespace: str = ''


class Demo:
    """One run of the script.

    Args:
        options: Options.
        console: Where to talk to the user.
    """

    def __init__(self, options: DemoOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._robot, self._server = options.namespace + ROBOT, options.namespace + SERVER
        self._server_node = f'{self._server}/remote_inference_node'
        self._rendezvous = options.namespace + RENDEZVOUS
        self._cores = share_cores(frozenset(os.sched_getaffinity(0)))
        self._windows: list[Window] = []
        self._spans: list[Span] = []
        self._events: list[Event] = []
        self._kill: Kill | None = None
        self._set_s: dict[str, float] = {}  # phase -> how long its parameters took to be set
        options.out.mkdir(parents=True, exist_ok=True)
        for log in (options.out / 'logs').glob('*.log'):
            log.unlink()
        remove_outcome(options.out)
        self._fleet = Fleet(
            options.out / 'logs', options.model, options.cache_dir, log_level=options.log_level
        )

    # -- the run ------------------------------------------------------------------------

    def run(self) -> Verdict:
        """Run the script; all processes have ended when it returns, whatever happens.

        Raises:
            OffloadError: A node does not come up, dies by itself, or does not answer.
        """
        options = self._options
        self._draw_drive()
        with ExitStack() as stack:
            pictures = SnapshotStore(options.out / ANNOTATED, 10.0)
            stack.callback(pictures.close)
            recorder = Recorder(self._robot, self._rendezvous, pictures.add)
            stack.callback(recorder.close)
            stack.enter_context(self._fleet)
            self._bring_up(recorder)
            recorder.begin()
            total_s = script.duration_s() * options.time_scale
            with LiveView(self._console, total_s) as view:
                for phase in PHASES:
                    self._play(phase, recorder, pictures, view)
            self._finish_stream(recorder)
            recorder.close()  # the record stands still from here on
            verdict = self._judge(recorder)
            pictures.close()
            write_outcome(
                options.out, verdict, recorder, self._spans, self._events, pictures.pictures,
                deadline_ms=options.deadline_ms, cores=self._cores, model=options.model,
            )
        return verdict

    def _draw_drive(self) -> None:
        with Progress(console=self._console, transient=True) as progress:
            task = progress.add_task('drawing the drive', total=1.0)
            write_video(
                self._options.out / 'drive.mp4', VIDEO_SECONDS, self._options.rate_hz,
                progress=lambda fraction: progress.update(task, completed=fraction),
            )

    def _bring_up(self, recorder: Recorder) -> None:
        self._console.print(
            'starting the nodes (the first time, both sides export and profile the network) ...'
        )
        fleet, options, cores = self._fleet, self._options, self._cores
        fleet.add(
            'remote_inference_node', self._server, cores.server, server_id=SERVER_ID,
            rendezvous_namespace=self._rendezvous,
        )
        fleet.add(
            'local_inference_node', self._robot, cores.robot, client_id='robot',
            deadline_ms=options.deadline_ms, rendezvous_namespace=self._rendezvous,
        )
        fleet.add(
            'partition_planner_node', self._robot, cores.robot,
            rendezvous_namespace=self._rendezvous,
        )
        for name in ('load_monitor_node', 'navigation_node'):
            fleet.add(name, self._robot, cores.robot)

        def ready() -> bool:
            fleet.check()
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
                hint=f'see {fleet.folder}',
            )
        fleet.add(
            'camera_node', self._robot, cores.robot, source=str(options.out / 'drive.mp4'),
            rate_hz=options.rate_hz, loop=True,
        )
        # Three seconds of stream: caches and estimates are warm, as on a robot that drives.
        if not wait_until(lambda: len(recorder.rows) > 3 * self._options.rate_hz, 20.0):
            raise OffloadError('no frame came through', hint=f'see {fleet.folder}')

    def _play(
        self, phase: Phase, recorder: Recorder, pictures: SnapshotStore, view: LiveView
    ) -> None:
        start_s = recorder.now_s()
        recorder.phase = pictures.phase = phase.name
        self._events.append(Event(start_s, phase.title))
        view.say(f'[bold]{start_s:5.1f} s  {phase.title}[/bold]: {phase.what}')
        recorder.set_parameters(
            'navigation_node', load_processes=phase.load_processes,
            other_processes=phase.other_processes,
        )
        recorder.set_parameters('partition_planner_node', private_layers=phase.private_layers)
        recorder.set_parameters('local_inference_node', max_uplink_bps=phase.max_uplink_bps)
        self._set_s[phase.name] = recorder.now_s() - start_s
        if phase.server == 'kill':
            self._kill_in_use(phase, start_s, recorder, view)
        elif phase.server == 'start':
            self._start_again(phase, start_s, recorder, view)
        self._measure(phase, phase.auto_s, recorder, view)
        for _ in range(script.MORE_ROUNDS):
            finding = self._finding(phase, (start_s, recorder.now_s()), recorder)
            if not finding.in_doubt:
                break
            view.say('  a promise in doubt: is it the machine? measured again, all of it counts')
            again_s = script.AGAIN_AUTO_S + script.BASELINE_S * len(phase.baselines)
            view.extend(again_s * self._options.time_scale)
            self._measure(phase, script.AGAIN_AUTO_S, recorder, view)
        recorder.set_parameters('partition_planner_node', strategy=AUTO)
        self._spans.append(Span(phase.name, phase.title, start_s, recorder.now_s()))

    def _measure(
        self, phase: Phase, auto_s: float, recorder: Recorder, view: LiveView
    ) -> None:
        """One round: ``auto``, then each baseline under the same conditions."""
        scale = self._options.time_scale
        windows = [(AUTO, auto_s, script.SETTLE_AUTO_S)]
        windows += [(s, script.BASELINE_S, script.SETTLE_BASELINE_S) for s in phase.baselines]
        for strategy, length_s, settle_s in windows:
            if phase.server == 'start' and strategy == AUTO:
                settle_s = length_s - script.SETTLE_AUTO_S
            begin_s = recorder.now_s()
            recorder.set_parameters('partition_planner_node', strategy=strategy)
            self._watch(phase, begin_s + length_s * scale, recorder, view)
            self._windows.append(
                Window(phase.name, strategy, begin_s + settle_s * scale, recorder.now_s())
            )

    def _watch(
        self, phase: Phase, end_s: float, recorder: Recorder, view: LiveView,
        until: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Let the stream run until ``end_s``, or until something is seen: whether it was."""
        while recorder.now_s() < end_s:
            if until():
                return True
            time.sleep(TICK_S)
            self._fleet.check()
            view.update(recorder.now_s(), phase.title, live_values(recorder))
        return until()

    def _kill_in_use(
        self, phase: Phase, start_s: float, recorder: Recorder, view: LiveView
    ) -> None:
        """Kill the server in full remote stream; ``_kill`` stays None if it does not serve."""
        for strategy, wait_s in (
            (AUTO, script.KILL_WAIT_AUTO_S), ('remote', script.KILL_WAIT_FORCED_S),
        ):
            recorder.set_parameters('partition_planner_node', strategy=strategy)
            if self._watch(
                phase, recorder.now_s() + wait_s, recorder, view,
                lambda: serves(recorder.rows, start_s, script.KILL_AFTER),
            ):
                self._kill = Kill(recorder.now_s(), strategy)
                break
            view.say(f'  {strategy} does not use the server here')
        else:
            view.say('  killed out of use')
        view.extend(recorder.now_s() - start_s)
        self._fleet.nodes[self._server_node].kill()
        self._events.append(Event(recorder.now_s(), script.KILL_EVENT))

    def _start_again(
        self, phase: Phase, start_s: float, recorder: Recorder, view: LiveView
    ) -> None:
        """Start the server and wait until it is ready; the verdict tells if it never was."""
        lives = len(recorder.ready_s)
        self._fleet.nodes[self._server_node].start()
        if self._watch(
            phase, start_s + script.READY_WAIT_S, recorder, view,
            lambda: len(recorder.ready_s) > lives,
        ):
            self._events.append(Event([*recorder.ready_s.values()][-1], script.READY_EVENT))
        view.extend(recorder.now_s() - start_s)

    def _finding(
        self, phase: Phase, span: tuple[float, float], recorder: Recorder
    ) -> PhaseFinding:
        ready = [s for s in list(recorder.ready_s.values()) if span[0] <= s < span[1]]
        return judge_phase(
            phase, span, [window for window in self._windows if window.phase == phase.name],
            list(recorder.rows), deadline_ms=self._options.deadline_ms,
            grace_s=script.GRACE_S + self._set_s[phase.name],
            ready_s=max(ready, default=None), kill=self._kill,
        )

    def _finish_stream(self, recorder: Recorder) -> None:
        """End the stream so that every frame gets its outcome, and wait for the last report."""
        self._fleet.nodes[f'{self._robot}/camera_node'].stop()
        time.sleep(2 * TICK_S)
        recorder.deactivate('local_inference_node')
        wait_until(
            lambda: all(life['in_flight'] == 0 for life in recorder.counters.values()), 3.0
        )

    def _judge(self, recorder: Recorder) -> Verdict:
        findings = [
            self._finding(phase, (span.start_s, span.end_s), recorder)
            for phase, span in zip(PHASES, self._spans, strict=True)
        ]
        failures = accounting_failures(recorder.rows, list(recorder.counters.values()))
        outcomes, reasons = count_outcomes(recorder.rows)
        return Verdict(tuple(findings), outcomes, reasons, tuple(failures))


def run(options: DemoOptions, console: Console) -> int:
    """Run the demo and say in five lines what happened; returns the exit status."""
    options = replace(options, out=options.out.resolve())
    try:
        verdict = Demo(options, console).run()
    except OffloadError as error:
        print(f'demo: {error}', file=sys.stderr)
        return 2
    for line in summary_lines(verdict, options.out):
        console.print(line, highlight=False, soft_wrap=True)
    return 0 if verdict.passed else 1
