"""Made-up profiles: a network that never was, on machines of any speed. For simulations.

The shape is that of usual image networks: a picture, activations that first are larger than it
and then shrink, work spread over the depth. Nothing here was measured; what comes out is
deterministic for given arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import hashlib
import math

from dnn_offload.cost.profile import CodecCost, CutProfile, Profile

PICTURE_BYTES = 224 * 224 * 3
JPEG_BYTES = 10_000
OUTPUT_BYTES = 4_000
# Share of the raw float tensor that each codec leaves, and ms per MB of raw tensor on a
# machine of speed 1: rough numbers, benchmarks/codec_times.py measures real ones.
RATES: Mapping[str, tuple[float, float, float]] = {
    'raw': (1.0, 0.05, 0.05),
    'fp16': (0.5, 0.3, 0.2),
    'int8': (0.25, 0.6, 0.2),
    'int8_zstd': (0.14, 1.0, 0.3),
    'int4_zstd': (0.07, 1.2, 0.4),
}
CODECS = ('raw', 'fp16', 'int8', 'int8_zstd')  # of a chain of cuts


def made_up_profile(
    *,
    cuts: int = 24,
    whole_ms: float = 40.0,
    finish_ms: float = 0.3,
    largest_bytes: int = 800_000,
    codecs: tuple[str, ...] = CODECS,
    speed: float = 1.0,
) -> Profile:
    """A profile with cuts 0..``cuts``.

    Args:
        cuts: Number of the last cut.
        whole_ms: The whole network at speed 1 [ms].
        finish_ms: Decoding the outputs at speed 1 [ms].
        largest_bytes: Raw size of the first activations; later ones shrink to the output.
        codecs: Codecs at inner cuts; the picture always has raw, zstd and jpeg.
        speed: All times are divided by it.
    """
    table = []
    for index in range(cuts + 1):
        share = index / cuts
        done = share**0.8  # early layers are a little heavier than late ones
        raw = round(largest_bytes * math.exp(-share * math.log(largest_bytes / OUTPUT_BYTES)))
        if index == 0:
            raw = PICTURE_BYTES
        table.append(
            CutProfile(
                cut_id=hashlib.sha1(f'{cuts}:{index}'.encode()).hexdigest()[:12],
                index=index,
                label='picture' if index == 0 else f'layer{index}',
                depth=index,
                frontier_bytes=raw,
                head_ms=whole_ms * done / speed,
                tail_ms=whole_ms * (1.0 - done) / speed,
                codecs=_codec_costs(index, raw, codecs, speed),
            )
        )
    return machine_profile(
        table, f'made-up:{cuts}', f'made-up-{cuts}-{whole_ms:g}-{largest_bytes}', speed,
        finish_ms, OUTPUT_BYTES,
    )


def machine_profile(
    cuts: Sequence[CutProfile],
    model: str,
    identity: str,
    speed: float,
    finish_ms: float,
    output_bytes: int,
) -> Profile:
    """A made-up profile of some cuts, on a machine without load.

    Args:
        cuts: On that machine.
        model: Name of the model.
        identity: Its identity.
        speed: Of the machine.
        finish_ms: Decoding the outputs at speed 1.
        output_bytes: Raw size of the outputs.
    """
    return Profile(
        model=model,
        model_identity=identity,
        device={'name': f'made-up, speed {speed:g}'},
        backend='none',
        threads=1,
        load_ratios={},
        finish_ms=finish_ms / speed,
        output_bytes={'raw': output_bytes, 'fp16': output_bytes // 2},
        seconds_spent=0.0,
        cuts=tuple(cuts),
    )


def codec_cost(rate: tuple[float, float, float], nbytes: int, speed: float) -> CodecCost:
    """What a codec with one of ``RATES`` costs for a raw size on a machine of some speed."""
    share, encode, decode = rate
    scale = nbytes / 1e6 / speed
    return CodecCost(round(share * nbytes), encode * scale, decode * scale)


def _codec_costs(
    index: int, raw_bytes: int, codecs: tuple[str, ...], speed: float
) -> dict[str, CodecCost]:
    if index == 0:
        return {
            'raw': CodecCost(PICTURE_BYTES, 0.01 / speed, 0.01 / speed),
            'zstd': CodecCost(round(0.7 * PICTURE_BYTES), 0.4 / speed, 0.2 / speed),
            'jpeg': CodecCost(JPEG_BYTES, 0.3 / speed, 0.2 / speed),
        }
    return {name: codec_cost(RATES[name], raw_bytes, speed) for name in codecs}
