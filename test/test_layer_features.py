"""Features of operators against configurations that are counted by hand."""

from __future__ import annotations

import pytest

from dnn_offload.cost.layer_features import Facts, facts_of, FEATURES, layer_features

CROSS = {'v': 'x'}


def test_every_kind_has_the_same_numbers() -> None:
    for kind in ('conv2d', 'relu', 'lstm', 'something_new'):
        features = layer_features(kind, [(1, 3, 8, 8)], [(1, 3, 8, 8)])
        assert tuple(features) == FEATURES
        assert all(isinstance(value, float) for value in features.values())
    assert set(layer_features('fill', [], []).values()) == {0.0}


def test_convolution_is_counted_per_output_position() -> None:
    # 3x3, 16 -> 32 channels, stride 2: 32 * 10 * 20 positions of 16 * 9 products
    facts = facts_of('conv2d', [CROSS, {'w': 'k'}, None, [2, 2], [1, 1], [1, 1], 1])
    made = layer_features(
        'conv2d', [(1, 16, 20, 40)], [(1, 32, 10, 20)], [(32, 16, 3, 3)], facts,
        input_bytes=51200, output_bytes=25600, weight_bytes=18432,
    )
    assert made == {
        'macs': 32 * 10 * 20 * 16 * 9, 'input_bytes': 51200, 'output_bytes': 25600,
        'weight_bytes': 18432, 'kernel_h': 3, 'kernel_w': 3, 'stride': 2, 'groups': 1,
        'in_channels': 16, 'out_channels': 32, 'out_h': 10, 'out_w': 20,
    }


def test_depthwise_convolution_costs_one_kernel_per_channel() -> None:
    facts = facts_of('conv2d', [CROSS, {'w': 'k'}, None, [1, 1], [1, 1], [1, 1], 64])
    assert facts == Facts((), 1, 64)
    made = layer_features('conv2d', [(1, 64, 7, 7)], [(1, 64, 7, 7)], [(64, 1, 3, 3)], facts)
    assert made['macs'] == 64 * 7 * 7 * 9 and made['groups'] == 64


def test_defaults_of_left_out_arguments() -> None:
    assert facts_of('conv2d', [CROSS, {'w': 'k'}]) == Facts((), 1, 1)
    assert facts_of('max_pool2d', [CROSS, [3, 2]]) == Facts((3, 2), 3)
    assert facts_of('max_pool2d', [CROSS, [3, 3], [2, 2], [1, 1]]) == Facts((3, 3), 2)
    assert facts_of('avg_pool2d', [CROSS, [2, 2], []]) == Facts((2, 2), 2)
    assert facts_of('relu', [CROSS]) == Facts()


def test_transposed_convolution_is_counted_per_input_position() -> None:
    arguments = [CROSS, {'w': 'k'}, None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1]
    facts = facts_of('convolution', arguments)
    assert facts.transposed and facts.stride == 2
    made = layer_features('convolution', [(1, 8, 5, 5)], [(1, 4, 10, 10)], [(8, 4, 2, 2)], facts)
    assert made['macs'] == 5 * 5 * 8 * 4 * 4
    assert facts_of('conv_transpose2d', arguments[:3]).transposed


@pytest.mark.parametrize(('kind', 'inputs', 'outputs', 'weights', 'macs'), [
    ('linear', [(1, 196, 768)], [(1, 196, 3072)], [(3072, 768), (3072,)], 196 * 768 * 3072),
    ('mm', [(5, 7), (7, 3)], [(5, 3)], [], 5 * 7 * 3),
    ('addmm', [(3,), (5, 7), (7, 3)], [(5, 3)], [], 5 * 7 * 3),
    ('bmm', [(2, 5, 7), (2, 7, 3)], [(2, 5, 3)], [], 2 * 5 * 7 * 3),
    ('scaled_dot_product_attention', [(1, 12, 197, 64)] * 3, [(1, 12, 197, 64)], [],
     2 * 12 * 197 * 197 * 64),
    ('lstm', [(1, 10, 8)], [(1, 10, 16)], [(64, 8), (64, 16), (64,), (64,)],
     10 * 64 * (8 + 16)),
    ('conv3d', [(1, 3, 8, 16, 16)], [(1, 4, 8, 8, 8)], [(4, 3, 3, 3, 3)],
     4 * 8 * 8 * 8 * 3 * 27),
    ('relu', [(1, 4, 8, 8)], [(1, 4, 8, 8)], [], 0),
])
def test_products(
    kind: str, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]],
    weights: list[tuple[int, ...]], macs: int,
) -> None:
    assert layer_features(kind, inputs, outputs, weights)['macs'] == macs
