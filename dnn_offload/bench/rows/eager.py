"""A network as a user would run it: the torch module itself, and a picture made into its input."""

from __future__ import annotations

import numpy as np
import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.vision.preprocess import prepare, PreprocessSpec


def tensor_of(rgb: np.ndarray, loaded: LoadedModel) -> torch.Tensor:
    """Resize, scale to 0..1, normalise: (H, W, 3) uint8 to (1, 3, h, w) float32.

    Raises:
        ModelError: The network takes no single picture.
    """
    if not loaded.takes_picture or loaded.frames:
        raise ModelError('this network takes no single picture', given=loaded.source)
    spec = PreprocessSpec(**{'height': loaded.height, 'width': loaded.width, **loaded.preprocess})
    small, _ = prepare(rgb, spec)
    pixels = torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255.0
    mean = torch.tensor(loaded.mean).view(1, 3, 1, 1)
    std = torch.tensor(loaded.std).view(1, 3, 1, 1)
    return ((pixels - mean) / std).contiguous()


def example(loaded: LoadedModel) -> torch.Tensor:
    """An input of random pixels."""
    pixels = np.random.default_rng(0).integers(
        0, 255, (loaded.height or 1, loaded.width or 1, 3), np.uint8
    )
    return tensor_of(pixels, loaded)
