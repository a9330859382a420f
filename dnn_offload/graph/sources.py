"""Where a model comes from: a source string becomes a torch module and what belongs to it.

``torchvision:NAME``        a network of torchvision (classification, segmentation, video, SSD)
``demo:detector``           the small detector of this package
``python:pkg.mod:factory``  calls ``factory()``: executes code, needs ``allow_code``
``file:model.pt2``          ``torch.export.load``: may execute code, needs ``allow_code``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph import random_weights
from dnn_offload.graph.exported_file import load_file
from dnn_offload.graph.fingerprint import seeded_inputs
from dnn_offload.graph.loaded_checks import checked, EXAMPLES
from dnn_offload.graph.loaded_model import (
    assign,
    is_file,
    LoadedModel,
    read_state,
)
from dnn_offload.graph.outputs import ClassMask
from dnn_offload.graph.torchvision_source import load_torchvision
from dnn_offload.graph.trace import spec_of
from dnn_offload.graph.user_code import failure, line_of_user
from dnn_offload.graph.user_factory import load_python

MIN_SIZE, MAX_SIZE = 16, 4096
FORMS = 'torchvision:NAME, demo:detector, python:pkg.mod:factory, file:model.pt2'


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
            hint='if you trust it: --allow-code on the command line, allow_code: true in the '
            'start-up parameter file of a node',
        )
    if input_size is not None:
        _check_size(input_size)
    with torch.no_grad():
        loaded = loader(name, weights, input_size)
        if kind != 'torchvision':
            loaded = _other_weights(loaded, weights)
    loaded = checked(replace(loaded, source=source))
    if loaded.task == 'segmentation':
        loaded = replace(loaded, module=ClassMask(loaded.module))
    if loaded.takes_picture:
        loaded = _with_picture(loaded, input_size)
    else:
        _check_examples(loaded, input_size)
    for parameter in loaded.module.parameters():
        parameter.requires_grad_(False)
    try:
        loaded.module.eval()
    except Exception as error:  # whatever the model's code raises
        raise ModelError(
            f'eval() of the model fails: {failure(error)}', given=line_of_user(error) or source,
            hint='cutting needs the network in evaluation mode',
        ) from error
    if loaded.stamp == random_weights.STAMP:
        specs = [spec_of(f'input {i}', tensor) for i, tensor in enumerate(loaded.inputs())]
        samples = [torch.from_numpy(array) for array in seeded_inputs(specs)]
        random_weights.calibrate(loaded.module, samples)
    return loaded


def _with_picture(loaded: LoadedModel, input_size: tuple[int, int] | None) -> LoadedModel:
    """The model with the size of its picture and what must be done to a camera's picture."""
    height, width = input_size or (loaded.height, loaded.width)
    _check_size((height, width))
    mode = 'letterbox' if loaded.task == 'detection' else 'center_crop'
    preprocess = {'height': height, 'width': width, 'mode': mode, **loaded.preprocess}
    return replace(loaded, height=height, width=width, preprocess=preprocess)


def _check_examples(loaded: LoadedModel, input_size: tuple[int, int] | None) -> None:
    if not loaded.examples:
        raise ModelError(
            'a model without a picture needs example inputs',
            given=loaded.source,
            hint=EXAMPLES,
        )
    if input_size is not None:
        raise ModelError('this model takes no picture, so it has no input size', given=input_size)


def _check_size(size: tuple[int, int]) -> None:
    if not all(isinstance(side, int) and MIN_SIZE <= side <= MAX_SIZE for side in size):
        raise ModelError(
            'input size is out of bounds',
            given=f'{size[0]}x{size[1]}',
            allowed=f'height and width {MIN_SIZE}..{MAX_SIZE} pixels; both 0 for a network that '
            'takes no picture',
        )


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


_LOADERS: dict[str, Callable[[str, str, tuple[int, int] | None], LoadedModel]] = {
    'torchvision': load_torchvision,
    'demo': _load_demo,
    'python': load_python,
    'file': load_file,
}


def _other_weights(loaded: LoadedModel, weights: str) -> LoadedModel:
    """Put other weights than its own into a model that came with some."""
    if weights == 'DEFAULT':
        return loaded
    if weights == 'random':
        random_weights.fill(loaded.module)
        return replace(loaded, stamp=random_weights.STAMP)
    if is_file(weights):
        assign(loaded.module, read_state(weights), weights)
        return loaded
    raise ModelError(
        'weights are not understood',
        given=weights,
        allowed="DEFAULT (the model's own), random, or a path of a .safetensors file",
    )
