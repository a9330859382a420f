"""Small random networks with branches as profiles, for hypothesis. A helper."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import strategies as st

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.profile import LayerProfile, Profile, Variant
from dnn_offload.planning.plan import Conditions, LinkState, ServerState
from dnn_offload.simulate.made_up_graph import PICTURE, profile_of_layers

RATES = {'raw': (1.0, 0.0, 0.0), 'half': (0.5, 900.0, 400.0), 'tiny': (0.1, 4000.0, 1000.0)}

_ms = st.integers(0, 400).map(lambda tenths: tenths / 10.0)
_size = st.integers(1, 200).map(lambda kilobytes: 100 * kilobytes)


# By how much frames at the three places are seen to wait less than the model says [ms].
WAITS_LESS = st.sampled_from([{}, {'': 3.0}, {'s': 4.0, 's and back': 1.0}])


@st.composite
def branching_profiles(
    draw: st.DrawFn, most: int = 7, all_cuts: bool = True
) -> tuple[Profile, Profile]:
    """The robot's and the server's profile of one network of up to ``most`` layers.

    Layers read one to three earlier values and make one or two; what nothing reads is an
    output. ``all_cuts``: a cut at every position, else at some.
    """
    count = draw(st.integers(2, most))
    values = [PICTURE]
    layers = []
    for number in range(count):
        least = {PICTURE} if number == 0 else set()
        reads = draw(
            st.sets(st.sampled_from(values[-5:]), min_size=1, max_size=3).map(
                lambda names, least=least: sorted(names | least)  # type: ignore[misc]
            )
        )
        names = [f'v{number}', f'w{number}'][: draw(st.integers(1, 2))]
        layers.append(
            LayerProfile(
                f'layer{number}', 'conv2d', draw(_ms), 0.0, tuple(reads),
                tuple((name, draw(_size)) for name in names),
                weight_bytes=draw(st.sampled_from([0, 8])),
            )
        )
        values += names
    read = {name for layer in layers for name in layer.reads}
    unread = [name for name in values if name not in read]
    returned = tuple(unread + draw(st.lists(st.sampled_from(values[1:]), max_size=1)))
    outputs = tuple(dict.fromkeys(returned))
    positions = None if all_cuts else draw(st.lists(st.integers(0, count)))
    made = {'outputs': outputs, 'rates': RATES, 'positions': positions, 'input_bytes': 9000}
    edge = profile_of_layers(layers, **made)
    there = [replace(layer, time_ms=draw(_ms)) for layer in layers]
    behind = draw(st.sampled_from([0.0, 0.5, 0.9]))
    return _in_parts(edge, behind), profile_of_layers(there, **made)


def _in_parts(profile: Profile, behind: float) -> Profile:
    """The same where codec ``tiny`` can be sent before all is encoded."""
    return replace(profile, cuts=tuple(
        replace(cut, codecs={
            name: replace(cost, behind_ms=behind * cost.encode_ms * (name == 'tiny'))
            for name, cost in cut.codecs.items()
        })
        for cut in profile.cuts
    ))  # fmt: skip


def overlap_ms(behind_ms: float, nbytes: float, link: LinkState) -> float:
    """Encoding that is left when the first bytes go, as long as the others take."""
    rest = max(nbytes - link.uplink_burst_bytes, 0.0)
    return min(behind_ms, 8e3 * rest / link.uplink_bps)


@st.composite
def branching_conditions(
    draw: st.DrawFn, most: int = 7, all_cuts: bool = True, bursts: bool = False,
    streams: bool = False,
) -> Conditions:
    """One server that is reached over a fast or slow link."""
    edge, server = draw(branching_profiles(most, all_cuts))
    rate = st.sampled_from([2e5, 2e6, 1e7, 1e8])
    burst = draw(st.sampled_from([0.0, 3000.0, 20_000.0])) if bursts else 0.0
    link = LinkState(
        draw(_ms), draw(rate), draw(_ms), draw(rate), 1.0, uplink_burst_bytes=burst
    )
    load = st.sampled_from([0.5, 1.0, 3.0])
    state = ServerState('s', server, link, draw(load), draw(_ms), overhead_ms=draw(_ms))
    return Conditions(
        edge, draw(load), 1.0, (state,), edge_overhead_ms=draw(_ms),
        wake_ratio=draw(st.sampled_from([0.0, 0.4])),
        frame_period_ms=draw(st.sampled_from([0.0, 10.0, 40.0])) if streams else 0.0,
        waits_less=draw(WAITS_LESS),
    )


@st.composite
def priced_conditions(draw: st.DrawFn, most: int = 6) -> Conditions:
    """A server that often pays, and all that objectives and limits ask for.

    The robot's power, agreement of the codecs (half is good, tiny is not, each perhaps not
    measured), another thread count, and another backend, which plans must not use. Answers may be
    larger than what comes before them: then a second cut pays as well.
    """
    edge, there = draw(branching_profiles(most))
    few_ms = st.sampled_from([0.0, 1.0, 5.0])
    rate = st.sampled_from([1e8, 1e7, 1e6])
    link = LinkState(
        draw(few_ms), draw(rate), draw(few_ms), draw(rate), 1.0,
        uplink_burst_bytes=draw(st.sampled_from([0.0, 3000.0])),
    )
    answer = {'raw': there.output_bytes['raw'] * draw(st.sampled_from([20, 1]))}
    server = ServerState(
        's', replace(there, output_bytes=answer), link,
        draw(st.sampled_from([0.05, 0.3, 2.0])), draw(few_ms), overhead_ms=draw(few_ms),
    )
    load = draw(st.sampled_from([3.0, 1.0, 0.5]))
    agreements = {
        'half': draw(st.sampled_from([None, 0.95])),
        'tiny': draw(st.sampled_from([None, 0.6])),
        'jpeg': draw(st.sampled_from([None, 0.92])),
    }
    cuts = tuple(
        replace(cut, codecs={
            name: replace(cost, agreement=agreements.get(name))
            for name, cost in cut.codecs.items()
        })
        for cut in edge.cuts
    )  # fmt: skip
    ratio = draw(st.sampled_from([0.5, 0.7, 1.2]))
    variants = tuple(
        Variant(
            backend, 2, tuple(times * cut.head_ms for cut in cuts),
            tuple(times * cut.tail_ms for cut in cuts),
        )
        for backend, times in ((edge.backend, ratio), ('another backend', 0.01))
    )  # fmt: skip
    watts = st.sampled_from([0.2, 1.0, 5.0])
    power = PowerModel(
        'made up', draw(watts), draw(watts), draw(watts), draw(watts), 'test', core_w=draw(watts)
    )
    return Conditions(
        replace(edge, cuts=cuts, variants=variants), load, load, (server,),
        edge_overhead_ms=draw(few_ms), power=power,
        wake_ratio=draw(st.sampled_from([0.0, 0.4])),
        frame_period_ms=draw(st.sampled_from([0.0, 10.0, 40.0])),
        waits_less=draw(WAITS_LESS),
    )


def wait_ms(period_ms: float, at: Conditions, place: str) -> float:
    """Half a picture's period where the slowest stage is slower than the pictures come."""
    if at.frame_period_ms == 0.0:
        return 0.0
    behind = (period_ms - at.frame_period_ms) / (0.15 * at.frame_period_ms)
    share = 1.0 / (1.0 + math.exp(-max(min(behind, 500.0), -500.0)))
    share = max(share - 1.0 / (1.0 + math.exp(1.0 / 0.15)), 0.0)  # no stage, no wait
    return max(0.5 * at.frame_period_ms * share - at.waits_less.get(place, 0.0), 0.0)
