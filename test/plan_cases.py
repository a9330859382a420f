"""Conditions for tests of planning: two made-up machines, a link, a board. A helper."""

from __future__ import annotations

from dataclasses import replace

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.profile import CodecCost, CutProfile, Profile, Variant
from dnn_offload.errors import PlanningError
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.search import plan, reprice, STRATEGIES
from dnn_offload.simulate.made_up import made_up_profile

BOARD = PowerModel('b', 3.0, 2.5, 2.2, 2.0, 'test', core_w=0.5)


def profiles(cuts: int = 12, *, agreement: float | None = None) -> tuple[Profile, Profile]:
    """Robot and a server five times as fast; memory known, int8 agrees on so many frames."""
    return tuple(  # type: ignore[return-value]
        _known(made_up_profile(cuts=cuts, speed=speed), agreement) for speed in (1.0, 5.0)
    )


def _known(profile: Profile, agreement: float | None) -> Profile:
    last = len(profile.cuts) - 1
    return replace(
        profile,
        cuts=tuple(
            replace(
                cut,
                head_bytes=10_000_000 * cut.index,
                tail_bytes=10_000_000 * (last - cut.index),
                codecs={
                    name: replace(cost, agreement=agreement if name == 'int8' else None)
                    for name, cost in cut.codecs.items()
                },
            )
            for cut in profile.cuts
        ),
    )


def case(
    *,
    cuts: int = 12,
    bps: float = 20e6,
    load: float = 1.0,
    power: PowerModel | None = BOARD,
    agreement: float | None = None,
) -> Conditions:
    """One robot and one server."""
    edge, server = profiles(cuts, agreement=agreement)
    link = LinkState(3.0, bps, 3.0, bps, 1.0)
    return Conditions(
        edge, load, load, (ServerState('s', server, link, 1.0, 0.5),), power=power
    )


def with_threads(profile: Profile, *counts: int) -> Profile:
    """The profile with variants that scale as threads do: not quite."""
    return replace(
        profile,
        variants=tuple(
            Variant(
                profile.backend,
                count,
                tuple(cut.head_ms / count**0.8 for cut in profile.cuts),
                tuple(cut.tail_ms / count**0.8 for cut in profile.cuts),
            )
            for count in counts
        ),
    )


def two_plans(
    *, whole_ms: float = 100.0, tail_ms: float = 20.0, nbytes: int = 50_000, power: bool = False
) -> Conditions:
    """Exactly two plans: all on the robot, or the picture as it is to the server."""
    def profile(whole: float) -> Profile:
        cuts = (
            CutProfile('c0', 0, 'picture', 0, nbytes, 0.0, whole,
                       codecs={'raw': CodecCost(nbytes, 0.0, 0.0)}),
            CutProfile('c1', 1, 'out', 1, 0, whole, 0.0),
        )
        return Profile('m', 'id', {}, 'torch', 1, {}, 0.0, {'raw': 0}, 0.0, cuts)

    link = LinkState(1.0, 8e6, 1.0, 8e6, 1.0)
    server = ServerState('s', profile(tail_ms), link)
    return Conditions(
        profile(whole_ms), servers=(server,), power=BOARD if power else None
    )


def auto_and_others(
    at: Conditions, constraints: Constraints
) -> tuple[list[Candidate], list[list[Candidate]]]:
    """Candidates of ``auto``, each once, and those of every strategy that has some.

    No other strategy's first few cost less than auto's first under the true conditions.
    """
    ranked = plan('auto', at, constraints)
    assert len({c.key for c in ranked}) == len(ranked)
    theirs = []
    for name in STRATEGIES:
        try:
            others = plan(name, at, constraints)
        except PlanningError:
            assert name == 'remote'
            continue
        for other in others[:5]:
            assert ranked[0].latency_ms <= reprice(other, at).latency_ms * (1 + 1e-12) + 1e-9
        theirs.append(others)
    return ranked, theirs
