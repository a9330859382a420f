"""The networks that are measured, exported once, and what each of their layers looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dnn_offload.cost.profile import LayerProfile
from dnn_offload.graph.export import export
from dnn_offload.graph.program import Program, PROGRAM_FILE
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.weights import load_weights, save_weights, Weights
from dnn_offload.runtime.profile_layers import layer_profiles

NETWORKS = (
    *(
        f'torchvision:{name}'
        for name in (
            'alexnet', 'vgg11', 'squeezenet1_0', 'squeezenet1_1', 'mobilenet_v2',
            'mobilenet_v3_small', 'mobilenet_v3_large', 'shufflenet_v2_x1_0', 'mnasnet1_0',
            'efficientnet_b0', 'resnet18', 'resnet34', 'resnet50',
            'googlenet', 'inception_v3', 'densenet121',
        )
    ),
    'demo:detector',
)  # fmt: skip


def folder_of(work: Path, network: str) -> Path:
    """Where a network's program and weights lie."""
    return work / 'networks' / network.replace(':', '-')


def prepare(work: Path, network: str) -> None:
    """Export a network, unless that is done."""
    folder = folder_of(work, network)
    if (folder / PROGRAM_FILE).exists():
        return
    weights_of = 'random' if network.startswith('torchvision:') else 'DEFAULT'
    program, weights = export(resolve(network, weights=weights_of))
    save_weights(folder, weights)  # before the program: whoever sees that finds both
    program.save(folder)


def load(work: Path, network: str) -> tuple[Program, Weights]:
    """A prepared network."""
    folder = folder_of(work, network)
    program = Program.load(folder)
    return program, load_weights(folder, program)


def layers(work: Path, network: str) -> tuple[LayerProfile, ...]:
    """What each layer of a prepared network looks like, in order; without times."""
    program = Program.load(folder_of(work, network))
    return layer_profiles(program, np.zeros((1, len(program.instructions))))
