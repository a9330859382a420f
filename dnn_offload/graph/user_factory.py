"""``python:pkg.mod:factory``: a function of the user makes the network, or it is said why not."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import torch

from dnn_offload.errors import ModelError, OffloadError
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.torchvision_compat import import_torchvision
from dnn_offload.graph.user_code import failure, line_of_user

FORM = 'python:package.module:factory'


def load_python(name: str, weights: str, input_size: tuple[int, int] | None) -> LoadedModel:
    """Call the factory.

    Args:
        name: ``package.module:factory``.
        weights: Given by the caller afterwards.
        input_size: (height, width) of a bare module's picture.

    Raises:
        ModelError: Names the factory, what it raised, and the line.
    """
    source = f'python:{name}'
    module_name, _, attribute = name.partition(':')
    if not module_name or not attribute:
        raise ModelError(
            'a python: model names a module and a factory', given=source, allowed=FORM
        )
    module = _import(module_name, source)
    if not hasattr(module, attribute):
        raise ModelError(
            f'the module {module_name} has no factory {attribute!r}', given=source,
            hint=f'it was read from {getattr(module, "__file__", None) or "no file"}',
        )
    made = _call(getattr(module, attribute), source)
    if isinstance(made, LoadedModel):
        return made
    if isinstance(made, torch.nn.Module):
        height, width = input_size or (224, 224)
        return LoadedModel(source='', module=made, height=height, width=width)
    raise ModelError(
        f'the factory {source} returned something else than a model',
        given=type(made).__name__,
        allowed='torch.nn.Module, or dnn_offload.graph.sources.LoadedModel',
    )


def _call(factory: object, source: str) -> object:
    if not callable(factory):
        raise ModelError(
            f'the factory {source} is not callable', given=factory,
            allowed='a function that returns a network',
        )
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ModelError(
            f'the factory {source} is called without arguments: {error}',
            allowed='a function whose arguments all have defaults',
        ) from error
    except ValueError:
        pass  # compiled code says no signature
    try:
        return factory()
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise _failed(f'the factory {source} failed', error) from error


def _import(name: str, source: str) -> ModuleType:
    """Import a user's module; where the torchvision that it asks for is broken, mend that."""
    try:
        try:
            return importlib.import_module(name)
        except RuntimeError as error:
            if 'torchvision::nms' not in str(error):
                raise
            import_torchvision()
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f'{name}.'.startswith(f'{missing}.'):
            raise ModelError(
                f'the module of the factory {source} cannot be found: {error}',
                hint='is its folder on PYTHONPATH?',
            ) from error
        raise _failed(f'the module of the factory {source} cannot be imported', error) from error


def _failed(what: str, error: BaseException) -> ModelError:
    reason = str(error) if isinstance(error, OffloadError) else failure(error)
    return ModelError(f'{what}: {reason}', given=line_of_user(error) or None)
