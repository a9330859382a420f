"""The demo's detector: a small single-shot network for the drawn scenes, and its weights.

Anchor-free, one prediction per point of three grids (strides 8, 16, 32), in the manner of FCOS
(Tian et al., ICCV 2019) and YOLOX (Ge et al., arXiv:2107.08430), with a top-down pyramid (Lin et
al., CVPR 2017), so that its cuts have frontiers of one to several tensors. The weights are made
by ``python -m dnn_offload.demo.train_detector``; without them there is no detector.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812

from dnn_offload.errors import ModelError
from dnn_offload.graph.known_networks import DEMO_DETECTOR, FIXED_SIZES

INPUT_HEIGHT, INPUT_WIDTH = FIXED_SIZES[DEMO_DETECTOR]
MEAN, STD = (0.45, 0.45, 0.45), (0.25, 0.25, 0.25)
CLASS_NAMES = ('person', 'crate', 'barrel', 'cone', 'cart', 'door', 'chair')
STRIDES = (8, 16, 32)
TOP_K = 100
DATA_FOLDER = Path(__file__).resolve().parent.parent / 'data'


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, size: int = 3, stride: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        return F.relu(x + self.second(self.first(x)))


class Head(nn.Module):
    """Class scores and box of each point of one grid."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.shared = ConvBlock(channels, channels)
        self.score_tower = ConvBlock(channels, channels)
        self.box_tower = ConvBlock(channels, channels)
        self.score = nn.Conv2d(channels, classes, 1)
        self.box = nn.Conv2d(channels, 4, 1)
        nn.init.constant_(self.score.bias, -4.0)  # objects are rare

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h * w, 4 + classes) raw box and logits."""
        x = self.shared(x)
        both = torch.cat([self.box(self.box_tower(x)), self.score(self.score_tower(x))], dim=1)
        return both.flatten(2).transpose(1, 2)


class DemoDetector(nn.Module):
    """The network; ``forward`` gives the best 100 boxes before non-maximum suppression."""

    points: Tensor
    point_strides: Tensor

    def __init__(
        self,
        classes: int = len(CLASS_NAMES),
        widths: tuple[int, int, int, int, int] = (16, 24, 48, 88, 112),
        neck: int = 64,
    ) -> None:
        super().__init__()
        stem, quarter, eighth, sixteenth, last = widths
        self.stem = nn.Sequential(
            ConvBlock(3, stem, stride=2),
            ConvBlock(stem, quarter, stride=2),
            ResidualBlock(quarter),
        )
        self.stage8 = nn.Sequential(
            ConvBlock(quarter, eighth, stride=2), ResidualBlock(eighth), ResidualBlock(eighth)
        )
        self.stage16 = nn.Sequential(
            ConvBlock(eighth, sixteenth, stride=2),
            ResidualBlock(sixteenth),
            ResidualBlock(sixteenth),
        )
        self.stage32 = nn.Sequential(ConvBlock(sixteenth, last, stride=2), ResidualBlock(last))
        self.lateral8 = ConvBlock(eighth, neck, 1)
        self.lateral16 = ConvBlock(sixteenth, neck, 1)
        self.lateral32 = ConvBlock(last, neck, 1)
        self.smooth8 = ConvBlock(neck, neck)
        self.smooth16 = ConvBlock(neck, neck)
        self.head = Head(neck, classes)
        points, strides = [], []
        for stride in STRIDES:
            rows, columns = -(-INPUT_HEIGHT // stride), -(-INPUT_WIDTH // stride)
            y, x = torch.meshgrid(
                torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing='ij'
            )
            points.append(torch.stack([x.flatten(), y.flatten()], dim=1) * stride)
            strides.append(torch.full((rows * columns, 1), float(stride)))
        self.register_buffer('points', torch.cat(points), persistent=False)  # (P, 2) px
        self.register_buffer('point_strides', torch.cat(strides), persistent=False)  # (P, 1)

    def predict(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """All predictions: (B, 3, 240, 320) -> boxes (B, P, 4) in px, logits (B, P, classes)."""
        at8 = self.stage8(self.stem(picture))
        at16 = self.stage16(at8)
        at32 = self.stage32(at16)
        top = self.lateral32(at32)
        middle = self.lateral16(at16) + F.interpolate(top, size=(15, 20), mode='nearest')
        middle = self.smooth16(middle)
        fine = self.lateral8(at8) + F.interpolate(middle, size=(30, 40), mode='nearest')
        fine = self.smooth8(fine)
        raw = torch.cat([self.head(level) for level in (fine, middle, top)], dim=1).float()
        centre = self.points + raw[..., :2] * self.point_strides
        half = raw[..., 2:4].clamp(-4.0, 4.0).exp() * self.point_strides
        return torch.cat([centre - half, centre + half], dim=2), raw[..., 4:]

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, 240, 320) normalised -> (B, 100, 6): x1, y1, x2, y2 px, score, class index."""
        boxes, logits = self.predict(picture)
        best, label = logits.max(dim=2)
        score, index = torch.topk(best, TOP_K, dim=1)
        chosen = torch.gather(boxes, 1, index.unsqueeze(2).expand(-1, -1, 4))
        kind = torch.gather(label, 1, index).to(chosen.dtype)
        return torch.cat([chosen, score.sigmoid().unsqueeze(2), kind.unsqueeze(2)], dim=2)


class LoadedDetector(NamedTuple):
    """What ``graph.sources`` needs of the detector.

    Attributes:
        module: The network in eval mode.
        mean: (3,) subtracted from the picture in 0..1.
        std: (3,) divides it.
        height: Input height in pixels.
        width: Input width in pixels.
        class_names: Names by class index.
    """

    module: DemoDetector
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    height: int
    width: int
    class_names: tuple[str, ...]


def load(weights: Path | None = None) -> LoadedDetector:
    """Load the detector with its trained weights.

    Args:
        weights: A ``.safetensors`` file; by default the one that comes with the package.

    Raises:
        ModelError: The file is missing, damaged or of another network.
    """
    path = DATA_FOLDER / 'detector.safetensors' if weights is None else Path(weights)
    hint = 'train them: python -m dnn_offload.demo.train_detector --out dnn_offload/data'
    if not path.is_file():
        raise ModelError('the detector has no weights', given=str(path), hint=hint)
    module = DemoDetector()
    try:
        # Weights are kept as float16 to stay small; they run as float32.
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        for name, buffer in module.state_dict().items():
            if name.endswith('num_batches_tracked'):
                state[name] = buffer
        module.load_state_dict(state)
        described = path.with_suffix('.json')
        names = (
            tuple(json.loads(described.read_text())['class_names'])
            if described.is_file()
            else CLASS_NAMES
        )
    except (SafetensorError, RuntimeError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            'the detector weights cannot be used', given=f'{path}: {error}', hint=hint
        ) from error
    return LoadedDetector(module.eval(), MEAN, STD, INPUT_HEIGHT, INPUT_WIDTH, names)
