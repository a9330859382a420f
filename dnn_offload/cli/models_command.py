"""``dnn-offload models``: which networks can be cut, and where one can be cut."""

from __future__ import annotations

import argparse

from rich import box
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from dnn_offload.cli.console import console_of
from dnn_offload.cli.model_arguments import add_model_arguments
from dnn_offload.errors import ModelError
from dnn_offload.graph.program import Program
from dnn_offload.graph.task import describe, TENSOR
from dnn_offload.writable import make_folder

# Tried by the tests at every cut; others of torchvision's classification networks work as well.
TRIED = (
    ('demo:detector', 'detector of the demo: 7 classes, 240x320'),
    ('torchvision:ssdlite320_mobilenet_v3_large', 'detector: 80 classes of COCO, 320x320'),
    ('torchvision:lraspp_mobilenet_v3_large', 'segmentation: 21 classes, 520x520'),
    ('torchvision:squeezenet1_1', 'small; a robot runs it alone'),
    ('torchvision:mobilenet_v2', 'small, depthwise'),
    ('torchvision:alexnet', "Dey et al.'s example; large last layers"),
    ('torchvision:resnet18', 'skips: frontiers of two tensors'),
    ('torchvision:googlenet', 'branches: frontiers of several tensors'),
    ('torchvision:inception_v3', 'branches, 299x299, slow on a robot'),
    ('torchvision:vgg16', 'very slow on a robot, 528 MB of weights'),
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``dnn-offload models``."""
    parser = subparsers.add_parser(
        'models',
        help='list the networks that can be cut, and the cuts of one',
        description='Without arguments: the networks that were tried. With one: export it '
        '(cached) and list its cuts and what crosses each.',
    )
    add_model_arguments(parser, optional=True)


def run(arguments: argparse.Namespace) -> int:
    """List; raises OffloadError."""
    console = console_of()
    if arguments.model is None:
        console.print('Networks that were tried:')
        for source, what in TRIED:
            console.print(source, soft_wrap=True)  # to be copied
            console.print(Padding(what, (0, 0, 0, 4)))
        console.print(
            '\nYour own: python:package.module:factory (returns a torch.nn.Module) or '
            'file:model.pt2, both with --allow-code.\nThe cuts of one: dnn-offload models MODEL'
        )
        return 0
    program = exported(arguments)
    console.print(cut_table(program))
    console.print(
        f'{program.task}, {len(program.instructions)} operators, identity {program.identity}'
        + (f', [yellow]{escape(program.stamp)}[/]' if program.stamp else '')
    )
    if program.task == TENSOR:
        console.print(
            f'Its outputs, {describe(program.outputs)}, are decoded by nothing here: it can be '
            'cut, profiled and planned, but the nodes cannot show it.', markup=False,
            highlight=False,
        )
    return 0


def exported(arguments: argparse.Namespace) -> Program:
    """The exported program, from the cache where possible; raises OffloadError."""
    from dnn_offload.runtime.model_cache import ModelRequest
    from dnn_offload.runtime.prepare import prepare

    request = ModelRequest(
        arguments.model, arguments.weights, arguments.allow_code, arguments.input_size
    )
    cache = arguments.cache.expanduser()
    make_folder('--cache', cache)
    folders: list[str] = []

    def report(stage: str, fraction: float, message: str, **more: str) -> None:
        folders.extend(folder for folder in (more.get('folder'),) if folder)

    prepare(request, cache, 0.0, False, report)
    if not folders:
        raise ModelError(f'{arguments.model} was not exported')
    return Program.load(folders[-1])


def cut_table(program: Program) -> Table:
    """All cuts of a program."""
    made = Table(
        title=f'{escape(program.source)}: {len(program.cuts)} cuts',
        caption='depth: weighted layers between the picture and what crosses',
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ('cut', 'identity', 'after', 'depth', 'kB', 'tensors'):
        words = name in ('identity', 'after', 'tensors')
        made.add_column(
            name, justify='left' if words else 'right', no_wrap=not words, overflow='fold'
        )
    for cut in program.cuts:
        made.add_row(
            str(cut.index),
            cut.cut_id,
            escape(cut.label),
            str(cut.depth),
            f'{cut.nbytes / 1e3:.0f}',
            escape(describe(cut.frontier)),
        )
    return made
