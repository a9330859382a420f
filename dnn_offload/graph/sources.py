"""Where a model comes from: a source string becomes a torch module and what belongs to it.

``torchvision:NAME``        a classification network of torchvision
``demo:detector``           the small detector of this package
``python:pkg.mod:factory``  calls ``factory()``: executes code, needs ``allow_code``
``file:model.pt2``          ``torch.export.load``: may execute code, needs ``allow_code``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
import importlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph import random_weights
from dnn_offload.graph.torchvision_compat import import_torchvision

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIN_SIZE, MAX_SIZE = 16, 4096
FORMS = 'torchvision:NAME, demo:detector, python:pkg.mod:factory, file:model.pt2'
_NORM_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


@dataclass(frozen=True)
class LoadedModel:
    """A torch model ready to be exported.

    Attributes:
        source: The source string.
        module: Takes a normalised float picture (1, 3, H, W); in eval mode, on the CPU.
        height, width: Input size in pixels.
        mean, std: Normalisation of RGB in 0..1.
        preprocess: Keyword arguments of ``vision.preprocess.PreprocessSpec``.
        task: ``classification`` or ``detection``.
        class_names: Index to name; may be empty.
        stamp: '' or what a viewer must know, e.g. ``random weights``.
    """

    source: str
    module: torch.nn.Module
    height: int
    width: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    preprocess: dict[str, Any] = field(default_factory=dict)
    task: str = 'classification'
    class_names: tuple[str, ...] = ()
    stamp: str = ''


def resolve(
    source: str,
    *,
    weights: str = 'DEFAULT',
    allow_code: bool = False,
    input_size: tuple[int, int] | None = None,
) -> LoadedModel:
    """Load the model that ``source`` names.

    Args:
        source: One of the forms at the top of this module.
        weights: ``DEFAULT`` or another name of torchvision's weights; the path of a
            ``.safetensors`` file; or ``random`` (seeded, and stamped on every picture).
        allow_code: Whether ``python:`` and ``file:`` may be used: both execute code.
        input_size: (height, width) instead of the model's own.

    Raises:
        ModelError: Says what is wrong and what to do.
    """
    kind, _, name = source.partition(':')
    loader = _LOADERS.get(kind)
    if loader is None or not name:
        raise ModelError('model source is not understood', given=source, allowed=FORMS)
    if kind in ('python', 'file') and not allow_code:
        raise ModelError(
            f'a {kind}: model executes code and is not allowed here',
            given=source,
            hint='set allow_code: true in the start-up parameter file if you trust it',
        )
    if input_size is not None:
        _check_size(input_size)
    with torch.no_grad():
        loaded = loader(name, weights, input_size)
        if kind != 'torchvision':
            loaded = _other_weights(loaded, weights)
    height, width = input_size or (loaded.height, loaded.width)
    _check_size((height, width))
    _check_normalisation(loaded)
    for parameter in loaded.module.parameters():
        parameter.requires_grad_(False)
    loaded.module.eval()
    if loaded.stamp == random_weights.STAMP:
        random_weights.calibrate(loaded.module, height, width)
    mode = 'letterbox' if loaded.task == 'detection' else 'center_crop'
    return replace(
        loaded,
        source=source,
        height=height,
        width=width,
        preprocess={'height': height, 'width': width, 'mode': mode, **loaded.preprocess},
    )


def _check_size(size: tuple[int, int]) -> None:
    if not all(MIN_SIZE <= extent <= MAX_SIZE for extent in size):
        raise ModelError(
            'input size is out of bounds',
            given=f'{size[0]}x{size[1]}',
            allowed=f'{MIN_SIZE}..{MAX_SIZE} pixels each way',
        )


def _check_normalisation(loaded: LoadedModel) -> None:
    if len(loaded.mean) != 3 or len(loaded.std) != 3 or min(loaded.std) <= 0:
        raise ModelError(
            'mean and std must be three numbers each, std positive',
            given=f'{loaded.mean}, {loaded.std}',
        )


# --- torchvision ------------------------------------------------------------------------------


def _load_torchvision(name: str, weights: str, input_size: tuple[int, int] | None) -> LoadedModel:
    models = import_torchvision().models
    try:
        builder = models.get_model_builder(name)
    except ValueError as error:
        raise ModelError(
            'torchvision has no such model',
            given=name,
            allowed=', '.join(models.list_models(module=models)[:100]),
        ) from error
    if name not in models.list_models(module=models):
        raise ModelError(
            'this torchvision model is not a classification network',
            given=name,
            hint='wrap it in a factory that returns plain tensors: python:pkg.mod:factory',
        )
    options: dict[str, Any] = {}
    if name in ('inception_v3', 'googlenet'):
        # Their own input transform only undoes ImageNet's normalisation; ours does without.
        options = {'aux_logits': False, 'transform_input': False, 'init_weights': False}
    module = _build(lambda: builder(weights=None, **options))
    enum = models.get_model_weights(builder)
    stamp = ''
    if weights == 'random':
        random_weights.fill(module)
        stamp = random_weights.STAMP
    elif _is_file(weights):
        _assign(module, _read_safetensors(weights), weights)
    else:
        _assign(module, _download(enum, weights, name), f'torchvision weights {weights}')
    meta = next(iter(enum)).meta if len(enum) else {}
    size = _own_size(enum, weights)
    halved = bool(options)
    return LoadedModel(
        source='',
        module=module,
        height=size,
        width=size,
        mean=(0.5, 0.5, 0.5) if halved else IMAGENET_MEAN,
        std=(0.5, 0.5, 0.5) if halved else IMAGENET_STD,
        class_names=tuple(meta.get('categories', ())),
        stamp=stamp,
    )


def _own_size(enum: Any, weights: str) -> int:
    """Crop size of the weights' own transform; of the first weights where none are named."""
    members = list(enum)
    member = next((m for m in members if m.name == weights), members[0] if members else None)
    if weights == 'DEFAULT' and members:
        member = enum.DEFAULT
    if member is None:
        return 224
    return int(member.transforms().crop_size[0])


def _build(factory: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Build without filling the weights twice: on the meta device where that is safe.

    It is not where the constructor computes constants, which would be lost.
    """
    try:
        with torch.device('meta'):
            module = factory()
    except (NotImplementedError, RuntimeError):
        return factory()
    names = {name.rsplit('.', 1)[-1] for name, _ in module.named_buffers()}
    return module if names <= set(_NORM_BUFFERS) else factory()


def _download(enum: Any, weights: str, name: str) -> dict[str, torch.Tensor]:
    names = [member.name for member in enum]
    if weights != 'DEFAULT' and weights not in names:
        raise ModelError(
            f'torchvision has no such weights for {name}',
            given=weights,
            allowed=', '.join(['DEFAULT', *names, 'random', 'a path of a .safetensors file']),
        )
    member = enum.DEFAULT if weights == 'DEFAULT' else enum[weights]
    try:
        state: dict[str, torch.Tensor] = member.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location='cpu'
        )
    except (OSError, RuntimeError, EOFError) as error:
        raise ModelError(
            f'the weights of {name} cannot be downloaded from {member.url} ({error})',
            hint='connect to the internet once, or give a .safetensors file as weights, or '
            "weights 'random' to try the rest",
        ) from error
    # The heads that only training uses are not built.
    return {k: v for k, v in state.items() if not k.startswith(('AuxLogits.', 'aux1.', 'aux2.'))}


# --- our own detector, factories, files -------------------------------------------------------


def _load_demo(name: str, weights: str, input_size: tuple[int, int] | None) -> LoadedModel:
    if name != 'detector':
        raise ModelError('there is no such demo model', given=name, allowed='demo:detector')
    from dnn_offload.graph import demo_detector

    detector = demo_detector.load()
    height, width = detector.height, detector.width
    if input_size is not None and tuple(input_size) != (height, width):
        raise ModelError(
            'the input size of the demo detector is fixed',
            given=f'{input_size[0]}x{input_size[1]}',
            allowed=f'{height}x{width}',
        )
    return LoadedModel(
        source='',
        module=detector.module,
        height=height,
        width=width,
        mean=detector.mean,
        std=detector.std,
        task='detection',
        class_names=detector.class_names,
    )


def _load_python(name: str, weights: str, input_size: tuple[int, int] | None) -> LoadedModel:
    module_name, _, attribute = name.partition(':')
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f'the factory cannot be imported: {error}',
            given=f'python:{name}',
            allowed='python:package.module:factory',
            hint='is its folder on PYTHONPATH?',
        ) from error
    made = factory()
    if isinstance(made, LoadedModel):
        return made
    if isinstance(made, torch.nn.Module):
        height, width = input_size or (224, 224)
        return LoadedModel(source='', module=made, height=height, width=width)
    raise ModelError(
        'the factory returned something else than a model',
        given=type(made).__name__,
        allowed='torch.nn.Module, or dnn_offload.graph.sources.LoadedModel',
    )


def _load_file(name: str, weights: str, input_size: tuple[int, int] | None) -> LoadedModel:
    if not Path(name).is_file():
        raise ModelError('there is no such model file', given=name, allowed='a .pt2 file')
    try:
        exported = torch.export.load(name)
        module = exported.module()
        # An exported graph has one mode for ever and refuses eval(); being asked is harmless.
        module.train = module.eval = lambda mode=False: module
        (example,) = exported.graph_signature.user_inputs
        node = next(n for n in exported.graph.nodes if n.name == example)
        batch, channels, height, width = node.meta['val'].shape
    except Exception as error:  # whatever torch, zip or the file's own code raises
        raise ModelError(
            f'{name} cannot be loaded: {error}',
            hint='save it by torch.export.save, with one input (1, 3, H, W)',
        ) from error
    if (batch, channels) != (1, 3):
        raise ModelError(
            f'{name} takes another input', given=str((batch, channels)), allowed='(1, 3, H, W)'
        )
    if input_size is not None and tuple(input_size) != (height, width):
        raise ModelError(
            f'the input size of {name} is fixed',
            given=f'{input_size[0]}x{input_size[1]}',
            allowed=f'{height}x{width}',
        )
    return LoadedModel(source='', module=module, height=int(height), width=int(width))


_LOADERS: dict[str, Callable[[str, str, tuple[int, int] | None], LoadedModel]] = {
    'torchvision': _load_torchvision,
    'demo': _load_demo,
    'python': _load_python,
    'file': _load_file,
}


# --- weights ----------------------------------------------------------------------------------


def _is_file(weights: str) -> bool:
    return weights.endswith('.safetensors') or '/' in weights


def _other_weights(loaded: LoadedModel, weights: str) -> LoadedModel:
    """Put other weights than its own into a model that came with some."""
    if weights == 'DEFAULT':
        return loaded
    if weights == 'random':
        random_weights.fill(loaded.module)
        return replace(loaded, stamp=random_weights.STAMP)
    if _is_file(weights):
        _assign(loaded.module, _read_safetensors(weights), weights)
        return loaded
    raise ModelError(
        'weights are not understood',
        given=weights,
        allowed="DEFAULT (the model's own), random, or a path of a .safetensors file",
    )


def _read_safetensors(path: str) -> dict[str, torch.Tensor]:
    if not path.endswith('.safetensors'):
        raise ModelError(
            'weights are read from .safetensors files only: others may execute code',
            given=path,
            hint='convert once: safetensors.torch.save_file(state_dict, "x.safetensors")',
        )
    try:
        return load_file(path, device='cpu')
    except (OSError, SafetensorError) as error:
        raise ModelError(f'weights {path} cannot be read: {error}') from error


def _assign(module: torch.nn.Module, state: dict[str, torch.Tensor], origin: str) -> None:
    """Give the module its weights, all of them, or say by name which one does not fit."""
    expected = module.state_dict()
    for name, tensor in expected.items():
        if name.endswith('num_batches_tracked'):
            state.setdefault(name, torch.zeros((), dtype=torch.int64))
        elif name not in state:
            raise ModelError(f'weights lack {name!r}', given=origin)
        if state[name].shape != tensor.shape:
            raise ModelError(
                f'weight {name!r} has another shape',
                given=f'{tuple(state[name].shape)} in {origin}',
                allowed=str(tuple(tensor.shape)),
            )
        if state[name].dtype != tensor.dtype:
            state[name] = state[name].to(tensor.dtype)
    surplus = sorted(set(state) - set(expected))
    if surplus:
        raise ModelError(
            f'weights hold {surplus[0]!r}, which the model does not have', given=origin
        )
    module.load_state_dict(state, strict=True, assign=True)
