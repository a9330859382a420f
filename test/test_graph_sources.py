"""Model sources: what is loaded, and one clear sentence for everything else."""

from __future__ import annotations

import functools
import hashlib
import http.server
import socket
import sys
import threading
import urllib.request

import pytest
from safetensors.torch import save_file
import torch
from torch import nn

from dnn_offload.errors import ModelError
from dnn_offload.graph import sources, torchvision_weights
from dnn_offload.graph.export import export, identity_of
from dnn_offload.graph.random_weights import fill
from dnn_offload.graph.sources import LoadedModel, resolve
from dnn_offload.graph.torchvision_compat import import_torchvision
from dnn_offload.graph.torchvision_weights import give_weights
from graph_models import Branches, check_every_cut

SQUEEZENET = 'torchvision:squeezenet1_1'


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / 'my_models.py').write_text(
        'import torch\n'
        'from dnn_offload.graph.sources import LoadedModel\n'
        'def plain():\n    return torch.nn.Conv2d(3, 2, 3)\n'
        'def full():\n'
        '    return LoadedModel("", plain(), 40, 60, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0),\n'
        '                       {"mode": "stretch"}, "detection", ("a", "b"))\n'
        'def number():\n    return 7\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield 'python:my_models'
    sys.modules.pop('my_models', None)


def test_random_torchvision_is_seeded_stamped_and_knows_its_classes():
    one, two = (resolve(SQUEEZENET, weights='random') for _ in range(2))
    assert identity_of(one) == identity_of(two)
    assert one.stamp == 'random weights'
    assert len(one.class_names) == 1000
    assert one.preprocess == {'height': 224, 'width': 224, 'mode': 'center_crop'}
    assert not one.module.training
    assert not any(p.requires_grad or p.is_meta for p in one.module.parameters())


def test_batch_norms_of_random_networks_have_rounded_variances():
    one, two = (resolve('torchvision:resnet18', weights='random') for _ in range(2))
    assert identity_of(one) == identity_of(two)
    for name, tensor in one.module.state_dict().items():
        if name.endswith('running_var'):
            scale = 2.0 ** round(float(tensor.mean().log2()))
            assert 0.7 < float(tensor.min() / scale) <= float(tensor.max() / scale) < 1.3, name


def test_default_sizes_and_their_override():
    assert resolve('torchvision:inception_v3', weights='random').height == 299
    other = resolve(SQUEEZENET, weights='random', input_size=(96, 128))
    assert (other.height, other.width) == (96, 128)
    assert other.preprocess['width'] == 128
    for size in ((0, 224), (224, 100_000)):
        with pytest.raises(ModelError, match='input size is out of bounds'):
            resolve(SQUEEZENET, weights='random', input_size=size)
    with pytest.raises(ModelError, match="does not run on inputs of 1x16x16x3"):
        export(resolve('torchvision:inception_v3', weights='random', input_size=(16, 16)))


def test_constants_that_a_constructor_computes_are_not_lost():
    """Swin keeps index tables as buffers: it must not be built on the meta device."""
    module = resolve('torchvision:swin_t', weights='random').module
    table = module.state_dict()['features.1.0.attn.relative_position_index']
    assert table.unique().numel() == 13 * 13


def test_safetensors_round_trip(tmp_path):
    path = str(tmp_path / 'w.safetensors')
    random = resolve(SQUEEZENET, weights='random')
    save_file(dict(random.module.state_dict()), path)
    loaded = resolve(SQUEEZENET, weights=path)
    assert identity_of(loaded) == identity_of(random)
    assert loaded.stamp == ''


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (lambda s: s.pop('classifier.1.bias'), "lack 'classifier.1.bias'"),
        (lambda s: s.update(extra=torch.zeros(1)), "hold 'extra'"),
        (
            lambda s: s.update({'features.0.bias': torch.zeros(3)}),
            r"'features.0.bias' has another shape.*\(3,\).*allowed: \(64,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, text):
    state = dict(resolve(SQUEEZENET, weights='random').module.state_dict())
    change(state)
    save_file(state, tmp_path / 'w.safetensors')
    with pytest.raises(ModelError, match=text):
        resolve(SQUEEZENET, weights=str(tmp_path / 'w.safetensors'))


def test_weight_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ModelError, match='cannot be read'):
        resolve(SQUEEZENET, weights=str(tmp_path / 'none.safetensors'))
    (tmp_path / 'bad.safetensors').write_bytes(b'garbage')
    with pytest.raises(ModelError, match='cannot be read'):
        resolve(SQUEEZENET, weights=str(tmp_path / 'bad.safetensors'))
    with pytest.raises(ModelError, match=r'may execute code.*weights_only=True'):
        resolve(SQUEEZENET, weights='/tmp/weights.pth')
    with pytest.raises(ModelError, match=r'no such weights.*IMAGENET1K_V1.*random'):
        resolve(SQUEEZENET, weights='IMAGENET9')


def test_a_failed_download_says_what_to_do(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError('Name or service not known')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('torch.hub.download_url_to_file', refuse)
    kept = rf'copy it to {tmp_path}/hub/checkpoints/squeezenet1_1-\w+\.pth'
    with pytest.raises(
        ModelError, match=rf'cannot be downloaded.*{kept}.*\.safetensors.*random'
    ):
        resolve(SQUEEZENET)


def test_a_download_that_stands_still_fails(monkeypatch, tmp_path):
    """torch's hub itself would wait for ever."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torchvision_weights, 'STALLED_S', 0.2)
    before = socket.getdefaulttimeout()
    with socket.create_server(('127.0.0.1', 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(
            'torch.hub.download_url_to_file',
            lambda *args, **kwargs: urllib.request.urlopen(f'http://127.0.0.1:{port}/weights'),
        )
        with pytest.raises(ModelError, match='cannot be downloaded.*timed out'):
            resolve(SQUEEZENET)
    assert socket.getdefaulttimeout() == before


def test_weights_that_lie_in_the_hub_are_taken_without_a_network(monkeypatch, tmp_path):
    """What the message of a failed download says: the file may be copied there."""
    builder = import_torchvision().models.squeezenet1_1
    enum = import_torchvision().models.get_model_weights(builder)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    net = builder(weights=None)
    fill(net)
    kept = tmp_path / 'hub/checkpoints' / enum.DEFAULT.url.rpartition('/')[2]
    kept.parent.mkdir(parents=True)
    torch.save(net.state_dict(), kept)
    loaded = resolve(SQUEEZENET)
    assert loaded.stamp == '' and loaded.class_names[0] == 'tench'
    name = 'classifier.1.weight'
    assert torch.equal(loaded.module.state_dict()[name], net.state_dict()[name])


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server on this machine with the weights of SqueezeNet: its folder, where they are kept."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    net = import_torchvision().models.squeezenet1_1(weights=None)
    fill(net)
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    digest = hashlib.sha256((tmp_path / 'net.pth').read_bytes()).hexdigest()
    served = (tmp_path / 'net.pth').rename(tmp_path / f'net-{digest[:8]}.pth')
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        enum = import_torchvision().models.SqueezeNet1_1_Weights
        url = f'http://127.0.0.1:{server.server_port}/{served.name}'
        monkeypatch.setattr(enum.DEFAULT.value, 'url', url)
        yield served, tmp_path / 'torch/hub/checkpoints' / served.name
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_weights_are_downloaded_once(hub):
    """All of torch's hub but the internet: the request, the check of the hash, the folder."""
    served, kept = hub
    first = resolve(SQUEEZENET)
    assert first.stamp == '' and first.class_names[0] == 'tench'
    assert kept.read_bytes() == served.read_bytes()
    name = 'classifier.1.weight'
    state = torch.load(served, weights_only=True)
    assert torch.equal(first.module.state_dict()[name], state[name])
    served.unlink()
    assert identity_of(resolve(SQUEEZENET, weights='IMAGENET1K_V1')) == identity_of(first)


def test_a_damaged_download_is_refused_and_not_kept(hub):
    served, kept = hub
    whole = served.read_bytes()
    served.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r'cannot be downloaded.*invalid hash value'):
        resolve(SQUEEZENET)
    assert not kept.exists()
    served.write_bytes(whole)
    assert resolve(SQUEEZENET).stamp == ''


def test_heads_that_only_training_uses_may_be_in_a_file(tmp_path):
    net = nn.Linear(2, 3)
    state = {**net.state_dict(), 'aux_classifier.0.weight': torch.zeros(1)}
    save_file(state, tmp_path / 'w.safetensors')
    assert give_weights(net, (), str(tmp_path / 'w.safetensors'), 'x') == ''
    save_file({**state, 'other': torch.zeros(1)}, tmp_path / 'w.safetensors')
    with pytest.raises(ModelError, match="'other'"):
        give_weights(net, (), str(tmp_path / 'w.safetensors'), 'x')


def test_a_network_without_trained_weights_says_so():
    with pytest.raises(ModelError, match=r'no trained weights for x.*random'):
        give_weights(nn.Linear(2, 3), (), 'DEFAULT', 'x')


@pytest.mark.parametrize(
    ('source', 'text'),
    [
        ('alexnet', 'model source is not understood'),
        ('torchvision:', 'model source is not understood'),
        ('ftp:x', 'model source is not understood'),
        ('torchvision:nonet', 'no such model.*alexnet'),
        ('torchvision:fasterrcnn_resnet50_fpn', 'cannot be exported: torchvision.nms.*ssdlite320'),
        (
            'torchvision:quantized_resnet18',
            'quantised layers cannot be exported; given: quantized_resnet18; '
            'use torchvision:resnet18; codec int8',
        ),
        ('torchvision:raft_small', 'not a network for pictures or clips'),
        ('demo:other', 'no such demo model'),
    ],
)
def test_sources_that_do_not_exist(source, text):
    with pytest.raises(ModelError, match=text):
        resolve(source, weights='random')


@pytest.mark.parametrize('source', ['python:os:getcwd', 'file:model.pt2'])
def test_code_runs_only_where_it_is_allowed(source):
    with pytest.raises(ModelError, match='executes code.*--allow-code .*allow_code: true'):
        resolve(source)


def test_factories(factories):
    plain = resolve(f'{factories}:plain', allow_code=True, input_size=(32, 48))
    assert (plain.height, plain.width, plain.task) == (32, 48, '')
    full = resolve(f'{factories}:full', allow_code=True)
    assert full.preprocess == {'height': 40, 'width': 60, 'mode': 'stretch'}
    assert (full.task, full.class_names) == ('detection', ('a', 'b'))
    random = resolve(f'{factories}:full', allow_code=True, weights='random')
    assert random.stamp == 'random weights'
    with pytest.raises(ModelError, match='weights are not understood'):
        resolve(f'{factories}:full', allow_code=True, weights='IMAGENET1K_V1')


@pytest.mark.parametrize('name', ['number', 'missing', ''])
def test_bad_factories(factories, name):
    with pytest.raises(ModelError, match='factory'):
        resolve(f'{factories}:{name}', allow_code=True)
    with pytest.raises(ModelError, match='factory'):
        resolve('python:no_such_module:f', allow_code=True)


def test_pt2_files(tmp_path):
    path = tmp_path / 'model.pt2'
    module = Branches().eval()
    with torch.no_grad():
        torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 32, 48),)), path)
    loaded = resolve(f'file:{path}', allow_code=True)
    assert (loaded.height, loaded.width) == (32, 48)
    program, weights = export(loaded)
    check_every_cut(program, weights)
    assert not any('batch_norm' in instruction.target for instruction in program.instructions)
    with pytest.raises(ModelError, match='fixed'):
        resolve(f'file:{path}', allow_code=True, input_size=(64, 64))


def test_pt2_files_that_do_not_fit(tmp_path):
    with pytest.raises(ModelError, match='no such model file'):
        resolve(f'file:{tmp_path}/none.pt2', allow_code=True)
    (tmp_path / 'bad.pt2').write_bytes(b'garbage')
    with pytest.raises(ModelError, match='cannot be loaded'):
        resolve(f'file:{tmp_path}/bad.pt2', allow_code=True)


def test_a_pt2_file_that_takes_no_picture_is_one_of_tensors(tmp_path):
    gray = torch.export.export(nn.Conv2d(1, 2, 3).eval(), (torch.zeros(1, 1, 8, 8),))
    torch.export.save(gray, tmp_path / 'gray.pt2')
    loaded = resolve(f'file:{tmp_path}/gray.pt2', allow_code=True)
    assert (loaded.takes_picture, loaded.task) == (False, 'tensor')
    program, weights = export(loaded)
    assert [spec.shape for spec in program.inputs] == [(1, 1, 8, 8)]
    assert not program.takes_picture
    check_every_cut(program, weights)
    with pytest.raises(ModelError, match='takes no picture'):
        resolve(f'file:{tmp_path}/gray.pt2', allow_code=True, input_size=(64, 64))


def test_normalisation_is_checked(factories, monkeypatch):
    def wrong(name, weights, input_size):
        return LoadedModel('', nn.Conv2d(3, 2, 3), 32, 32, std=(1.0, 0.0, 1.0))

    monkeypatch.setitem(sources._LOADERS, 'python', wrong)
    with pytest.raises(ModelError, match='std must be three numbers, all above 0'):
        resolve('python:x:y', allow_code=True)
