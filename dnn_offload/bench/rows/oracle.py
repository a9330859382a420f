"""The best cut and codec, found by running candidates: best-first under a sound bound. Pure.

No candidate can be faster than 0.9 times what its computing took in the profiles, plus its bytes
over the rate of the link. Candidates are run in the order of that bound; when the next bound is
above the best latency that was seen, no candidate that was left out can be better.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from dnn_offload.cost.profile import CutProfile, Profile

COMPUTE_SHARE = 0.9   # profiles miss what runs later by some percent (docs/profiles.md)
# Sizes of these depend on what is seen in the picture, and the profile saw another one.
CODED_SHARE = 0.7
FIXED_SIZE = frozenset({'raw', 'fp16'})


@dataclass(frozen=True)
class Option:
    """A plan that could be run.

    Attributes:
        cut_id, cut_index, label: The cut; an empty identity = all on the robot.
        codec: Of what crosses.
        bound_ms: It cannot be faster.
    """

    cut_id: str
    cut_index: int
    label: str
    codec: str
    bound_ms: float


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        tried: Options that were run with their latencies [ms], the best first.
        exhausted: Whether all that was left out has a bound above the best.
    """

    tried: tuple[tuple[Option, float], ...]
    exhausted: bool


def options(
    edge: Profile, server: Profile, *, uplink_bps: float, downlink_bps: float,
    burst_bytes: float = 0.0,
) -> list[Option]:
    """All plans with one cut, and all-local, by their bounds.

    Args:
        edge: The robot's profile.
        server: The server's, of the same model.
        uplink_bps: Rate of the link [bit/s]; 0 = not limited.
        downlink_bps: The same, back.
        burst_bytes: What passes the link at once after a pause.
    """
    tails = server.by_id()
    last = edge.cuts[-1]
    found = [Option('', last.index, 'all on the robot', '', _least_ms(last, 'head'))]
    down_ms = _transfer_ms(edge.output_bytes.get('raw', 0), downlink_bps, burst_bytes)
    for cut in edge.cuts[:-1]:
        other = tails.get(cut.cut_id)
        if other is None:
            continue
        compute_ms = _least_ms(cut, 'head') + _least_ms(other, 'tail')
        for codec, cost in cut.codecs.items():
            if codec not in other.codecs:
                continue
            nbytes = cost.nbytes * (1.0 if codec in FIXED_SIZE else CODED_SHARE)
            bound_ms = compute_ms + _transfer_ms(nbytes, uplink_bps, burst_bytes) + down_ms
            found.append(Option(cut.cut_id, cut.index, cut.label, codec, bound_ms))
    return sorted(found, key=lambda option: option.bound_ms)


def best_first(
    candidates: Sequence[Option], run: Callable[[Option], float], most: int,
    guesses: Collection[Option] = (),
) -> Found:
    """Run candidates in order of their bounds until none can be better, or ``most`` are run.

    Args:
        candidates: Sorted by ``bound_ms``.
        run: Gives the latency [ms]; infinite = it did not run.
        most: Limit of runs.
        guesses: Candidates that are likely good: they are run first whatever their bound is, so
            that fewer others have to be.
    """
    tried = [(option, run(option)) for option in guesses]
    best_ms = min((ms for _, ms in tried), default=float('inf'))
    exhausted = True
    for option in candidates:
        if option.bound_ms >= best_ms:
            break
        if option in guesses:
            continue
        if len(tried) >= most:
            exhausted = False
            break
        latency_ms = run(option)
        tried.append((option, latency_ms))
        best_ms = min(best_ms, latency_ms)
    return Found(tuple(sorted(tried, key=lambda item: item[1])), exhausted)


def _least_ms(cut: CutProfile, part: str) -> float:
    """Least time of a head or tail; of an interpolated one, the lower end of its interval."""
    ms, spread_ms = getattr(cut, f'{part}_ms'), getattr(cut, f'{part}_spread_ms')
    if not cut.measured:
        ms = max(ms - spread_ms, 0.0)
    return COMPUTE_SHARE * float(ms)


def _transfer_ms(nbytes: float, rate_bps: float, burst_bytes: float) -> float:
    return 8e3 * max(nbytes - burst_bytes, 0.0) / rate_bps if rate_bps > 0.0 else 0.0
