"""Slices that cross a cut: sent they begin at a boundary of memory, in the whole they may not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dnn_offload.graph.export import export
from dnn_offload.graph.loaded_model import LoadedModel
from graph_models import check_every_cut, through_disk


class LastStep(nn.Module):
    """A recurrent network's last step, classified: at batch 1 a block that begins anywhere."""

    def __init__(self, hidden: int, classes: int) -> None:
        super().__init__()
        self.steps = nn.LSTM(12, hidden, batch_first=True)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.steps(x)[0][:, -1])


class OneToken(nn.Module):
    """A token in the middle, as of a transformer without a class token in front."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embed, self.classify = nn.Linear(8, channels), nn.Linear(channels, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.embed(x)[:, 3])


class NothingJoined(nn.Module):
    """Joins no channel of one branch to another: a tensor of size 0 at a cut."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.one(x)
        return torch.cat([y[:, :0], self.two(x)], 1).mean((2, 3))


class Masked(nn.Module):
    """Some of its classes are never possible."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(8, 6)
        self.register_buffer('never', torch.tensor([0, 0, 1, 0, 1, 0], dtype=torch.bool))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(x).masked_fill(self.never, float('-inf'))


@pytest.mark.parametrize(('hidden', 'steps', 'classes'), [
    (50, 6, 5), (25, 7, 3), (65, 4, 43), (18, 4, 7), (64, 4, 7),
])
def test_the_last_step_of_a_recurrent_network(hidden: int, steps: int, classes: int) -> None:
    torch.manual_seed(hidden)
    example = torch.zeros(1, steps, 12)
    check_every_cut(*export(LoadedModel('', LastStep(hidden, classes), examples=(example,))))


@pytest.mark.parametrize('channels', [61, 65, 129, 128])
def test_a_token_in_the_middle(channels: int) -> None:
    torch.manual_seed(channels)
    example = torch.zeros(1, 6, 8)
    check_every_cut(*export(LoadedModel('', OneToken(channels), examples=(example,))))


def test_an_empty_tensor_at_a_cut() -> None:
    check_every_cut(*export(LoadedModel('', NothingJoined(), 32, 32, task='tensor')))


def test_an_infinite_output_is_saved(tmp_path: Path) -> None:
    example = torch.zeros(1, 8)
    model = LoadedModel('', Masked(), examples=(example,))
    program, weights = through_disk(model, tmp_path)
    check_every_cut(program, weights)
    assert min(program.fingerprint) < -1e38
