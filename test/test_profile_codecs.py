"""What codecs cost where the beginning can be sent before the rest is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import json

import numpy as np
import pytest

from dnn_offload.codec.int8_blocks import BLOCK_VALUES
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ProfileError
from dnn_offload.graph.cuts import Cut, signature
from dnn_offload.runtime.profile_codecs import CodecMeter
from dnn_offload.runtime.shared import ThreadClock
from dnn_offload.simulate.made_up import made_up_profile
from dnn_offload.tensors import TensorSpec


class Model:
    """A picture, eight blocks of values, less than two, and three."""

    def __init__(self) -> None:
        self.arrays = [
            np.zeros((1, 8, 8, 3), np.uint8),
            np.maximum(np.random.default_rng(1).standard_normal((1, 8 * BLOCK_VALUES)), 0.0)
            .astype(np.float32),
            np.zeros((1, 200_000), np.float32),
            np.zeros((1, 3 * BLOCK_VALUES), np.float32),
        ]
        frontiers = [(TensorSpec.of_array(f'v{i}', a),) for i, a in enumerate(self.arrays)]
        self.cuts = tuple(Cut(i, signature(f), 'x', i, i, f) for i, f in enumerate(frontiers))

    def segment(self, start: int, end: int) -> int:
        return end

    def run(self, segment: int, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [self.arrays[segment]]

    def to_half(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [array.astype(np.float16) for array in arrays]


def test_what_is_left_behind_the_first_bytes_is_measured() -> None:
    model = Model()
    meter = CodecMeter(model, ThreadClock())  # type: ignore[arg-type]
    assert meter.walk([model.arrays[0]], [0, 1], 1e12) == [0, 1]
    large = meter.costs(1)
    behind = {name for name, cost in large.items() if cost.behind_ms > 0.0}
    assert behind == {'int8_zstd'}
    cost = large['int8_zstd']
    assert 0.3 * cost.encode_ms < cost.behind_ms < cost.encode_ms
    slower = meter.costs(1, factor=3.0)['int8_zstd']
    assert slower.behind_ms == pytest.approx(3.0 * cost.behind_ms, rel=0.01)
    # Of cuts that were not measured: as the nearest one that is large; nothing where it is not.
    other = meter.costs(3)['int8_zstd']
    share = cost.behind_ms / cost.encode_ms
    assert other.behind_ms == pytest.approx(share * other.encode_ms, rel=0.01)
    assert meter.costs(2)['int8_zstd'].behind_ms == 0.0
    small = CodecMeter(model, ThreadClock())  # type: ignore[arg-type]
    small.walk([model.arrays[0]], [2], 1e12)
    assert small.costs(1)['int8_zstd'].behind_ms == 0.0
    assert all(cost.behind_ms == 0.0 for cost in meter.costs(0).values())


def test_a_profile_keeps_it_and_older_ones_have_none() -> None:
    profile = made_up_profile(cuts=3)
    cut = profile.cuts[1]
    name, cost = next(iter(cut.codecs.items()))
    with_it = replace(cut, codecs={**cut.codecs, name: replace(cost, behind_ms=0.25)})
    profile = replace(profile, cuts=(profile.cuts[0], with_it, *profile.cuts[2:]))
    assert Profile.from_json(profile.to_json()) == profile
    data = json.loads(profile.to_json())
    for wrong in (-1.0, float('nan'), 'much'):
        data['cuts'][1]['codecs'][name]['behind_ms'] = wrong
        with pytest.raises(ProfileError):
            Profile.from_json(json.dumps(data))
    del data['cuts'][1]['codecs'][name]['behind_ms']
    assert Profile.from_json(json.dumps(data)).cuts[1].codecs[name].behind_ms == 0.0
