"""A provisional profile within a second or two: some operators measured, the rest predicted.

First the pieces between some neighbouring cuts run on made-up tensors, a few times: about a
third of the operators for a third of the time of a run. They tell how long a run would take. If
several fit into the time, whole runs are stamped instead, which is better; if not, what was not
measured is predicted from the data base of other devices, and from the networks that were measured
on this one before (``cost/predict``).

No head or tail is timed as a unit, and codecs at few cuts only: ``runtime/profiler.py`` measures
all that afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import contextlib
from dataclasses import dataclass, replace
import math
import statistics
import time

import numpy as np

from dnn_offload.cost.predict.database import Database, shipped_database
from dnn_offload.cost.predict.fill import fill_profile, predict_layers, WIDTH_90
from dnn_offload.cost.profile import CutProfile, LayerProfile, Profile
from dnn_offload.graph.operators import base_name
from dnn_offload.graph.program import Program
from dnn_offload.graph.segment import Segment
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.profile_codecs import CodecMeter, decoding_ms, output_sizes
from dnn_offload.runtime.profile_layers import layer_profiles, memory, TIME_DIGITS
from dnn_offload.runtime.profile_machine import describe_device
from dnn_offload.runtime.profile_meter import made_up_inputs, Meter
from dnn_offload.runtime.profile_model import promising_cuts, standard_error
from dnn_offload.tensors import TensorSpec

QUICK_BUDGET_S = 1.5
SHARE = 0.3  # of the operators that are measured where whole runs take too long
LEAST_RUNS, MOST_RUNS = 3, 10  # of the whole network; the first, cold one is not counted
FIRST_PASSES, MOST_PASSES = 1, 5  # over the pieces; the same
RUNS_END = 0.6  # of the time; the rest is for codecs
CODEC_CUTS = 3  # beside the picture
# By how much a piece that runs alone misses the sum of its operators in place, in 90 % of cases,
# right after the start of a process (benchmarks/prediction/quick.py).
UNIT_MISS = 0.2
_LEAST_MS = 1e-6


@dataclass(frozen=True)
class Stamps:
    """Times of operators in place.

    Attributes:
        time_ms: Median, scaled to what the runs took without waiting, (operators,); 0 where
            not measured.
        measured: Positions of the operators that were.
        noise: Relative standard error of their sum.
        what: What was run, in words.
    """

    time_ms: np.ndarray
    measured: tuple[int, ...]
    noise: float
    what: str


@dataclass(frozen=True)
class Known:
    """What operators that are not measured are predicted from.

    Attributes:
        database: Other devices.
        elsewhere: Layers of other networks on this device, times without waiting.
    """

    database: Database
    elsewhere: Sequence[Sequence[LayerProfile]] = ()

    def times_ms(self, layers: Sequence[LayerProfile], measured: Sequence[int]) -> np.ndarray:
        """Times of all layers of a network, of which some were measured, (layers,)."""
        return predict_layers(layers, self.database, measured, self.elsewhere).time_ms


def quick_profile(
    model: TorchModel,
    threads: int,
    budget_s: float = QUICK_BUDGET_S,
    *,
    database: Database | None = None,
    elsewhere: Sequence[Sequence[LayerProfile]] = (),
    report: Callable[[float, str], None] = lambda fraction, message: None,
) -> Profile:
    """Measure a little and predict the rest; ``Profile.provisional`` says on what it rests.

    Times are wall times under the load that there was, as in ``measure_profile``.

    Args:
        model: The model; used by nobody else meanwhile.
        threads: Compute threads, set for the calling thread.
        budget_s: Time that it is aimed at. What cannot be done without takes a run and a half
            of the network.
        database: What is known of other devices; None = what ships with the package.
        elsewhere: Layers of networks that were measured on this machine before, times without
            waiting.
        report: Gets fraction and message.
    """
    started_s = time.perf_counter()
    known = Known(database or shipped_database(), elsewhere)
    model.set_threads(threads)
    meter = Meter(model, made_up_inputs(model.cuts[0].frontier, 0))
    report(0.0, 'a first look at the network')
    meter.load.probe()
    end_s = started_s + RUNS_END * budget_s
    stamps = _look(meter, end_s, known)
    meter.load.probe()
    report(0.6, 'a first look at codecs')
    made = _assemble(meter, threads, stamps, known, started_s, started_s + budget_s)
    report(1.0, f'provisional profile: {made.provisional}')
    return made


def _look(meter: Meter, end_s: float, known: Known) -> Stamps:
    """Whole runs if they are short enough, else pieces."""
    pieces = Pieces(meter)
    for _ in range(FIRST_PASSES):
        pieces.run()
    run_ms = predicted_ms(meter.model.program, pieces.stamps(), known)
    left_ms = 1e3 * (end_s - time.perf_counter())
    # Nothing known of a run: that is a network whose operators do not take any values.
    if math.isinf(run_ms) or (1 + LEAST_RUNS) * run_ms <= left_ms:
        return measure_runs(meter, end_s)
    while pieces.passes < MOST_PASSES and time.perf_counter() < end_s:
        pieces.run()
    stamps = pieces.stamps()
    if not known.elsewhere:
        return stamps
    count = len(known.elsewhere)
    told = f'{stamps.what}, with {count} network{"s" * (count > 1)} measured here before'
    return replace(stamps, what=told)


class Pieces:
    """The pieces between some neighbouring cuts; making it runs each a first, cold time.

    Args:
        meter: Of the model.
        share: Of the operators that they hold, 0..1.

    Attributes:
        passes: How often each was measured since.
    """

    def __init__(self, meter: Meter, share: float = SHARE) -> None:
        self._meter = meter
        self._program = meter.model.program
        self._pieces: list[tuple[Segment, list[np.ndarray]]] = []
        self._rows: list[list[list[float]]] = []  # per piece and pass, of each operator [ms]
        self._working_ms: list[list[float]] = []  # per piece and pass
        self.passes = 0
        tensors = _Tensors(self._program)
        for cut in pieces_to_measure(self._program, share):
            segment = meter.model.segment(cut, cut + 1)
            arrays = [tensors.of(spec) for spec in segment.input_specs]
            # An operator may not take any values, such as an index.
            with contextlib.suppress(RuntimeError, IndexError):
                meter.stamps(segment, arrays)
                self._pieces.append((segment, arrays))
        self._rows = [[] for _ in self._pieces]
        self._working_ms = [[] for _ in self._pieces]

    def run(self) -> None:
        """Measure each once more."""
        for (segment, arrays), rows, working_ms in zip(
            self._pieces, self._rows, self._working_ms, strict=True
        ):
            row, alone_ms = self._meter.stamps(segment, arrays)
            rows.append(row)
            working_ms.append(alone_ms)
        self._meter.load.sample()
        self.passes += 1

    def stamps(self) -> Stamps:
        """What is known by now."""
        time_ms = np.zeros(len(self._program.instructions))
        measured: list[int] = []
        for (segment, _), rows, working_ms in zip(
            self._pieces, self._rows, self._working_ms, strict=True
        ):
            time_ms[list(segment.positions)] = _scaled(rows, working_ms)
            measured += segment.positions
        what = f'{len(measured)} of {len(time_ms)} operators measured, the others predicted'
        passes_ms = [sum(row) for row in zip(*self._working_ms, strict=True)]
        return Stamps(time_ms, tuple(sorted(measured)), _noise(passes_ms), what)


def predicted_ms(program: Program, stamps: Stamps, known: Known) -> float:
    """What a run of the whole network would take [ms]; infinite if nothing was measured."""
    if not stamps.measured:
        return math.inf
    layers = layer_profiles(program, stamps.time_ms[None])
    return float(known.times_ms(layers, stamps.measured).sum())


def measure_runs(meter: Meter, end_s: float) -> Stamps:
    """Stamp whole runs until ``end_s`` (``perf_counter``), at least ``LEAST_RUNS``."""
    segment = meter.model.segment(0, meter.last)
    meter.stamps(segment, meter.inputs)  # pays for first allocations
    rows: list[list[float]] = []
    working_ms: list[float] = []
    while len(rows) < MOST_RUNS and (len(rows) < LEAST_RUNS or time.perf_counter() < end_s):
        row, alone_ms = meter.stamps(segment, meter.inputs)
        rows.append(row)
        working_ms.append(alone_ms)
        meter.load.sample()
    count = len(meter.model.program.instructions)
    return Stamps(
        _scaled(rows, working_ms), tuple(range(count)), _noise(working_ms),
        f'{len(rows)} runs of the whole network',
    )


def _scaled(rows: Sequence[Sequence[float]], working_ms: Sequence[float]) -> np.ndarray:
    """Median of each operator, so that all add up to the median of the runs without waiting."""
    middle = np.median(np.asarray(rows), axis=0)
    return np.asarray(middle * statistics.median(working_ms) / max(middle.sum(), _LEAST_MS))


def _noise(times_ms: Sequence[float]) -> float:
    """Relative standard error of the median of a few runs; 0 for one, which tells nothing."""
    if len(times_ms) < 2:
        return 0.0
    return standard_error(times_ms) / max(statistics.median(times_ms), _LEAST_MS)


def pieces_to_measure(program: Program, share: float) -> list[int]:
    """First cuts of some pieces between neighbouring cuts, which hold ``share`` of the operators.

    At random, but each kind of operator at least once: what no piece tells of a kind is guessed
    from other kinds. The same for the same program.
    """
    kinds = [base_name(instruction.target) for instruction in program.instructions]
    at = [cut.position for cut in program.cuts]
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(at) - 1).tolist()
    wanted = share * len(kinds)
    seen: set[str] = set()
    chosen: list[int] = []
    for index in order:
        held = set(kinds[at[index]:at[index + 1]])
        if held - seen:
            seen |= held
            chosen.append(index)
    count = sum(at[index + 1] - at[index] for index in chosen)
    for index in order:
        if count >= wanted:
            break
        if index not in chosen:
            chosen.append(index)
            count += at[index + 1] - at[index]
    return sorted(chosen)


class _Tensors:
    """Made-up values for tensors of any shape, all out of the same noise: making it takes time."""

    def __init__(self, program: Program) -> None:
        most = max(spec.numel for spec in program.values)
        random = np.random.Generator(np.random.PCG64(0))
        self._noise = random.standard_normal(most, dtype=np.float32)

    def of(self, spec: TensorSpec) -> np.ndarray:
        reach = 1 + sum((n - 1) * step for n, step in zip(spec.shape, spec.strides, strict=True))
        if spec.dtype == 'float32' and reach <= len(self._noise):
            # With its own strides: else the segment copies it first.
            return np.lib.stride_tricks.as_strided(
                self._noise, spec.shape, [4 * step for step in spec.strides]
            )
        return made_up_inputs((spec,), 0)[0]


def _assemble(
    meter: Meter, threads: int, stamps: Stamps, known: Known, started_s: float, end_s: float
) -> Profile:
    """The profile: layers and cuts filled, a few codecs measured."""
    model, program, last = meter.model, meter.model.program, meter.last
    layers = layer_profiles(program, stamps.time_ms[None])
    times_ms = known.times_ms(layers, stamps.measured)
    upto = np.concatenate([[0.0], np.cumsum(times_ms)])
    codecs = _codecs(meter, [float(upto[cut.position]) for cut in model.cuts], end_s)
    # The shape of the answers is known, not their values.
    noise = _Tensors(program)
    outputs = [noise.of(spec) for spec in model.outputs]
    finish_ms = decoding_ms(model, [np.zeros_like(array) for array in outputs])
    wait = meter.wait_ratio
    memories = memory(program)
    bare = Profile(
        model=program.source,
        model_identity=model.identity,
        device=describe_device(),
        backend='torch',
        threads=threads,
        load_ratios=meter.load.ratios(wait),
        finish_ms=round(finish_ms * wait, TIME_DIGITS),
        output_bytes=output_sizes(model, outputs),
        seconds_spent=0.0,
        cuts=tuple(
            CutProfile(
                cut_id=cut.cut_id,
                index=cut.index,
                label=cut.label,
                depth=cut.depth,
                frontier_bytes=cut.nbytes,
                head_ms=0.0,
                tail_ms=0.0,
                measured=False,
                codecs=codecs.costs(cut.index, wait) if cut.index < last else {},
                head_bytes=memories[cut.index][0],
                tail_bytes=memories[cut.index][1],
                frontier=tuple(spec.name for spec in cut.frontier),
            )
            for cut in model.cuts
        ),
        layers=tuple(_waiting(layer, wait) for layer in layers),
        input_name=program.input.name,
        input_bytes=program.input.nbytes,
        more_inputs=tuple((spec.name, spec.nbytes) for spec in program.inputs[1:]),
        outputs=tuple(spec.name for spec in model.outputs),
        provisional=stamps.what,
    )
    others = [[_waiting(layer, wait) for layer in network] for network in known.elsewhere]
    made = fill_profile(bare, known.database, stamps.measured, others)
    return replace(
        made,
        cuts=tuple(_as_units(cut, stamps.noise) for cut in made.cuts),
        seconds_spent=round(time.perf_counter() - started_s, 3),
    )


def _waiting(layer: LayerProfile, wait: float) -> LayerProfile:
    return replace(layer, time_ms=round(layer.time_ms * wait, TIME_DIGITS))


def _as_units(cut: CutProfile, noise: float) -> CutProfile:
    """The cut with intervals that hold what sums of operators miss of a piece that runs alone."""
    head_ms, tail_ms = round(cut.head_ms, TIME_DIGITS), round(cut.tail_ms, TIME_DIGITS)
    width = math.hypot(2.0 * UNIT_MISS, WIDTH_90 * noise)
    head_width_ms = math.hypot(cut.head_spread_ms, width * head_ms)
    tail_width_ms = math.hypot(cut.tail_spread_ms, width * tail_ms)
    return replace(
        cut,
        head_ms=head_ms,
        tail_ms=tail_ms,
        head_spread_ms=round(head_width_ms, TIME_DIGITS),
        tail_spread_ms=round(tail_width_ms, TIME_DIGITS),
    )


def _codecs(meter: Meter, head_ms: Sequence[float], end_s: float) -> CodecMeter:
    """The picture and a few promising cuts that can be reached in time; the first if none can."""
    model = meter.model
    codecs = CodecMeter(model, meter.clock)
    codecs.walk(meter.inputs, [0], end_s)
    inner = promising_cuts(
        head_ms, [cut.nbytes for cut in model.cuts], [cut.depth for cut in model.cuts]
    )
    left_ms = 1e3 * (end_s - time.perf_counter())
    near = [cut for cut in inner[:CODEC_CUTS] if head_ms[cut] <= left_ms]
    # Codecs of activations are measured somewhere at the least.
    codecs.walk(meter.inputs, near or sorted(inner)[:1], end_s)
    return codecs
