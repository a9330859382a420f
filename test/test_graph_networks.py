"""Every cut of real networks, with random weights, after a round trip through the disk."""

from __future__ import annotations

import pytest
import torch

from dnn_offload.graph import fingerprint
from dnn_offload.graph.export import export, Normalised
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.sources import resolve
from graph_models import check_every_cut, picture_of, through_disk

# Name: (costly operators at least, cuts whose frontier has several tensors at least).
NETWORKS = {
    'torchvision:alexnet': (13, 0),
    'torchvision:squeezenet1_1': (31, 8),
    'torchvision:inception_v3': (110, 89),
    'torchvision:googlenet': (73, 54),
    'torchvision:mobilenet_v2': (54, 20),
    'torchvision:resnet18': (24, 11),
    'torchvision:vgg16': (23, 0),
    'torchvision:shufflenet_v2_x0_5': (60, 51),  # slices that must be copied to be sent
    'torchvision:mobilenet_v3_small': (65, 35),  # gates of one pixel, whose strides are odd
    'demo:detector': (39, 32),
}


pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.mark.parametrize('source', NETWORKS)
def test_every_cut_equals_the_whole(source, tmp_path):
    loaded = resolve(source, weights='DEFAULT' if source.startswith('demo') else 'random')
    program, weights = through_disk(loaded, tmp_path)
    assert not any('batch_norm' in i.target for i in program.instructions)

    whole = check_every_cut(program, weights)

    cuts, several = NETWORKS[source]
    assert len(program.cuts) >= cuts
    assert sum(len(cut.frontier) > 1 for cut in program.cuts) >= several
    assert len({cut.cut_id for cut in program.cuts}) == len(program.cuts)
    assert program.cuts[0].frontier == (program.input,)
    assert program.cuts[-1].frontier == program.outputs
    seeded = [torch.from_numpy(array) for array in fingerprint.seeded_inputs(program.inputs)]
    sampled = Segment(program, weights, 0, fingerprint.sampled_cut(program))(seeded)
    numbers = fingerprint.sample([tensor.numpy() for tensor in sampled])
    assert fingerprint.agree(numbers, program.fingerprint)
    module = Normalised(loaded.module, loaded.mean, loaded.std).eval()
    with torch.inference_mode():
        eager = module(picture_of(program))
    torch.testing.assert_close(whole[0], eager, rtol=1e-3, atol=1e-4 * float(eager.abs().max()))


def test_activations_of_random_networks_stay_in_scale():
    for name in ('vgg16', 'mobilenet_v2', 'resnet18'):
        program, weights = export(
            resolve(f'torchvision:{name}', weights='random', input_size=(96, 96))
        )
        values = [picture_of(program)]
        for cut in program.cuts[1:]:
            values = Segment(program, weights, cut.index - 1, cut.index)(values)
            for tensor in values:
                assert 0.1 < float(tensor.abs().max()) < 1000.0, (name, cut.label)
        assert len(set(program.fingerprint)) > 200, name
