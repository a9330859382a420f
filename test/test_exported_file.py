"""Files that are no exported network: what they are and what to do, in one message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import warnings
import zipfile

import pytest
from safetensors.torch import save_file
import torch
from torch import nn

from dnn_offload.errors import ModelError
from dnn_offload.graph.export import export
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.sources import resolve


class Explodes:
    """Whoever unpickles it has failed."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return eval, ("1 / 0",)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(network(), (torch.zeros(1, 3, 16, 16),)), path)


def script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.trace(network(), torch.zeros(1, 3, 16, 16)).save(str(path))


def truncated(path: Path) -> None:
    exported(path)
    path.write_bytes(path.read_bytes()[:3000])


def damaged(path: Path) -> None:
    """An archive of torch.export.save whose graph is none."""
    exported(path)
    with zipfile.ZipFile(path) as archive:
        content = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for info, data in content.items():
            archive.writestr(info, b'{}' if info.filename.endswith('/model.json') else data)


def other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme', 'hello')


@pytest.mark.parametrize(
    ('write', 'text'),
    [
        (script, r'it is TorchScript.*torch\.export\.save\(torch\.export\.export'),
        (lambda path: torch.save(network(), path), r'pickled module \(torch\.nn\.modules'
         r'\.container\.Sequential;.*torch\.export\.save\('),
        (lambda path: torch.save({'x': network(), 'y': Explodes()}, path), 'a state dict'),
        (lambda path: torch.save(Explodes(), path), r'pickled module \(__builtin__\.eval'),
        (lambda path: torch.save(network().state_dict(), path), 'state dict.*save_file'),
        (lambda path: torch.save({'model': network().state_dict()}, path), 'state dict'),
        (lambda path: torch.save(network(), path, _use_new_zipfile_serialization=False),
         'it is a pickle'),
        (lambda path: save_file({'w': torch.zeros(2)}, path), 'it is no archive'),
        (truncated, 'it is truncated.*copy it again'),
        (lambda path: path.write_bytes(b''), 'it is empty.*copy it again'),
        (lambda path: path.write_bytes(b'garbage'), 'it is no archive'),
        (other_archive, 'an archive of something else'),
        (damaged, r'cannot be loaded: \w+: .*with this version of torch'),
    ],
)
def test_a_file_is_told_by_what_is_in_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], write: Callable[[Path], None], text: str
) -> None:
    path = tmp_path / 'model.pt2'
    write(path)
    capfd.readouterr()
    with pytest.raises(ModelError, match=text) as caught:
        resolve(f'file:{path}', allow_code=True)
    assert 'warnings above' not in str(caught.value)
    assert '\n' not in str(caught.value)
    assert capfd.readouterr() == ('', '')


def test_an_exported_file_may_have_any_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    exported(tmp_path / 'model.pt2')
    path = (tmp_path / 'model.pt2').rename(tmp_path / 'model.bin')
    assert resolve(f'file:{path}', allow_code=True).height == 16
    assert capfd.readouterr().err == ''


def test_weights_of_a_kind_that_is_not_read_are_converted_wherever_they_lie() -> None:
    for weights in ('sd.pth', './sd.pth', '/tmp/sd.bin'):
        for source in ('demo:detector', 'torchvision:squeezenet1_1'):
            with pytest.raises(ModelError, match=r'may execute code.*convert once: python'):
                resolve(source, weights=weights)


def test_torch_prints_no_graph_before_it_refuses(capfd: pytest.CaptureFixture[str]) -> None:
    class Decides(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu() if x.sum() > 0 else x

    with pytest.raises(ModelError, match='control flow'):
        export(LoadedModel('', Decides(), 16, 16))
    assert capfd.readouterr() == ('', '')
