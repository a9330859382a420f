"""Networks of torchvision, without training heads; weights by enum or file.

Classification, semantic segmentation, clips of video, and the one-stage detectors of
``torchvision_detection.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph import torchvision_detection
from dnn_offload.graph.loaded_model import IMAGENET_MEAN, IMAGENET_STD, LoadedModel
from dnn_offload.graph.torchvision_compat import import_torchvision
from dnn_offload.graph.torchvision_weights import give_weights

_NORM_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


# Kinds of networks, by the sub-package of torchvision.models that they are in.
_TASKS = {'': 'classification', 'segmentation': 'segmentation', 'video': 'classification'}
_CLIP_FRAMES = 16
_SEGMENTATION_SIZE = 520
_DETECTORS = (
    'let a factory return the backbone or a one-stage detector: python:pkg.mod:factory; '
    'ssd300_vgg16 and ssdlite320_mobilenet_v3_large are ready'
)


def load_torchvision(name: str, weights: str, input_size: tuple[int, int] | None) -> LoadedModel:
    """Load a network of torchvision; see ``sources.resolve``."""
    models = import_torchvision().models
    try:
        builder = models.get_model_builder(name)
    except ValueError as error:
        raise ModelError(
            'torchvision has no such model',
            given=name,
            allowed=', '.join(models.list_models(module=models)[:100]),
        ) from error
    if name in torchvision_detection.NAMES:
        return torchvision_detection.load(name, builder, weights, input_size)
    family = _family(models, name)
    options: dict[str, Any] = {}
    if name in ('inception_v3', 'googlenet'):
        # Their own input transform only undoes ImageNet's normalisation; ours does without.
        options = {'aux_logits': False, 'transform_input': False, 'init_weights': False}
    elif family == 'segmentation':
        options = {'weights_backbone': None}
    enum = models.get_model_weights(builder)
    member = _member(enum, weights)
    size, mean, std = _transform(member, family)
    # Positions are learnt for one size.
    if name.startswith('mvit') and input_size is not None:
        options['spatial_size'] = tuple(input_size)
    elif name.startswith('vit_'):
        options['image_size'] = (input_size or size)[0]
    module = _build(lambda: builder(weights=None, **options))
    stamp = give_weights(module, enum, weights, name)
    if 'transform_input' in options:
        mean = std = (0.5, 0.5, 0.5)
    return LoadedModel(
        source='',
        module=module,
        height=size[0],
        width=size[1],
        mean=mean,
        std=std,
        preprocess={'mode': 'stretch'} if family == 'segmentation' else {},
        task=_TASKS[family],
        class_names=tuple(member.meta.get('categories', ())) if member is not None else (),
        stamp=stamp,
        frames=_CLIP_FRAMES if family == 'video' else 0,
    )


def _family(models: Any, name: str) -> str:
    """Sub-package that the network is in; raises ModelError for those that cannot be run."""
    for family in _TASKS:
        if name in models.list_models(module=getattr(models, family) if family else models):
            return family
    if name in models.list_models(module=models.detection):
        # Two-stage detectors choose regions in layer rpn, the others boxes in their own forward.
        layer = 'layer rpn' if 'rcnn' in name else 'its own method postprocess_detections'
        raise ModelError(
            f'this detector cannot be exported: torchvision.nms in {layer} leaves as many boxes '
            'as the picture has, so shapes are not known before it runs',
            given=name,
            hint=_DETECTORS,
        )
    if name in models.list_models(module=models.quantization):
        raise ModelError(
            'this torchvision model is quantised, and quantised layers cannot be exported',
            given=name,
            hint=f'use torchvision:{name.removeprefix("quantized_")}; codec int8 makes what it '
            'sends small all the same',
        )
    raise ModelError(
        'this torchvision model is not a network for pictures or clips',
        given=name,
        hint='wrap it in a factory that returns plain tensors: python:pkg.mod:factory',
    )


def _member(enum: Any, weights: str) -> Any:
    """The weights that are meant, the first ones for their facts, None if there are none."""
    members = list(enum)
    if weights == 'DEFAULT' and members:
        return enum.DEFAULT
    return next((m for m in members if m.name == weights), members[0] if members else None)


def _transform(
    member: Any, family: str
) -> tuple[tuple[int, int], tuple[float, ...], tuple[float, ...]]:
    """Input size, mean and spread of the weights' own transform."""
    if family == 'segmentation':
        return (_SEGMENTATION_SIZE, _SEGMENTATION_SIZE), IMAGENET_MEAN, IMAGENET_STD
    if member is None:
        return (224, 224), IMAGENET_MEAN, IMAGENET_STD
    made = member.transforms()
    size = tuple(int(extent) for extent in made.crop_size)
    height, width = size if len(size) == 2 else size * 2
    if family == 'video':
        return (height, width), tuple(made.mean), tuple(made.std)
    return (height, width), IMAGENET_MEAN, IMAGENET_STD


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
