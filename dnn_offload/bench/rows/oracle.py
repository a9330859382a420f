"""The best cut and codec, found by running candidates: best-first under a sound bound. Pure.

No candidate can be faster than 0.9 times what its computing and coding took in the profiles, plus
its bytes over the rate of the link. A profile contains what was waited while it was taken, more
than is waited now on a machine that has calmed down: then computing counts by the least share of
its profiled time that any candidate took. Candidates are run in the order of that bound; when the
next bound is above the best latency that was seen, no candidate that was left out can be better.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
import math

from dnn_offload.cost.profile import CutProfile, Profile

COMPUTE_SHARE = 0.9   # profiles miss what runs later by some percent (docs/profiles.md)
# Sizes of these depend on what is seen in the picture, and the profile saw another one.
CODED_SHARE = 0.7
FIXED_SIZE = frozenset({'raw', 'fp16'})
LEAST_MS = 2.0        # profiled; the share of shorter pieces is mostly noise
FAR_OFF = 3.0         # times the fastest of a search: no bad moment explains that


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

    @property
    def plan(self) -> tuple[str, str]:
        """What is run, without the bound."""
        return self.cut_id, self.codec


@dataclass(frozen=True)
class Shares:
    """What computing takes of its profiled time, at most 1, on both sides."""

    robot: float = 1.0
    server: float = 1.0

    def seen(self, option: Option, edge: Profile, server: Profile, head_ms: float,
             tail_ms: float) -> Shares:
        """With what a candidate took on the robot and at the server [ms]; NaN = not known."""
        there = server.by_id().get(option.cut_id)
        return Shares(
            _least_share(self.robot, head_ms, edge.cuts[option.cut_index].head_ms),
            _least_share(self.server, tail_ms, there.tail_ms if there is not None else 0.0),
        )


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        tried: Options that were run with their latencies [ms], the best first.
        left_out_ms: Least bound of what was left out though it might be better; infinite if there
            is none.
    """

    tried: tuple[tuple[Option, float], ...]
    left_out_ms: float = math.inf

    @property
    def exhausted(self) -> bool:
        """Whether all that was left out has a bound above the best."""
        return math.isinf(self.left_out_ms)

    def finalists(self, most: int, likely: Collection[tuple[str, str]]) -> list[Option]:
        """What is to be run again: the fastest, and what was likely good unless it is far off.

        A few frames in a bad moment must not end the plan that all others are judged by.

        Args:
            most: How many of the fastest.
            likely: Identity of the cut and codec of plans that are run again even if they are
                not among these.
        """
        ran = [(option, ms) for option, ms in self.tried if math.isfinite(ms)]
        return [
            option for place, (option, ms) in enumerate(ran)
            if place < most or (option.plan in likely and ms < FAR_OFF * ran[0][1])
        ]


def options(
    edge: Profile, server: Profile, *, uplink_bps: float, downlink_bps: float,
    burst_bytes: float = 0.0, shares: Shares = Shares(),  # noqa: B008 (frozen)
) -> list[Option]:
    """All plans with one cut, and all-local, by their bounds.

    Args:
        edge: The robot's profile.
        server: The server's, of the same model.
        uplink_bps: Rate of the link [bit/s]; 0 = not limited.
        downlink_bps: The same, back.
        burst_bytes: What passes the link at once after a pause.
        shares: What computing was seen to take of its profiled time.
    """
    tails = server.by_id()
    last = edge.cuts[-1]
    found = [Option('', last.index, 'all on the robot', '',
                    shares.robot * _least_ms(last, 'head'))]
    # Whatever codec the answers have: that of masks depends on what is seen.
    answers = [_least_size(codec) * nbytes for codec, nbytes in edge.output_bytes.items()]
    down_ms = _transfer_ms(min(answers, default=0.0), downlink_bps, burst_bytes)
    for cut in edge.cuts[:-1]:
        other = tails.get(cut.cut_id)
        if other is None:
            continue
        compute_ms = (
            shares.robot * _least_ms(cut, 'head') + shares.server * _least_ms(other, 'tail')
        )
        for codec, cost in cut.codecs.items():
            if codec not in other.codecs:
                continue
            size = _least_size(codec)
            sent_ms = _transfer_ms(size * cost.nbytes, uplink_bps, burst_bytes)
            # The rest of the encoding goes on behind the first slices.
            encode_ms = shares.robot * max(cost.encode_ms - cost.behind_ms, 0.0)
            decode_ms = shares.server * other.codecs[codec].decode_ms
            coding_ms = COMPUTE_SHARE * size * (encode_ms + decode_ms)
            bound_ms = compute_ms + coding_ms + sent_ms + down_ms
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
    left_out_ms = math.inf
    for option in candidates:
        if option.bound_ms >= best_ms:
            break
        if option in guesses:
            continue
        if len(tried) >= most:
            left_out_ms = option.bound_ms
            break
        latency_ms = run(option)
        tried.append((option, latency_ms))
        best_ms = min(best_ms, latency_ms)
    return Found(tuple(sorted(tried, key=lambda item: item[1])), left_out_ms)


def search(
    bounded: Callable[[Shares], Sequence[Option]],
    run: Callable[[Option, Shares], tuple[float, Shares]],
    most: int,
    guesses: Collection[tuple[str, str]] = (),
) -> Found:
    """``best_first``, once more while computing turns out to take less than the bounds say.

    Args:
        bounded: All candidates, sorted by the bound under such shares.
        run: Gives the latency [ms] and the shares with what was seen; called once for each plan.
        most: Limit of runs.
        guesses: Identity of the cut and codec of candidates that are run first.
    """
    shares, ran = Shares(), dict[tuple[str, str], float]()

    def latency_ms(option: Option) -> float:
        nonlocal shares
        if option.plan not in ran:
            ran[option.plan], shares = run(option, shares)
        return ran[option.plan]

    while True:
        before = shares
        known = bounded(before)
        first = [option for option in known if option.plan in ran or option.plan in guesses]
        found = best_first(known, latency_ms, most, first)
        if shares == before or not found.exhausted:
            return found


def _least_size(codec: str) -> float:
    """Share of its profiled size that a payload has at least."""
    return 1.0 if codec in FIXED_SIZE else CODED_SHARE


def _least_share(known: float, seen_ms: float, profiled_ms: float) -> float:
    if profiled_ms < LEAST_MS or not seen_ms > 0.0:  # NaN, too
        return known
    return min(known, seen_ms / profiled_ms)


def _least_ms(cut: CutProfile, part: str) -> float:
    """Least time of a head or tail; of an interpolated one, the lower end of its interval."""
    ms, spread_ms = getattr(cut, f'{part}_ms'), getattr(cut, f'{part}_spread_ms')
    if not cut.measured:
        ms = max(ms - spread_ms, 0.0)
    return COMPUTE_SHARE * float(ms)


def _transfer_ms(nbytes: float, rate_bps: float, burst_bytes: float) -> float:
    return 8e3 * max(nbytes - burst_bytes, 0.0) / rate_bps if rate_bps > 0.0 else 0.0
