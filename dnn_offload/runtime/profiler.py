"""Measures a model on this machine, within a time budget: heads, tails, codecs, threads, load.

Where the time goes: a tenth for warming and first stamps; at most half for heads and tails as
units, in rounds over the chosen cuts (so that one segment's weights push another's out of the
cache, as they do when plans change) with stamps in between; then codecs on pictures with
natural statistics; a sixth at the end, and all that is left, for other numbers of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import statistics
import time

import numpy as np

from dnn_offload.cost.profile import CutProfile, Profile, Variant
from dnn_offload.runtime.backends import names
from dnn_offload.runtime.backends.by_piece import PieceModel
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.pictures import COUNT
from dnn_offload.runtime.profile_codecs import CodecMeter, decoding_ms, output_sizes
from dnn_offload.runtime.profile_layers import layer_profiles, memory, TIME_DIGITS
from dnn_offload.runtime.profile_machine import describe_device
from dnn_offload.runtime.profile_meter import made_up_inputs, Meter
from dnn_offload.runtime.profile_model import (
    FLOOR,
    half_widths,
    how_many,
    interquartile,
    OTHER_RUNS,
    promising_cuts,
    times,
)
from dnn_offload.runtime.profile_pieces import fastest, PieceTimes
from dnn_offload.runtime.profile_variants import ThreadVariants, usual_thread_counts

FRACTION = 0.3  # of the cuts that are measured as units
STAMP_RUNS = 5
FIRST_STAMPS = 2  # of these before units are chosen, the others between their rounds
UNIT_RUNS = 10  # rounds that are aimed at
LEAST_ROUNDS = 3
BUSY = 2.0  # slow-down by waiting
LATE = 0.25  # of the time for units: later than this, one round has to do
# Rounds that the number of cuts is reckoned for when time is short, and how many cuts it takes
# to rather have fewer rounds: between too few of them nothing can be interpolated.
SHORT_RUNS, FEW_CUTS = 5, 8
# Shares of the budget that have passed when a stage ends at the latest.
FIRST_STAMPS_END = 0.12
UNITS_SHARE = 0.5
UNITS_END = 0.7
CODECS_END = 0.82
VARIANTS_END = 0.97

Report = Callable[[float, str], None]


def measure_profile(
    model: TorchModel,
    threads: int,
    budget_s: float = 8.0,
    report: Report = lambda fraction, message: None,
    *,
    fraction: float = FRACTION,
    other_threads: Sequence[int] | None = None,
) -> Profile:
    """Measure a profile.

    Times are wall times under the load that there was: each run's own waiting is taken out and
    the mean waiting put back in (codecs, which are short, are measured at their fastest), so
    that a neighbour that came and went does not distort one cut against another;
    ``load_ratios`` tells the mean.

    Args:
        model: The model; used by nobody else meanwhile.
        threads: Compute threads, set for the calling thread.
        budget_s: Time that it may take, kept to within a run or two.
        report: Gets fraction and message.
        fraction: Share of the cuts that are measured as units, 0..1; fewer where the budget
            ends before. The others are interpolated, with an interval.
        other_threads: Further thread counts; None = ``usual_thread_counts``, unless the machine
            is too busy for them.
    """
    started_s = time.perf_counter()
    model.set_threads(threads)
    inputs = [made_up_inputs(model.cuts[0].frontier, seed) for seed in range(COUNT)]
    meters = _meters(model, inputs[0])
    meter = next(iter(meters.values()))
    last = meter.last

    report(0.0, 'warming up')
    model.run(model.segment(0, last), inputs[0])
    run_ms = _first_stamps(meter, started_s + FIRST_STAMPS_END * budget_s)
    in_situ = meter.in_situ()
    order = promising_cuts(
        in_situ, [cut.nbytes for cut in model.cuts], [cut.depth for cut in model.cuts]
    )
    _units(list(meters.values()), order[:how_many(last, fraction)][:model.most_units], run_ms,
           min(time.perf_counter() + UNITS_SHARE * budget_s, started_s + UNITS_END * budget_s),
           report)

    report(0.6, 'measuring codecs')
    codecs = _codecs(meter, inputs, order, started_s + CODECS_END * budget_s, report)
    report(0.9, 'measuring other numbers of threads')
    if other_threads is None:
        # Where cores are taken, threads wait for each other: seconds for a wrong figure.
        other_threads = usual_thread_counts(threads) if meter.wait_ratio < BUSY else ()
    variants = ThreadVariants(meter, threads, other_threads)
    variants.measure(run_ms, started_s + VARIANTS_END * budget_s)
    outputs, _ = meter.run(0, last, inputs[0])
    finish_ms = decoding_ms(model, outputs)

    wait = meter.wait_ratio
    in_situ = meter.in_situ()
    in_situ_tail = [in_situ[last] - head for head in in_situ]
    measured = {
        name: PieceTimes(
            _rounded(times(in_situ, _medians(each.heads)), wait),
            _rounded(times(in_situ_tail, _medians(each.tails)), wait),
        )
        for name, each in meters.items()
    }
    found = fastest(measured, next(iter(meters)))
    head_ms, tail_ms = found.head_ms, found.tail_ms
    head_width, tail_width = half_widths((in_situ, meter.heads), (in_situ_tail, meter.tails))
    whole_ms = head_ms[last]
    # Stamps cost time as well: together the operators take what the whole network does.
    stamps_ms = np.asarray(meter.stamps_ms) * whole_ms / max(in_situ[last], 1e-6)
    kinds = {name.partition(':')[0] for name in meters}
    memories = memory(model.program, compiled=not kinds.isdisjoint(names.COMPILED))
    report(1.0, 'profile is ready')
    return Profile(
        model=model.program.source,
        model_identity=model.identity,
        device=describe_device(),
        backend=model.backend,
        threads=threads,
        load_ratios=meter.load.ratios(wait),
        finish_ms=round(finish_ms * wait, TIME_DIGITS),
        output_bytes=output_sizes(model, outputs),
        seconds_spent=round(time.perf_counter() - started_s, 3),
        cuts=tuple(
            CutProfile(
                cut_id=cut.cut_id,
                index=cut.index,
                label=cut.label,
                depth=cut.depth,
                frontier_bytes=cut.nbytes,
                head_ms=head_ms[cut.index],
                tail_ms=tail_ms[cut.index],
                head_spread_ms=_spread(
                    meters[found.head_by[cut.index]].heads, cut.index, head_ms, head_width, wait
                ),
                tail_spread_ms=_spread(
                    meters[found.tail_by[cut.index]].tails, cut.index, tail_ms, tail_width, wait
                ),
                measured=(cut.index in meter.heads or cut.index == 0)
                and (cut.index in meter.tails or cut.index == last),
                codecs=codecs.costs(cut.index, wait) if cut.index < last else {},
                head_bytes=memories[cut.index][0],
                tail_bytes=memories[cut.index][1],
                frontier=tuple(spec.name for spec in cut.frontier),
                head_backend=found.head_by[cut.index] if len(meters) > 1 else '',
                tail_backend=found.tail_by[cut.index] if len(meters) > 1 else '',
            )
            for cut in model.cuts
        ),
        layers=layer_profiles(model.program, stamps_ms),
        input_name=model.program.input.name,
        input_bytes=model.program.input.nbytes,
        more_inputs=tuple((spec.name, spec.nbytes) for spec in model.program.inputs[1:]),
        outputs=tuple(spec.name for spec in model.outputs),
        variants=(
            *variants.variants(head_ms, tail_ms, model.backend),
            *_by_backend(measured, threads),
        ),
    )


def _meters(model: TorchModel, inputs: list[np.ndarray]) -> dict[str, Meter]:
    """A meter of each backend, that of the whole network first; they tell one machine's wait."""
    if not isinstance(model, PieceModel):
        return {model.backend: Meter(model, inputs)}
    order = sorted(model.models, key=lambda name: name != model.usual)
    return {name: Meter(model.models[name], inputs) for name in order}


def _rounded(times_ms: Sequence[float], factor: float) -> list[float]:
    return [round(time_ms * factor, TIME_DIGITS) for time_ms in times_ms]


def _by_backend(measured: Mapping[str, PieceTimes], threads: int) -> list[Variant]:
    """Every piece by every backend, where there are several."""
    if len(measured) == 1:
        return []
    return [
        Variant(name, threads, tuple(each.head_ms), tuple(each.tail_ms))
        for name, each in measured.items()
    ]


def _first_stamps(meter: Meter, end_s: float) -> float:
    """Stamps of a first few runs; the model has run once. Time of a run, waiting included [ms]."""
    begin_s = time.perf_counter()
    while len(meter.stamps_ms) < FIRST_STAMPS and (
        not meter.stamps_ms or time.perf_counter() < end_s
    ):
        meter.stamps_ms.append(meter.stamp())
    return (time.perf_counter() - begin_s) * 1e3 / len(meter.stamps_ms)


def _units(
    meters: Sequence[Meter], wanted: Sequence[int], run_ms: float, end_s: float, report: Report
) -> None:
    """Rounds over the whole network and as many of ``wanted`` as the time allows."""
    meter = meters[0]
    begin_s = time.perf_counter()
    late_s = end_s + LATE * max(0.0, end_s - begin_s)
    runs = (end_s - begin_s) * 1e3 / max(run_ms, 0.01) / len(meters)
    affordable = int(runs / SHORT_RUNS - OTHER_RUNS)
    if affordable < FEW_CUTS:
        affordable = min(FEW_CUTS, int(runs / LEAST_ROUNDS - OTHER_RUNS))
    chosen = sorted([meter.last, *wanted[: max(0, affordable)]])
    for number in range(UNIT_RUNS):
        if number % 2 == 0 and len(meter.stamps_ms) < STAMP_RUNS:
            meter.stamps_ms.append(meter.stamp())
        for cut in chosen:
            for each in meters:
                each.unit(cut)
            meter.load.sample()
        meter.load.probe()
        now_s = time.perf_counter()
        round_s = (now_s - begin_s) / (number + 1)
        left_s = min(end_s - now_s, (UNIT_RUNS - number - 1) * round_s)
        report(
            0.1 + 0.5 * (number + 1) / UNIT_RUNS,
            f'measuring {len(chosen) - 1} of {meter.last - 1} cuts, round {number + 1} of '
            f'{UNIT_RUNS}, {max(0.0, left_s):.0f} s left',
        )
        least = LEAST_ROUNDS if now_s < late_s else 1
        if number + 1 >= least and now_s + round_s > end_s:
            return


def _codecs(
    units: Meter,
    inputs: Sequence[list[np.ndarray]],
    order: Sequence[int],
    end_s: float,
    report: Report,
) -> CodecMeter:
    """The likely cuts with all pictures first, then ever more of the others."""
    meter = CodecMeter(units.model.by_torch, units.clock)
    likely = [0, *order[:8]]
    meter.walk(inputs[0], likely, end_s=time.perf_counter())  # cut 0 at the least
    meter.walk(inputs[0], [order[0]] if order else [], end_s)
    rest = list(order[8:])
    turns = ((inputs[0], likely), (inputs[1], likely), (inputs[0], rest),
             (inputs[2], likely), (inputs[1], rest), (inputs[2], rest))
    for number, (arrays, cuts) in enumerate(turns):
        left_s = end_s - time.perf_counter()
        if cuts and left_s > 0.0:
            report(0.6 + 0.3 * number / len(turns), f'measuring codecs, up to {left_s:.0f} s left')
            # Sparse first: a walk that runs out of time still leaves neighbours everywhere.
            for part in (cuts[0::4], cuts[2::4], cuts[1::2]):
                if part and time.perf_counter() < end_s:
                    meter.walk(arrays, part, end_s)
    return meter


def _medians(samples: dict[int, list[float]]) -> dict[int, float]:
    return {cut: statistics.median(values) for cut, values in samples.items()}


def _spread(
    samples: dict[int, list[float]],
    index: int,
    times_ms: Sequence[float],
    width: float,
    wait_ratio: float,
) -> float:
    """Interquartile range of a measured unit; width of the interval of another."""
    if times_ms[index] == 0.0:
        return 0.0
    if index in samples:
        return round(interquartile(samples[index]) * wait_ratio, TIME_DIGITS)
    return round(2.0 * width * max(times_ms[index], FLOOR * max(times_ms)), TIME_DIGITS)
