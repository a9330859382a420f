"""Small networks of kinds that torchvision lacks, as factories: ``python:zoo_networks:NAME``."""

from __future__ import annotations

import torch
from torch import nn

from dnn_offload.graph.loaded_model import LoadedModel


def _model(module: nn.Module, *examples: torch.Tensor, task: str = 'tensor') -> LoadedModel:
    return LoadedModel(source='', module=module.eval(), examples=examples, task=task)


class Classifier(nn.Module):
    """Tokens, a transformer's encoder, one answer for the sequence."""

    def __init__(self, words: int = 50, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (1, T) to logits (1, 10)."""
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


def transformer() -> LoadedModel:
    """An encoder of three layers over 24 tokens."""
    tokens = torch.zeros(1, 24, dtype=torch.int64)
    return _model(Classifier(), tokens, task='classification')


def encoder_decoder() -> LoadedModel:
    """``nn.Transformer``: two sequences in, one out."""
    net = nn.Transformer(32, 4, 2, 2, 64, batch_first=True)
    return _model(net, torch.zeros(1, 20, 32), torch.zeros(1, 12, 32))


class Recurrent(nn.Module):
    """Features, a recurrent layer of two levels in both directions, an answer for each step."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.features = nn.Linear(12, 16)
        self.memory = kind(16, 24, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3)
        self.head = nn.Sequential(nn.Linear(48, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Steps (1, T, 12) to (1, T, 5)."""
        return self.head(self.memory(self.features(x).relu())[0])


def lstm() -> LoadedModel:
    """``nn.LSTM`` over 30 steps."""
    return _model(Recurrent(nn.LSTM), torch.zeros(1, 30, 12))


def gru() -> LoadedModel:
    """``nn.GRU`` over 30 steps."""
    return _model(Recurrent(nn.GRU), torch.zeros(1, 30, 12))


def rnn() -> LoadedModel:
    """``nn.RNN`` over 30 steps."""
    return _model(Recurrent(nn.RNN), torch.zeros(1, 30, 12))


class PictureAndState(nn.Module):
    """A policy: what the camera sees and where the robot is; what to do, and how good that is."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU()
        )
        self.feel = nn.Sequential(nn.Linear(6, 16), nn.Tanh())
        self.act, self.value = nn.Linear(32, 4), nn.Linear(32, 1)

    def forward(
        self, image: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture (1, 3, H, W) and state (1, 6) to actions (1, 4) and value (1, 1)."""
        both = torch.cat([self.see(image).mean((2, 3)), self.feel(state)], 1)
        return self.act(both), self.value(both)


def picture_and_state() -> LoadedModel:
    """Two inputs, of which one is the picture; two outputs."""
    return LoadedModel(
        source='', module=PictureAndState().eval(), height=96, width=128,
        examples=(torch.zeros(1, 6),), task='tensor',
    )  # fmt: skip


class TwoOutputs(nn.Module):
    """An early output, a skip around everything, a branch of its own for the second output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, padding=1)
        self.third, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Picture to a map of features and a map of classes."""
        early = self.first(x).relu()
        late = self.third(self.second(early).relu()).relu()
        return {'features': early.mean((2, 3)), 'map': self.head(torch.cat([early, late], 1))}


def two_outputs() -> LoadedModel:
    """Two outputs, one of them early."""
    return LoadedModel(source='', module=TwoOutputs().eval(), height=64, width=96, task='tensor')


class Tied(nn.Module):
    """One block used three times; the table of words is the head's matrix, too."""

    def __init__(self, words: int = 40, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.block = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (1, T) to logits (1, T, words)."""
        x = self.embedding(tokens)
        for _ in range(3):
            x = x + self.block(x)
        return self.head(x)


def shared_weights() -> LoadedModel:
    """Weights that several layers share."""
    return _model(Tied(), torch.zeros(1, 12, dtype=torch.int64))
