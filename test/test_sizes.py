"""What crosses a cut is as large as the camera's pictures make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.cost.profile import Profile
from dnn_offload.planning import one_cut, two_cuts
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Sent
from dnn_offload.planning.session import FrameEvidence
from dnn_offload.planning.sizes import MIN_FRAMES, Sizes
from graph_profiles import branching_conditions
from test_session import make_profile, offloading

PICTURE = ('c0', 'jpeg')


def test_the_median_of_a_few_frames_is_told() -> None:
    sizes = Sizes()

    def told(*sent_bytes: int, at_s: float = 0.0) -> Mapping[Sent, float]:
        for nbytes in sent_bytes:
            sizes.add(PICTURE, nbytes, 10_000.0, at_s)
        sizes.tick(at_s)
        return sizes.ratios

    assert not told(*(15_000, 16_000, 90_000)[: MIN_FRAMES - 1])
    first = told(14_000, 15_000, 900_000, 0)
    assert first == {PICTURE: pytest.approx(1.5)}
    assert told(15_300) is first, 'a few percent are no news, and plans need not be searched'
    assert told(*[8_000] * 20) == {PICTURE: pytest.approx(0.8)}
    sizes.add(('c1', 'raw'), 100, 0.0, 0.0)
    assert told(at_s=320.0) == {PICTURE: pytest.approx(0.8**0.5, rel=0.03)}
    assert not told(at_s=3000.0), 'nobody knows what pictures are like now'
    sizes.reset()
    assert not told(at_s=3000.0)


def larger(profile: Profile, sizes: dict[tuple[str, str], float]) -> Profile:
    """The profile of such pictures."""
    return replace(profile, cuts=tuple(
        replace(cut, codecs={
            name: replace(cost, nbytes=round(cost.nbytes * sizes.get((cut.cut_id, name), 1.0)))
            for name, cost in cut.codecs.items()
        })
        for cut in profile.cuts
    ))


def by_key(found: list[Candidate]) -> dict[object, Candidate]:
    return {plan.key: plan for plan in found}


@settings(max_examples=60, deadline=None)
@given(
    branching_conditions(bursts=True, streams=True),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.sampled_from([0.5, 1.5, 3.0]))),
)
def test_plans_cost_what_a_profile_of_such_sizes_says(
    at: Conditions, drawn: list[tuple[int, int, float]]
) -> None:
    sizes = {}
    for place, codec, ratio in drawn:
        cut = at.edge_profile.cuts[place % (len(at.edge_profile.cuts) - 1)]
        if cut.codecs:
            sizes[cut.cut_id, sorted(cut.codecs)[codec % len(cut.codecs)]] = ratio
    learnt = replace(at, sizes={**sizes, ('gone', 'raw'): 2.0})
    measured = replace(at, edge_profile=larger(at.edge_profile, sizes))
    wanted = Constraints(deadline_ms=100.0)
    ours, theirs = (by_key(one_cut.candidates(each, wanted)) for each in (learnt, measured))
    assert ours.keys() == theirs.keys()
    for key, plan in ours.items():
        assert plan.latency_ms == pytest.approx(theirs[key].latency_ms, rel=1e-3)
        assert plan.uplink_bytes == pytest.approx(theirs[key].uplink_bytes, abs=2)
    # What comes back has other sizes in such a profile, so of two cuts the way up alone.
    for plan in two_cuts.candidates(learnt, wanted):
        ratio = sizes.get((plan.cut_id, plan.codec), 1.0)
        plain = two_cuts.price(plan, at)
        assert plan.uplink_bytes == pytest.approx(ratio * plain.uplink_bytes, abs=2)
        link = at.servers[0].link
        assert plan.uplink_ms == pytest.approx(link.uplink_ms(plan.uplink_bytes), abs=0.5)
        again = two_cuts.price(plan, learnt)
        assert again.latency_ms == pytest.approx(plan.latency_ms - plan.late_ms)


def test_a_session_learns_from_frames_that_were_answered() -> None:
    world = offloading()
    chosen = world.run(0.2)
    assert (chosen.decision.candidate.cut_id, chosen.decision.candidate.codec) == PICTURE

    def frame(sent_bytes: int, *, answered: bool = True) -> FrameEvidence:
        return FrameEvidence(
            chosen.plan_id, 'c0', 'desk', True, answered, False, 0.0, 0.0, 20.0, stages_ms=18.0,
            sent_bytes=sent_bytes,
        )

    for _ in range(5):
        world.session.feed_frame(frame(0), world.now_s)  # of the camera's own making
        world.session.feed_frame(frame(90_000, answered=False), world.now_s)
    assert world.run(0.2).decision.candidate.uplink_bytes == 10_000
    for _ in range(5):
        world.session.feed_frame(frame(16_000), world.now_s)
    after = world.run(0.4)
    assert after.decision.candidate.uplink_bytes == 16_000
    # The next plan's frames are measured by the profile again, not by what was learnt.
    for _ in range(5):
        world.session.feed_frame(replace(frame(16_000), plan_id=after.plan_id), world.now_s)
    assert world.run(0.4).decision.candidate.uplink_bytes == 16_000
    world.session.feed_edge_profile(make_profile(100.0))
    assert world.run(0.4).decision.candidate.uplink_bytes == 10_000
