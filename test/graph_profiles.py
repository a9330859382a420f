"""Small random networks with branches as profiles, for hypothesis. A helper."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import strategies as st

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.profile import LayerProfile, Profile, Variant
from dnn_offload.planning.plan import Conditions, Constraints, LinkState, ServerState
from dnn_offload.simulate.made_up_graph import PICTURE, profile_of_layers

RATES = {'raw': (1.0, 0.0, 0.0), 'half': (0.5, 900.0, 400.0), 'tiny': (0.1, 4000.0, 1000.0)}

_ms = st.integers(0, 400).map(lambda tenths: tenths / 10.0)
_size = st.integers(1, 200).map(lambda kilobytes: 100 * kilobytes)


# By how much frames at the three places are seen to wait less than the model says [ms].
WAITS_LESS = st.sampled_from([{}, {'': 3.0, 't': 2.0}, {'s': 4.0, 's and back': 1.0}])

# Of a piece of the network [byte]: below, at and just above a limit; 0 = not measured.
_memory = st.sampled_from([5_000_000, 10_000_000, 10_000_001, 20_000_000, 0])
MEMORY_LIMITS_MB = st.sampled_from([0.0, 0.0, 0.0, 10.0, 20.0])


@st.composite
def branching_profiles(
    draw: st.DrawFn, most: int = 7, all_cuts: bool = True, servers: int = 1
) -> tuple[Profile, list[Profile]]:
    """The robot's and the servers' profiles of one network of up to ``most`` layers.

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
    theirs = [
        profile_of_layers([replace(layer, time_ms=draw(_ms)) for layer in layers], **made)
        for _ in range(servers)
    ]
    behind = draw(st.sampled_from([0.0, 0.5, 0.9]))
    return _in_parts(edge, behind), theirs


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
    edge, (server,) = draw(branching_profiles(most, all_cuts))
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
    """One to three servers that often pay, and all that objectives and limits ask for.

    Memory of each piece, the robot's power, agreement of the codecs (half is good, tiny is not,
    each perhaps not measured), another thread count, and another backend, which plans must not
    use. Answers may be larger than what comes before them: then a second cut pays as well.
    """
    names = 'stu'[: draw(st.integers(1, 3))]
    edge, theirs = draw(branching_profiles(most, servers=len(names)))
    edge = _with_memory(draw, edge)
    few_ms = st.sampled_from([0.0, 1.0, 5.0])
    larger = draw(st.sampled_from([20, 1, 1]))
    servers = tuple(
        _priced_server(draw, name, there, larger)
        for name, there in zip(names, theirs, strict=True)
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
        replace(edge, cuts=cuts, variants=variants), load, load, servers,
        edge_overhead_ms=draw(few_ms), power=power,
        wake_ratio=draw(st.sampled_from([0.0, 0.4])),
        frame_period_ms=draw(st.sampled_from([0.0, 10.0, 40.0])),
        waits_less=draw(WAITS_LESS),
    )


def _priced_server(draw: st.DrawFn, name: str, there: Profile, larger: int) -> ServerState:
    """A server whose link may be dead, and whose profile may lack one of the inner cuts."""
    few_ms = st.sampled_from([0.0, 1.0, 5.0])
    rates = [1e9, 1e8, 1e7, 1e6]
    link = LinkState(
        draw(few_ms), draw(st.sampled_from(rates)),
        draw(few_ms), draw(st.sampled_from([*rates, *rates, 0.0])), 1.0,
        uplink_burst_bytes=draw(st.sampled_from([0.0, 3000.0])),
    )
    there = _with_memory(draw, there)
    cuts = list(there.cuts)
    missing = draw(st.sampled_from([0, 0, 1, 2]))
    if 0 < missing < len(cuts) - 1:
        del cuts[missing]
    there = replace(
        there, output_bytes={'raw': there.output_bytes['raw'] * larger},
        cuts=tuple(replace(cut, index=index) for index, cut in enumerate(cuts)),
    )
    return ServerState(
        name, there, link, draw(st.sampled_from([0.05, 0.3, 2.0])), draw(few_ms),
        overhead_ms=draw(few_ms),
    )


def _with_memory(draw: st.DrawFn, profile: Profile) -> Profile:
    """The same with pieces of any sizes, so that none can stand in for another."""
    last = len(profile.cuts) - 1
    heads, tails = (
        draw(st.lists(_memory, min_size=last + 1, max_size=last + 1)) for _ in range(2)
    )
    heads[0] = tails[last] = 0  # nothing runs there
    tails[0] = heads[last]  # the whole network is one piece
    return replace(profile, cuts=tuple(
        replace(cut, head_bytes=head, tail_bytes=tail)
        for cut, head, tail in zip(profile.cuts, heads, tails, strict=True)
    ))


def fits(wanted: Constraints, edge: Profile, there: Profile | None = None, at: str = '') -> bool:
    """Whether no machine must hold more than it may, by docs/planning.md, "Limits".

    Args:
        wanted: The limits.
        edge: The robot's profile.
        there: The server's; None = all runs on the robot.
        at: The cut; '' = two of them, or none of the profile's: the whole network on each side.
    """
    whole_bytes = edge.cuts[-1].head_bytes
    demands = [(wanted.max_edge_memory_mb, whole_bytes)]
    if at and not wanted.deadline_ms:  # no rescue: the robot need not hold the tail
        demands = [(wanted.max_edge_memory_mb, edge.by_id()[at].head_bytes)]
        if at == edge.cuts[0].cut_id:
            demands = []
    if there is not None:
        nbytes = there.by_id()[at].tail_bytes if at else there.cuts[-1].head_bytes
        demands.append((wanted.max_server_memory_mb, nbytes))
    return all(not limit_mb or 0 < nbytes <= 1e6 * limit_mb for limit_mb, nbytes in demands)


def wait_ms(period_ms: float, at: Conditions, place: str) -> float:
    """Half a picture's period where the slowest stage is slower than the pictures come."""
    if at.frame_period_ms == 0.0:
        return 0.0
    behind = (period_ms - at.frame_period_ms) / (0.15 * at.frame_period_ms)
    share = 1.0 / (1.0 + math.exp(-max(min(behind, 500.0), -500.0)))
    share = max(share - 1.0 / (1.0 + math.exp(1.0 / 0.15)), 0.0)  # no stage, no wait
    return max(0.5 * at.frame_period_ms * share - at.waits_less.get(place, 0.0), 0.0)
