"""Which backend runs a network fastest on this machine: whole runs by turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
import statistics
import time

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
    times_ms = _compare(models, threads, time.perf_counter() + budget_s)
    chosen = TORCH
    for name, time_ms in times_ms.items():
        if time_ms < (1.0 - MARGIN) * times_ms[chosen]:
            chosen = name
    if by_piece(wanted):
        ours = {n: m for n, m in models.items() if wanted == ALL or n in parts(wanted)}
        if len(ours) > 1:
            usual = min(ours, key=lambda name: times_ms[name])
            rest = {n: time_ms for n, time_ms in times_ms.items() if n not in ours}
            return Choice(PieceModel(ours, usual), _over(rest, times_ms[usual]))
        chosen = next(iter(ours), TORCH)
    elif wanted != AUTO:
        chosen = names[-1]
    rest = {name: time_ms for name, time_ms in times_ms.items() if name != chosen}
    return Choice(models[chosen], _over(rest, times_ms[chosen]))


def _over(times_ms: Mapping[str, float], chosen_ms: float) -> dict[str, float]:
    return {name: time_ms / chosen_ms for name, time_ms in times_ms.items()}


def _compare(models: Mapping[str, TorchModel], threads: int, end_s: float) -> dict[str, float]:
    """Median time of the whole network without run-queue wait [ms], by turns."""
    spent_ms: dict[str, list[float]] = {name: [] for name in models}
    clock = ThreadClock()
    try:
        for number in range(ROUNDS):
            if number >= 2 and time.perf_counter() > end_s:
                break
            for name, model in models.items():
                model.set_threads(threads)
                segment = model.segment(0, len(model.cuts) - 1)
                inputs = made_up_inputs(model.cuts[0].frontier, number)
                _, spent = clock.measure(partial(model.run, segment, inputs))
                spent_ms[name].append(without_wait(spent))
    finally:
        clock.close()
    return {name: max(statistics.median(times), 1e-6) for name, times in spent_ms.items()}


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
