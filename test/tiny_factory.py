"""A factory for ``python:tiny_factory:make``: what a user's own model looks like."""

from __future__ import annotations

import torch
from torch import nn

from dnn_offload.graph.sources import LoadedModel
from graph_models import Branches


def make() -> LoadedModel:
    """A small network with branches, always the same weights."""
    torch.manual_seed(0)
    print('factories may print')  # must not get into the preparation's progress
    return LoadedModel('', Branches().eval(), 32, 48, preprocess={'mode': 'stretch'})


def broken() -> nn.Module:
    """A factory that fails."""
    raise RuntimeError('on purpose')
