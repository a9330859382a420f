"""``file:model.pt2``: what ``torch.export.save`` wrote, or what else a file is.

What a file is, is told from its first bytes and the names within its zip archive; a pickle in it
is looked at operation by operation, never executed.
"""

from __future__ import annotations

import logging
from pathlib import Path
import pickletools
import zipfile
import zlib

import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph.loaded_model import check_fixed_size, CONVERT, LoadedModel
from dnn_offload.graph.quiet import quiet
from dnn_offload.graph.user_code import failure

_SAVE = (
    'torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 3, H, W),)), "model.pt2")'
)
_COPY = 'copy it again, or save it again by torch.export.save'
_EXPORT = f'make the network in Python and save it by {_SAVE}, or return it from a python: factory'
_OPERATIONS = 1000  # of a pickle that are looked at
_LOOKED_AT_BYTES = 1 << 16


def load_file(name: str, weights: str, input_size: tuple[int, int] | None) -> LoadedModel:
    """Load an exported network.

    Args:
        name: Path of the file.
        weights: Given by the caller afterwards.
        input_size: (height, width) that is asked for; the file has one only.

    Raises:
        ModelError: Says what the file is and how to make the right one.
    """
    path = Path(name).expanduser()
    name = str(path)
    if not path.is_file():
        raise ModelError('there is no such model file', given=name, allowed='a .pt2 file')
    _check_is_exported(path)
    listener = _Listener()
    try:
        with quiet(), listener:
            exported = torch.export.load(name)
            module = exported.module()
        # An exported graph has one mode for ever and refuses eval(); being asked is harmless.
        module.train = module.eval = lambda mode=False: module
        examples = tuple(
            torch.zeros(tuple(node.meta['val'].shape), dtype=node.meta['val'].dtype)
            for node in exported.graph.nodes
            if node.name in exported.graph_signature.user_inputs
        )
    except Exception as error:  # whatever torch, zip or the file's own code raises
        raise ModelError(
            f'{name} cannot be loaded: {failure(listener.heard or error)}',
            hint='save it by torch.export.save with this version of torch '
            f'({torch.__version__}), with inputs of fixed shapes',
        ) from error
    first = examples[0] if examples else torch.zeros(0)
    if first.dtype != torch.float32 or first.ndim != 4 or first.shape[:2] != (1, 3):
        return LoadedModel(source='', module=module, examples=examples, task='tensor')
    height, width = first.shape[2:]
    check_fixed_size(name, (height, width), input_size)
    return LoadedModel(
        source='', module=module, height=int(height), width=int(width), examples=examples[1:]
    )


def _check_is_exported(path: Path) -> None:
    """Refuse what ``torch.export.load`` cannot read; raises ModelError."""
    try:
        with path.open('rb') as file:
            start = file.read(4)
        archived = _what_is_archived(path) if start == b'PK\x03\x04' else None
    except zipfile.BadZipFile as error:
        raise _refused(path, f'it is truncated or damaged: {error}', _COPY) from error
    except OSError as error:
        raise ModelError(f'{path} cannot be read: {error}') from error
    except (RuntimeError, NotImplementedError, ValueError, EOFError, zlib.error) as error:
        raise _refused(path, f'its archive cannot be read: {error}', _COPY) from error
    if not start:
        raise _refused(path, 'it is empty', _COPY)
    if archived is not None:
        if archived:
            raise _refused(path, *archived)
    elif path.suffix == '.safetensors':
        raise _refused(
            path, 'it holds weights only, no network',
            'return the network from a python: factory and give the file as weights',
        )
    elif start[:1] == b'\x80':
        raise _refused(path, 'it is a pickle, as old versions of torch.save wrote', _EXPORT)
    else:
        raise _refused(path, 'it is no archive', _EXPORT)


def _refused(path: Path, what: str, hint: str) -> ModelError:
    return ModelError(
        f'{path} cannot be loaded: {what}', allowed='what torch.export.save wrote', hint=hint
    )


def _what_is_archived(path: Path) -> tuple[str, str] | tuple[()]:
    """(What a zip archive is, what to do); nothing if it may be an exported network."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        ends = {name.partition('/')[2] for name in names}  # below the archive's own folder
        if 'constants.pkl' in ends or any(end.startswith('code/') for end in ends):
            return (
                'it is TorchScript (torch.jit.save)',
                f'TorchScript cannot be cut: {_EXPORT}',
            )
        if 'archive_format' in ends or 'version' in names:  # the latter until torch 2.7
            damaged = archive.testzip()
            if damaged is not None:
                return f'it is damaged: the check sum of {damaged} differs', _COPY
            return ()
        if 'data.pkl' not in ends:
            return 'it is an archive of something else', _EXPORT
        with archive.open(next(name for name in names if name.endswith('/data.pkl'))) as file:
            made = _first_class(file.read(_LOOKED_AT_BYTES))
    if made in ('', 'collections OrderedDict'):
        return (
            'it holds weights only (a state dict), no network',
            'return the network from a python: factory and give the weights as .safetensors: '
            + CONVERT,
        )
    return (
        f'it is a pickled module ({made.replace(" ", ".")}; torch.save of a whole network), which '
        'executes code when it is read',
        _EXPORT,
    )


def _first_class(pickled: bytes) -> str:
    """The class of the object that a pickle begins with, ``''`` for a plain dictionary."""
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(pickled)):
            if operation.name == 'GLOBAL':
                return str(argument)
            if operation.name in ('EMPTY_DICT', 'DICT') or number > _OPERATIONS:
                break
    except ValueError:
        pass  # damaged: whatever it was, no network can be had from it
    return ''


class _Listener(logging.Handler):
    """Keeps the error that ``torch.export.load`` logs before it raises a vaguer one."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: BaseException | None = None
        self._logger = logging.getLogger('torch.export')

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first one."""
        if self.heard is None and record.exc_info:
            self.heard = record.exc_info[1]

    def __enter__(self) -> None:
        self._disabled, self._propagate = logging.root.manager.disable, self._logger.propagate
        logging.disable(logging.NOTSET)
        self._logger.propagate = False
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagate
        logging.disable(self._disabled)
