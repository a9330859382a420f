"""Rows that are no plan of ours: the bare network, and what users run today.

Each is a process or two of its own, on the same share of the CPU and behind the same link as the
nodes, which are silent meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import importlib.util
import math
from pathlib import Path
import statistics
import time

from dnn_offload.bench.place import Place
from dnn_offload.bench.rows.simulated import ALPHA_MS
from dnn_offload.cost.link_state import LinkState
from dnn_offload.errors import OffloadError
from dnn_offload.own_program import own_program
from dnn_offload.planning.plan import Conditions, ServerState
from dnn_offload.planning.search import plan
from dnn_offload.report.bench_records import measure_answers, p95, Window
from dnn_offload.report.bench_targets import TODAY
from dnn_offload.runtime.model_cache import cache_key
from dnn_offload.testbed.loadavg import seen_as_loadavg
from dnn_offload.testbed.processes import NodeProcess
from dnn_offload.testbed.quota import entrance
from dnn_offload.testbed.recorder import wait_until

OURS = ('local_inference_node', 'load_monitor_node')  # of what is on the robot's share
START_TIMEOUT_S = 90.0   # torch is imported inside the quota
WARM_UP = 3              # answers that are not counted
SILENT_S = 10.0          # a row without an answer for so long has ended
MODULE = 'dnn_offload.bench.rows'
TODAYS_PLAN = 'JPEG to a detector node'


def why_not(row: str) -> str:
    """Why a row cannot be measured here; '' when it can."""
    if row != 'bare_onnxruntime':
        return ''
    missing = [
        name for name in ('onnxruntime', 'onnx') if importlib.util.find_spec(name) is None
    ]
    return f'{row} needs {" and ".join(missing)}, not installed' if missing else ''


def measure_other(
    row: str, place: Place, frames: int, *, point: int, number: int, deadline_ms: float = 0.0
) -> Window:
    """Measure one of ``scenario_file.OTHER_ROWS`` but the oracle.

    Args:
        row: Its name.
        place: What runs.
        frames: Results wanted.
        point: Number of the point.
        number: Of the round.
        deadline_ms: Of a frame; 0 = none.

    Raises:
        OffloadError: A process of the row fails.
    """
    if row.startswith('bare_'):
        return _measure_bare(row, place, frames, point, number)
    with _silent(place):
        if row == TODAY:
            answers = _answers(place, frames, _today(place))
            what = TODAYS_PLAN
        else:
            cut, label = _raw_cut(place)
            answers = _answers(place, frames, _halves(place, cut))
            what = f'cut {cut} raw, one message ({label})'
    return measure_answers(
        answers, point=point, row=row, number=number, rate_hz=place.session.rate_hz,
        deadline_ms=deadline_ms, plan=what,
    )


def _measure_bare(row: str, place: Place, frames: int, point: int, number: int) -> Window:
    """Runs of the network one after the other: no pictures, none dropped or late."""
    runtime = row.partition('_')[2]
    what = f'{runtime}, all on the robot'
    with _paused(place):
        latencies = sorted(float(line) for line in _bare(place, runtime, frames))
    if not latencies:
        return Window(point, row, number, math.nan, math.nan, 0.0, 0, plan=what)
    middle = statistics.median(latencies)
    return Window(
        point, row, number, middle, p95(latencies),
        1e3 / middle, len(latencies), plan=what,
    )


def _today(place: Place) -> list[tuple[str, str, list[str]]]:
    return [
        ('server', 'today', ['detector', *_model(place)]), ('robot', 'today', ['listener']),
    ]


class AnsweringNodes:
    """Nodes of a row, of which the last prints every answer; they run in the ``with`` block.

    Args:
        place: What else runs.
        parts: Side, module and arguments of each.

    Raises:
        OffloadError: A process fails.
    """

    def __init__(self, place: Place, parts: Sequence[tuple[str, str, list[str]]]) -> None:
        self._processes = [_process(place, *part) for part in parts]
        self._at_server = [
            process for process, part in zip(self._processes, parts, strict=True)
            if part[0] == 'server'
        ]
        self._dead = False  # those at the server, by our doing
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> AnsweringNodes:
        with contextlib.ExitStack() as stack:
            for process in self._processes:
                stack.callback(process.kill)
                process.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    @property
    def log(self) -> Path:
        """What the last of them has printed."""
        return self._processes[-1].log_path

    def last_lines(self) -> str:
        """What those at the server said last."""
        return '\n'.join(process.last_lines(20) for process in self._at_server)

    def server(self, *, runs: bool) -> None:
        """The server dies, or comes back; with it its nodes, which then load their network."""
        if runs == self._dead:
            for process in self._at_server:
                (process.start if runs else process.kill)()
            self._dead = not runs

    def check(self) -> None:
        """Raise OffloadError if a process has failed."""
        for process in self._processes:
            if not (self._dead and process in self._at_server):
                _check(process)

    def answered(self, count: int) -> bool:
        """Wait for so many answers; False if they do not come in time."""
        def enough() -> bool:
            self.check()
            return len(_lines(self.log)) >= count

        return wait_until(enough, START_TIMEOUT_S)

    def answers(self) -> list[tuple[float, float]]:
        """Acquisition [s] and latency [ms] of every answer so far."""
        found = [line.split() for line in _lines(self.log)]
        return [(float(taken_s), float(latency_ms)) for taken_s, latency_ms in found]


@contextlib.contextmanager
def todays_stream(place: Place) -> Iterator[AnsweringNodes]:
    """The row ``compressed_image`` while conditions change, once it answers.

    Raises:
        OffloadError: A process fails, or no answer comes.
    """
    with _silent(place), AnsweringNodes(place, _today(place)) as nodes:
        if not nodes.answered(WARM_UP):
            raise OffloadError(f'row {TODAY} gives no answer', hint=nodes.last_lines())
        yield nodes


def _model(place: Place) -> list[str]:
    request = place.request
    return [
        '--source', request.source, '--weights', request.weights,
        f'--input-size={request.input_size}',
    ]


def _halves(place: Place, cut: int) -> list[tuple[str, str, list[str]]]:
    """Tail and head of a cut, each by the backend that the nodes use on its side."""
    folder = cache_key(place.request)
    return [
        (side, 'one_message', [
            part, '--folder', str(cache / folder), '--cut', str(cut), '--backend', backend,
        ])
        for side, part, cache, backend in (
            ('server', 'tail', place.server_cache, place.server_profile().backend),
            ('robot', 'head', place.robot_cache, place.robot_profile().backend),
        )
    ]


def _bare(place: Place, runtime: str, frames: int) -> list[str]:
    """One process that loops; its lines."""
    process = _process(
        place, 'robot', 'bare_loop',
        [*_model(place), '--runtime', runtime, '--runs', str(frames)],
    )
    try:
        process.start()
        end_s = time.monotonic() + START_TIMEOUT_S
        while process.running and time.monotonic() < end_s:
            time.sleep(0.05)
        _check(process, ended=True)
        return _lines(process.log_path)
    finally:
        process.kill()


def _answers(
    place: Place, frames: int, parts: Sequence[tuple[str, str, list[str]]]
) -> list[tuple[float, float]]:
    """Acquisition [s] and latency [ms], as the last of some nodes prints them for every answer."""
    with AnsweringNodes(place, parts) as nodes:
        if not nodes.answered(frames + WARM_UP) and _is_silent(nodes.log):
            return []  # one that fails must not look better than one that is slow
        return nodes.answers()[WARM_UP:WARM_UP + frames]


def _is_silent(log: Path) -> bool:
    """Whether nothing has been written for long."""
    return not log.is_file() or time.time() - log.stat().st_mtime > SILENT_S


def _process(place: Place, side: str, module: str, arguments: list[str]) -> NodeProcess:
    """A process of a row, with the share, the network and the load average of its side."""
    emulation, session = place.emulation, place.session
    end = emulation.network and getattr(emulation.network, side)
    group = getattr(emulation, side)
    average = emulation.loadavg if side == 'robot' else None
    log = session.folder / 'logs' / f'{module}_{side}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text('', encoding='utf-8')
    return NodeProcess(
        f'{module} on the {side}', own_program(f'{MODULE}.{module}', *arguments),
        getattr(session.cores, side), log, network=end.namespace if end else '',
        within=seen_as_loadavg(average.file) if average is not None else (),
        enter=entrance(group.folder) if group is not None else None,
    )


def _lines(log: Path) -> list[str]:
    """Whole lines of numbers; a log also holds what others have to say."""
    text = log.read_text(encoding='utf-8', errors='replace')
    rows = text.splitlines() if text.endswith('\n') else text.splitlines()[:-1]
    return [row for row in rows if row and all(_is_number(word) for word in row.split())]


def _is_number(word: str) -> bool:
    return word.replace('.', '', 1).isdigit()


def _check(process: NodeProcess, ended: bool = False) -> None:
    """Raise OffloadError if a process has failed."""
    status = process.process.poll() if process.process is not None else None
    if status is not None and (status != 0 or not ended):
        raise OffloadError(
            f'{process.name} has ended by itself', given=f'exit {status}',
            hint=f'the end of its log:\n{process.last_lines(20)}',
        )


def _raw_cut(place: Place) -> tuple[int, str]:
    """The cut at which raw tensors are cheapest to send: what Neurosurgeon would cut at."""
    now = place.emulation.now
    rate = now.uplink_mbps * 1e6 or 1e9
    link = LinkState(ALPHA_MS, rate, ALPHA_MS, now.downlink_mbps * 1e6 or rate, 1.0)
    conditions = Conditions(
        place.robot_profile(), servers=(ServerState('server', place.server_profile(), link),)
    )
    best = next(c for c in plan('neurosurgeon', conditions) if not c.is_local)
    return best.cut_index, best.label


@contextlib.contextmanager
def _silent(place: Place) -> Iterator[None]:
    """Nothing of ours computes on the robot's share; pictures go on."""
    recorder = place.session.recorder
    with contextlib.ExitStack() as stack:
        for node in OURS:
            recorder.deactivate(node)
            stack.callback(recorder.activate, node)
        yield


@contextlib.contextmanager
def _paused(place: Place) -> Iterator[None]:
    """The same without pictures."""
    with _silent(place):
        place.session.pause_camera(True)
        try:
            yield
        finally:
            place.session.pause_camera(False)
