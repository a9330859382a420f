"""Which backend runs a network fastest on this machine: by turns, whole and cut in the middle.

A plan runs the whole network or a piece of it, and cutting costs one backend more than another:
openvino, 1 % faster than onnxruntime for the whole of ResNet-18, takes 4 to 50 % longer for its
heads (``benchmarks/backends.py --pieces``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
import statistics
import time

import numpy as np

from dnn_offload.cost.profile import Profile, Variant
from dnn_offload.runtime.backends.by_piece import PieceModel
from dnn_offload.runtime.backends.load import load, Log
from dnn_offload.runtime.backends.names import ALL, AUTO, by_piece, candidates, parts, TORCH
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.profile_layers import TIME_DIGITS
from dnn_offload.runtime.profile_meter import made_up_inputs, without_wait
from dnn_offload.runtime.shared import ThreadClock

ROUNDS = 9
# By so much must a backend be faster than the one before it in `names.TOLERANCES`: they stand in
# the order of the memory that they take.
MARGIN = 0.03


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        model: The network behind the backend, compiling what it is asked to measure.
        others: The other backends that run it -> time of the whole network over the chosen one's.
    """

    model: TorchModel
    others: Mapping[str, float]


def choose(
    folder: Path, wanted: str, threads: int, budget_s: float, log: Log = lambda text: None
) -> Choice:
    """Load a network behind the backend that is wanted, or behind the fastest.

    Args:
        folder: Where the model is.
        wanted: A backend, ``auto``, or what stands for several (``names.by_piece``).
        threads: Compute threads, set for the calling thread.
        budget_s: Time for comparing, compiling aside; two rounds are run in any case.
        log: Gets what cannot be used, and why.

    Raises:
        ModelError: The model cannot be loaded at all.
        ConfigurationError: There is no such backend.
    """
    names, missing = candidates(wanted)
    if missing:
        log(missing)
    models = {}
    for name in names:
        model = load(folder, name, threads=threads, log=log, wait=True)
        if model.backend == name:
            models[name] = model
    if len(models) == 1:
        return Choice(models[TORCH], {})
    whole_ms, cut_ms = _compare(models, threads, time.perf_counter() + budget_s)
    ours = {n: m for n, m in models.items() if wanted in (AUTO, ALL) or n in parts(wanted)}
    several = by_piece(wanted) and len(ours) > 1
    # Where each piece has its own, what is chosen here runs the whole network.
    price_ms = {name: whole_ms[name] + (0.0 if several else cut_ms[name]) for name in ours}
    chosen = next(iter(ours))
    for name in ours:
        if price_ms[name] < (1.0 - MARGIN) * price_ms[chosen]:
            chosen = name
    return Choice(PieceModel(ours, chosen) if several else models[chosen], {
        name: time_ms / whole_ms[chosen] for name, time_ms in whole_ms.items()
        if name != chosen and not (several and name in ours)
    })


def _compare(
    models: Mapping[str, TorchModel], threads: int, end_s: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Median times of the whole network, and of the two pieces of it, without wait [ms].

    By turns, in which two rounds are run in any case.
    """
    whole: dict[str, list[float]] = {name: [] for name in models}
    cut: dict[str, list[float]] = {name: [] for name in models}
    clock = ThreadClock()
    first = next(iter(models.values()))
    last, middle = len(first.cuts) - 1, _middle(first)
    inputs = made_up_inputs(first.cuts[0].frontier, 0)

    def run(model: TorchModel, arrays: list[np.ndarray], start: int, end: int) -> float:
        segment = model.segment(start, end)
        arrays[:], spent = clock.measure(partial(model.run, segment, list(arrays)))
        return without_wait(spent)

    try:
        for number in range(ROUNDS):
            if number >= 2 and time.perf_counter() > end_s:
                break
            for name, model in models.items():
                model.set_threads(threads)
                whole[name].append(run(model, list(inputs), 0, last))
                arrays = list(inputs)
                spans = ((0, middle), (middle, last)) if middle else ((0, last),)
                cut[name].append(sum(run(model, arrays, *span) for span in spans))
    finally:
        clock.close()
    # The first round brings code and weights into the caches.
    return tuple(  # type: ignore[return-value]
        {name: max(statistics.median(times[1:]), 1e-6) for name, times in each.items()}
        for each in (whole, cut)
    )


def _middle(model: TorchModel) -> int:
    """The cut in the middle by operators; 0 if there is no inner one."""
    last = len(model.cuts) - 1
    half = 0.5 * model.cuts[last].position
    inner = range(1, last)
    return min(inner, key=lambda index: abs(model.cuts[index].position - half), default=0)


def with_backends(profile: Profile, others: Mapping[str, float]) -> Profile:
    """A profile that tells of other backends too: its own times by the ratio of whole runs."""
    made = []
    for name, ratio in others.items():
        heads, tails = (
            tuple(round(time_ms * ratio, TIME_DIGITS) for time_ms in times)
            for times in ([cut.head_ms for cut in profile.cuts],
                          [cut.tail_ms for cut in profile.cuts])
        )
        made.append(Variant(name, profile.threads, heads, tails))
    return replace(profile, variants=(*profile.variants, *made))
