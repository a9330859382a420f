"""Arguments with which a subcommand names a network."""

from __future__ import annotations

import argparse
from pathlib import Path

MODEL_FORMS = 'torchvision:NAME, demo:detector, python:pkg.mod:factory, file:model.pt2'


def add_model_arguments(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Declare ``model`` and what belongs to it: weights, code, input size, cache.

    Args:
        parser: Of the subcommand.
        optional: The model may be left out; it is None then.
    """
    parser.add_argument('model', nargs='?' if optional else None, help=MODEL_FORMS)
    parser.add_argument(
        '--weights', default='DEFAULT', help="name, .safetensors file or 'random' [%(default)s]"
    )
    parser.add_argument(
        '--allow-code', action='store_true', help='allow python: and file:, which execute code'
    )
    parser.add_argument(
        '--input-size', default='', metavar='HxW', help="network input [the model's own]"
    )
    parser.add_argument(
        '--cache', type=Path, default=Path('~/.cache/dnn_offload'), help='[%(default)s]'
    )
