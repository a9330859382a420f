"""Made-up profiles of networks with branches: layers, values, and every legal cut. Pure.

The shape is that of Inception: a stem, then blocks in which several branches read the same
value and are joined again, with residual connections if wanted. Nothing here was measured; what
comes out is deterministic, and heads, tails and codecs are sums over layers and values, so that
all ways of planning see the same network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
import hashlib

from dnn_offload.cost.profile import CodecCost, CutProfile, LayerProfile, Profile
from dnn_offload.planning.layer_graph import crossing
from dnn_offload.simulate.made_up import (
    codec_cost,
    JPEG_BYTES,
    machine_profile,
    PICTURE_BYTES,
    RATES,
)

PICTURE = 'picture'
INCEPTION_BRANCHES = (1, 3, 5, 7)
FIRE_BRANCHES = (1, 1)


def branching_layers(
    *,
    stem: int = 8,
    blocks: int = 11,
    branches: Sequence[int] = INCEPTION_BRANCHES,
    skips: bool = False,
    whole_ms: float = 120.0,
    largest_bytes: int = 1_500_000,
) -> tuple[LayerProfile, ...]:
    """Layers of a network with branches, at speed 1.

    Args:
        stem: Layers before the first block.
        blocks: Blocks one after the other.
        branches: Layers of each branch of a block; a last layer joins them.
        skips: Whether the value before each block also goes into its joining layer.
        whole_ms: Sum of the layers' times [ms].
        largest_bytes: Size of the first activation; later ones shrink.
    """
    plan: list[tuple[str, tuple[str, ...]]] = []
    before = PICTURE
    for number in range(stem):
        plan.append((f'stem{number}', (before,)))
        before = f'stem{number}'
    for block in range(blocks):
        ends = []
        for branch, length in enumerate(branches):
            at = before
            for number in range(length):
                name = f'b{block}_{branch}_{number}'
                plan.append((name, (at,)))
                at = name
            ends.append(at)
        joined = f'join{block}'
        plan.append((joined, (*ends, before) if skips else tuple(ends)))
        before = joined
    layers = []
    for number, (name, reads) in enumerate(plan):
        shrink = (4_000 / largest_bytes) ** (number / max(len(plan) - 1, 1))
        # Neighbours differ, as those of real networks do.
        uneven = 0.4 + 1.2 * ((7 * number) % 11) / 10.0
        joins = name.startswith('join')
        layers.append(
            LayerProfile(
                name=name,
                kind='cat' if joins else 'conv2d',
                time_ms=whole_ms / len(plan) * (0.1 if joins else uneven),
                spread_ms=0.0,
                reads=reads,
                makes=((name, round(largest_bytes * shrink * (1.0 if joins else uneven))),),
                weight_bytes=0 if joins else 1000,
            )
        )
    return tuple(layers)


def profile_of_layers(
    layers: Sequence[LayerProfile],
    *,
    outputs: Sequence[str],
    speed: float = 1.0,
    rates: Mapping[str, tuple[float, float, float]] = RATES,
    positions: Sequence[int] | None = None,
    input_bytes: int = PICTURE_BYTES,
    finish_ms: float = 0.3,
    name: str = 'made-up graph',
) -> Profile:
    """A profile whose heads, tails and codecs are the sums over its layers and values.

    Args:
        layers: At speed 1.
        outputs: Names of the values that the network returns.
        speed: All times are divided by it.
        rates: Codecs: share of bytes, encoding and decoding [ms per raw MB].
        positions: Where to cut, as numbers of layers before; None = everywhere.
        input_bytes: Size of the picture.
        finish_ms: Decoding the outputs at speed 1.
        name: Name of the model.
    """
    end = len(layers)
    frontiers = crossing(layers, PICTURE, outputs)
    nbytes = {PICTURE: input_bytes} | {n: size for layer in layers for n, size in layer.makes}
    depth = _depths(layers)
    one_by_one = {
        codec: {
            # Codecs of activations leave the picture as it is.
            n: codec_cost(rates['raw' if n == PICTURE else codec], size, speed)
            for n, size in nbytes.items()
        }
        for codec in rates
    }
    cuts: list[CutProfile] = []
    wanted = range(end + 1) if positions is None else sorted({0, end, *positions})
    for position in wanted:
        frontier = frontiers[position]
        raw = sum(nbytes[n] for n in frontier)
        head_ms = sum(layer.time_ms for layer in layers[:position]) / speed
        tail_ms = sum(layer.time_ms for layer in layers[position:]) / speed
        codecs = {
            codec: _together([one_by_one[codec][n] for n in frontier])
            for codec in rates
            if position or codec == 'raw'
        }
        if position == 0:
            codecs['jpeg'] = CodecCost(min(JPEG_BYTES, input_bytes), 0.3 / speed, 0.2 / speed)
        cuts.append(
            CutProfile(
                cut_id=hashlib.sha1('\n'.join(frontier).encode()).hexdigest()[:12],
                index=len(cuts),
                label=layers[position - 1].name if position else PICTURE,
                depth=min(depth[n] for n in frontier),
                frontier_bytes=raw,
                head_ms=head_ms,
                tail_ms=tail_ms,
                codecs=codecs,
                frontier=frontier,
            )
        )
    bare = machine_profile(
        cuts, name, f'{name}-{end}', speed, finish_ms, sum(nbytes[n] for n in outputs)
    )
    return replace(
        bare,
        layers=tuple(
            LayerProfile(
                layer.name, layer.kind, layer.time_ms / speed, 0.0, layer.reads, layer.makes,
                layer.weight_bytes, layer.features,
            )
            for layer in layers
        ),
        input_name=PICTURE,
        input_bytes=input_bytes,
        outputs=tuple(outputs),
    )


def made_up_inception(speed: float = 1.0) -> Profile:
    """As many layers and cuts as Inception v3 has operators: 220, a cut behind each."""
    layers = branching_layers(stem=11, blocks=11, branches=(2, 4, 5, 7), whole_ms=120.0)[:-1]
    last = layers[-1].makes[0][0]
    open_ends = _open_ends(layers)
    tail = LayerProfile('head', 'linear', 0.5, 0.0, tuple(open_ends or (last,)), (('out', 4000),))
    return profile_of_layers((*layers, tail), outputs=('out',), speed=speed, name='inception')


def made_up_squeezenet(speed: float = 1.0) -> Profile:
    """As many layers as SqueezeNet has operators, in fire modules: 66."""
    layers = branching_layers(
        stem=3, blocks=21, branches=FIRE_BRANCHES, whole_ms=20.0, largest_bytes=800_000
    )
    return profile_of_layers(layers, outputs=('join20',), speed=speed, name='squeezenet')


def _together(costs: Sequence[CodecCost]) -> CodecCost:
    return CodecCost(
        sum(cost.nbytes for cost in costs),
        sum(cost.encode_ms for cost in costs),
        sum(cost.decode_ms for cost in costs),
    )


def _open_ends(layers: Sequence[LayerProfile]) -> list[str]:
    """Values that nothing reads."""
    read = {name for layer in layers for name in layer.reads}
    return [name for layer in layers for name, _ in layer.makes if name not in read]


def _depths(layers: Sequence[LayerProfile]) -> dict[str, int]:
    """Fewest layers with weights on any way from the picture to each value."""
    depth = {PICTURE: 0}
    for layer in layers:
        step = int(layer.weight_bytes > 0)
        nearest = min(depth[name] for name in layer.reads)
        depth |= {name: nearest + step for name, _ in layer.makes}
    return depth
