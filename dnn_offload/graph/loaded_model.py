"""A torch model with all that belongs to it, before export; and putting weights into one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch

from dnn_offload.errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CONVERT = (
    'convert once: python -c "import torch, safetensors.torch as s; '
    "s.save_file({n: t.clone() for n, t in torch.load('x.pth', weights_only=True).items()}, "
    "'x.safetensors')\""
)


@dataclass(frozen=True)
class LoadedModel:
    """A torch model ready to be exported.

    Attributes:
        source: The source string.
        module: Takes a normalised float picture (1, 3, H, W), or a clip (1, 3, T, H, W), and
            then ``examples``; in eval mode, on the CPU.
        height, width: Input size in pixels; 0 = the network takes no picture.
        mean, std: Normalisation of RGB in 0..1.
        preprocess: Keyword arguments of ``vision.preprocess.PreprocessSpec``.
        task: ``classification``, ``detection``, ``segmentation``, or ``tensor`` for outputs
            that nobody here decodes; empty = told by the outputs (``task.py``).
        class_names: Index to name; may be empty.
        stamp: '' or what a viewer must know, e.g. ``random weights``.
        frames: Pictures of a clip, for networks that take several at once; 0 = one picture.
        examples: The other inputs, with batch size, by their dtypes and shapes; their numbers
            do not matter. They are taken as they are, without normalisation.
    """

    source: str
    module: torch.nn.Module
    height: int = 0
    width: int = 0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    preprocess: dict[str, Any] = field(default_factory=dict)
    task: str = ''
    class_names: tuple[str, ...] = ()
    stamp: str = ''
    frames: int = 0
    examples: tuple[torch.Tensor, ...] = ()

    @property
    def takes_picture(self) -> bool:
        """Whether the first input is a picture or a clip."""
        return self.height != 0 or self.width != 0

    def inputs(self) -> tuple[torch.Tensor, ...]:
        """What the exported network takes: uint8 (1, H, W, 3) or (1, T, H, W, 3), examples."""
        # torch.export takes one tensor that is given twice for one input.
        examples = tuple(tensor.clone() for tensor in self.examples)
        if not self.takes_picture:
            return examples
        clip = (self.frames,) if self.frames else ()
        picture = torch.zeros(1, *clip, self.height, self.width, 3, dtype=torch.uint8)
        return (picture, *examples)


def is_file(weights: str) -> bool:
    """Whether ``weights`` is a path rather than the name of some weights."""
    return '.' in weights or '/' in weights


def read_state(path: str) -> dict[str, torch.Tensor]:
    """Read a ``.safetensors`` file; raises ModelError for anything else."""
    if not path.endswith('.safetensors'):
        raise ModelError(
            'weights are read from .safetensors files only: others may execute code',
            given=path,
            hint=CONVERT,
        )
    try:
        return load_file(Path(path).expanduser(), device='cpu')
    except (OSError, SafetensorError) as error:
        raise ModelError(f'weights {path} cannot be read: {error}') from error


def assign(module: torch.nn.Module, state: dict[str, torch.Tensor], origin: str) -> None:
    """Give the module its weights, all of them, or say by name which one does not fit."""
    expected = module.state_dict()
    shared: dict[int, str] = {}  # storage to a name of it that the file has
    for name, tensor in expected.items():
        if name in state and tensor.numel():
            shared.setdefault(tensor.data_ptr(), name)
    for name, tensor in expected.items():
        twin = shared.get(tensor.data_ptr())
        if name not in state and twin is not None and expected[twin].shape == tensor.shape:
            state[name] = state[twin]  # tied weights may be stored once
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


def check_fixed_size(
    name: str, size: tuple[int, int], wanted: tuple[int, int] | None
) -> None:
    """Refuse another input size than the only one that a model takes.

    Args:
        name: Of the model.
        size: (height, width) that it takes.
        wanted: What was asked for; None = whatever it takes.

    Raises:
        ModelError: Another one was asked for.
    """
    if wanted is not None and tuple(wanted) != size:
        raise ModelError(
            f'the input size of {name} is fixed', given='{}x{}'.format(*wanted),
            allowed='{}x{}'.format(*size),
        )
