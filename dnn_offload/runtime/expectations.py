"""What a profile says about the engine's own work, as what its run times are compared with."""

from __future__ import annotations

from functools import partial

from dnn_offload.cost.profile import Profile
from dnn_offload.runtime.outlook import encode_key, run_key
from dnn_offload.runtime.shared import FINISH, Shared
from dnn_offload.runtime.timing import Key


def expect(shared: Shared, profile: Profile, threads: int) -> None:
    """Take the expected times from a profile (of this machine and model).

    What slow-down was seen relative to the one before is forgotten.

    Args:
        shared: The engine's state.
        profile: The profile.
        threads: Compute threads now.
    """
    last, times = shared.slot.last_cut, shared.times
    times.set_load_ratios(profile.load_ratios)
    shared.baselines = partial(_baselines, profile, last)
    for key, baseline_ms in shared.baselines(threads).items():
        times.seed(key, baseline_ms)
    for cut in profile.cuts[: last + 1]:
        for name, cost in cut.codecs.items():
            times.seed(encode_key(cut.index, name), cost.encode_ms)
    times.seed(FINISH, profile.finish_ms)
    times.forget_factors()


def _baselines(profile: Profile, last: int, threads: int) -> dict[Key, float]:
    """What heads and tails take with a thread count, as profiled; else as with the usual one."""
    own = (v for v in profile.variants if v.backend == profile.backend)
    variant = next((v for v in own if v.threads == threads), None)
    found: dict[Key, float] = {}
    for cut in profile.cuts[: last + 1]:
        if cut.index > 0:
            head_ms = cut.head_ms if variant is None else variant.head_ms[cut.index]
            found[run_key((0, cut.index))] = head_ms
        if cut.index < last:
            tail_ms = cut.tail_ms if variant is None else variant.tail_ms[cut.index]
            found[run_key((cut.index, last))] = tail_ms
    return found
