"""The networks that are measured, exported once, and what each of their layers looks like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from dnn_offload.graph import fingerprint
from dnn_offload.graph.export import export
from dnn_offload.graph.operators import base_name
from dnn_offload.graph.program import Instruction, Program
from dnn_offload.graph.segment import decode_argument
from dnn_offload.graph.segment import resolve as resolve_operator
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.weights import load_weights, save_weights, Weights

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
LAYERS_FILE = 'layers.json'


def folder_of(work: Path, network: str) -> Path:
    """Where a network's program, weights and layers lie."""
    return work / 'networks' / network.replace(':', '-')


def prepare(work: Path, network: str) -> None:
    """Export a network and trace its layers, unless that is done."""
    folder = folder_of(work, network)
    if (folder / LAYERS_FILE).exists():
        return
    weights_of = 'random' if network.startswith('torchvision:') else 'DEFAULT'
    program, weights = export(resolve(network, weights=weights_of))
    program.save(folder)
    save_weights(folder, weights)
    (folder / LAYERS_FILE).write_text(json.dumps(trace_layers(program, weights)))


def load(work: Path, network: str) -> tuple[Program, Weights]:
    """A prepared network."""
    folder = folder_of(work, network)
    program = Program.load(folder)
    return program, load_weights(folder, program)


def trace_layers(program: Program, weights: Weights) -> list[dict[str, Any]]:
    """Run the program once; shapes and facts of every instruction, in order.

    Returns:
        Per layer: ``kind``, ``reads`` and ``makes`` (name, shape and size in bytes of each
        value), ``weights`` (the shapes that it reads), and its plain arguments.
    """
    height, width = program.input.shape[1:3]
    values = {program.input.name: torch.from_numpy(fingerprint.seeded_picture(height, width))}
    layers = []
    for instruction in program.instructions:
        results = _run(instruction, values, weights)
        values.update(zip(instruction.outputs, results, strict=False))
        layers.append(
            {
                'kind': base_name(instruction.target),
                'module': instruction.module,
                'reads': [_fact(name, values) for name in dict.fromkeys(instruction.values())],
                'makes': [_fact(name, values) for name in instruction.outputs if name],
                'weights': [
                    [list(weights[name].shape), weights[name].nbytes]
                    for name in dict.fromkeys(instruction.weights())
                ],
                'arguments': [_plain(tree) for tree in instruction.args],
            }
        )
    return layers


def _fact(name: str, values: dict[str, torch.Tensor]) -> list[Any]:
    return [name, list(values[name].shape), values[name].nbytes]


def _plain(tree: Any) -> Any:
    """The argument where it is numbers; None where it holds values or weights."""
    if isinstance(tree, dict) or (isinstance(tree, list) and any(map(_is_dict, tree))):
        return None
    return tree


def _is_dict(tree: Any) -> bool:
    return isinstance(tree, dict)


def _run(
    instruction: Instruction, values: dict[str, torch.Tensor], weights: Weights
) -> tuple[torch.Tensor, ...]:
    def fill(tree: Any) -> Any:
        if isinstance(tree, list):
            return [fill(item) for item in tree]
        if isinstance(tree, dict) and 'v' in tree:
            return values[tree['v']]
        return decode_argument(tree, weights)

    with torch.inference_mode():
        result = resolve_operator(instruction.target)(
            *(fill(tree) for tree in instruction.args),
            **{key: fill(tree) for key, tree in instruction.kwargs.items()},
        )
    return (result,) if isinstance(result, torch.Tensor) else tuple(result)
