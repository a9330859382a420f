"""Measures a model on this machine, within a time budget: heads, tails, codecs, load.

Where the time goes: a tenth for warming and stamps, half for heads and tails as units, in
rounds over the chosen cuts (so that one segment's weights push another's out of the cache, as
they do when plans change), the rest for codecs on pictures with natural statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import statistics
import time
from typing import Any

import numpy as np

from dnn_offload.cost.profile import CutProfile, Profile
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.pictures import COUNT, natural_picture
from dnn_offload.runtime.profile_codecs import CodecMeter, output_sizes
from dnn_offload.runtime.profile_machine import describe_device, LoadWatch
from dnn_offload.runtime.profile_model import fill, monotone, nearest, promising_cuts
from dnn_offload.runtime.shared import Spent, ThreadClock
from dnn_offload.vision.decode import decode_classes, decode_detections
from dnn_offload.vision.preprocess import Mapping

STAMP_RUNS = 5
UNIT_RUNS = 10  # rounds that are aimed at
LEAST_ROUNDS = 3
UNITS_SHARE = 0.5  # of the budget, to heads and tails
FINISH_RUNS = 10

Report = Callable[[float, str], None]


class _Meter:
    """Runs segments and keeps their times."""

    def __init__(self, model: TorchModel, picture: np.ndarray) -> None:
        self.model = model
        self.picture = picture
        self.clock = ThreadClock()
        self.load = LoadWatch()
        self.total = Spent(0.0, 0.0, 0.0)
        self.heads: dict[int, list[float]] = {}
        self.tails: dict[int, list[float]] = {}

    def run(self, start: int, end: int, arrays: list[np.ndarray]) -> tuple[list[Any], float]:
        """Outputs, and wall time without run-queue wait [ms]."""
        segment = self.model.segment(start, end)
        outputs, spent = self.clock.measure(lambda: self.model.run(segment, arrays))
        self.total = Spent(
            self.total.wall_ms + spent.wall_ms,
            self.total.cpu_ms + spent.cpu_ms,
            self.total.wait_ms + spent.wait_ms,
        )
        return outputs, max(spent.wall_ms - spent.wait_ms, 0.0)

    def unit(self, cut: int) -> None:
        """One run of a cut's head and of its tail; the whole network is head N and tail 0."""
        last = len(self.model.cuts) - 1
        arrays, head_ms = self.run(0, cut, [self.picture])
        self.heads.setdefault(cut, []).append(head_ms)
        if cut < last:
            _, tail_ms = self.run(cut, last, arrays)
            self.tails.setdefault(cut, []).append(tail_ms)
        else:
            self.tails.setdefault(0, []).append(head_ms)

    @property
    def wait_ratio(self) -> float:
        """1 + run-queue wait over the rest of the wall time, over all that was measured."""
        return 1.0 + self.total.wait_ms / max(self.total.wall_ms - self.total.wait_ms, 1e-6)


def measure_profile(
    model: TorchModel,
    threads: int,
    budget_s: float = 8.0,
    report: Report = lambda fraction, message: None,
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
    """
    started_s = time.perf_counter()
    model.set_threads(threads)
    shape = model.program.input.shape
    pictures = [natural_picture(shape[1], shape[2], seed) for seed in range(COUNT)]
    last = len(model.cuts) - 1
    meter = _Meter(model, pictures[0])

    report(0.0, 'warming up')
    in_situ = _stamps(meter, started_s + 0.15 * budget_s)
    in_situ_tail = [in_situ[last] - head for head in in_situ]
    order = promising_cuts(
        in_situ, [cut.nbytes for cut in model.cuts], [cut.depth for cut in model.cuts]
    )
    units_end_s = time.perf_counter() + UNITS_SHARE * budget_s
    _units(meter, order, in_situ[last], units_end_s, report)

    report(0.6, 'measuring codecs')
    codecs = _codecs(meter, pictures, order, started_s + 0.97 * budget_s)
    outputs, _ = meter.run(0, last, [pictures[0]])
    finish_ms = _finish_ms(model, outputs)
    wait = meter.wait_ratio
    heads = _times(in_situ, meter.heads, wait)
    tails = _times(in_situ_tail, meter.tails, wait)
    report(1.0, 'profile is ready')
    return Profile(
        model=model.program.source,
        model_identity=model.identity,
        device=describe_device(),
        backend='torch',
        threads=threads,
        load_ratios=meter.load.ratios(wait),
        finish_ms=finish_ms * wait,
        output_bytes=output_sizes(model, outputs),
        seconds_spent=time.perf_counter() - started_s,
        cuts=tuple(
            CutProfile(
                cut_id=cut.cut_id,
                index=cut.index,
                label=cut.label,
                depth=cut.depth,
                frontier_bytes=cut.nbytes,
                head_ms=heads[cut.index],
                tail_ms=tails[cut.index],
                head_spread_ms=wait * _spread(meter.heads, cut.index, heads),
                tail_spread_ms=wait * _spread(meter.tails, cut.index, tails),
                measured=(cut.index in meter.heads or cut.index == 0)
                and (cut.index in meter.tails or cut.index == last),
                codecs=codecs.costs(cut.index, wait) if cut.index < last else {},
            )
            for cut in model.cuts
        ),
    )


def _stamps(meter: _Meter, end_s: float) -> list[float]:
    """Time up to each cut within a run of the whole network [ms]."""
    model = meter.model
    last = len(model.cuts) - 1
    segment = model.segment(0, last)
    meter.model.run(segment, [meter.picture])  # first run pays for kernels and page faults
    runs: list[list[float]] = []
    while len(runs) < STAMP_RUNS and (not runs or time.perf_counter() < end_s):
        runs.append(model.stamps(segment, [meter.picture]))
    per_operator_ms = np.median(np.array(runs), axis=0)  # (operators,)
    upto = np.concatenate([[0.0], np.cumsum(per_operator_ms)])
    return [float(upto[cut.position]) for cut in model.cuts]


def _units(
    meter: _Meter, order: Sequence[int], whole_ms: float, end_s: float, report: Report
) -> None:
    """Rounds over the whole network and as many of ``order`` as the time allows."""
    last = len(meter.model.cuts) - 1
    begin_s = time.perf_counter()
    affordable = int((end_s - begin_s) * 1e3 / (UNIT_RUNS * max(whole_ms, 0.01)))
    chosen = sorted([last, *order[: max(0, affordable - 1)]])
    for number in range(UNIT_RUNS):
        for cut in chosen:
            meter.unit(cut)
            meter.load.sample()
        meter.load.probe()
        now_s = time.perf_counter()
        report(
            0.1 + 0.5 * min(1.0, (now_s - begin_s) / max(end_s - begin_s, 1e-3)),
            f'measuring {len(chosen)} of {last} cuts, round {number + 1}',
        )
        round_s = (now_s - begin_s) / (number + 1)
        if number + 1 >= LEAST_ROUNDS and now_s + round_s > end_s:
            return


def _codecs(
    units: _Meter, pictures: Sequence[np.ndarray], order: Sequence[int], end_s: float
) -> CodecMeter:
    """The likely cuts with all pictures first, then ever more of the others."""
    meter = CodecMeter(units.model, units.clock)
    likely = [0, *order[:8]]
    meter.walk(pictures[0], likely, end_s=time.perf_counter())  # cut 0 at the least
    meter.walk(pictures[0], [order[0]] if order else [], end_s)
    rest = list(order[8:])
    for picture, cuts in ((pictures[0], likely), (pictures[1], likely), (pictures[0], rest),
                          (pictures[2], likely), (pictures[1], rest), (pictures[2], rest)):
        if cuts and time.perf_counter() < end_s:
            # Sparse first: a walk that runs out of time still leaves neighbours everywhere.
            for part in (cuts[0::4], cuts[2::4], cuts[1::2]):
                if part and time.perf_counter() < end_s:
                    meter.walk(picture, part, end_s)
    return meter


def _times(
    in_situ: Sequence[float], samples: dict[int, list[float]], wait_ratio: float
) -> list[float]:
    measured = {cut: statistics.median(values) for cut, values in samples.items()}
    filled = fill(in_situ, measured)
    weights = [10.0 if index in measured else 1.0 for index in range(len(filled))]
    if in_situ[-1] < in_situ[0]:  # tails get shorter
        ordered = monotone(filled[::-1], weights[::-1])[::-1]
    else:
        ordered = monotone(filled, weights)
    return [max(0.0, time_ms) * wait_ratio for time_ms in ordered]


def _spread(samples: dict[int, list[float]], index: int, times_ms: Sequence[float]) -> float:
    """Interquartile range; of a cut that was not measured, in proportion to the nearest one."""
    if times_ms[index] == 0.0 or not samples:
        return 0.0
    source = nearest(sorted(samples), index)
    values = sorted(samples[source])
    iqr = values[(3 * len(values)) // 4] - values[len(values) // 4]
    return iqr * times_ms[index] / max(times_ms[source], 1e-6)


def _finish_ms(model: TorchModel, outputs: list[np.ndarray]) -> float:
    """Time of decoding the outputs [ms]."""
    program = model.program
    height, width = program.input.shape[1:3]
    mapping = Mapping(1.0, 1.0, 0.0, 0.0, width, height)
    times = []
    for _ in range(FINISH_RUNS):
        started_s = time.perf_counter()
        if program.task == 'detection':
            decode_detections(outputs, mapping, program.class_names)
        else:
            decode_classes(outputs, program.class_names)
        times.append((time.perf_counter() - started_s) * 1e3)
    return min(times)
