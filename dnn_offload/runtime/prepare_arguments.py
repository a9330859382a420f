"""Arguments of the preparation process (``runtime/prepare.py``)."""

from __future__ import annotations

import argparse
from pathlib import Path

from dnn_offload.runtime.model_cache import ROLES
from dnn_offload.runtime.profile_wishes import NO, ProfileWishes, PROVISIONAL


def make_parser() -> argparse.ArgumentParser:
    """What they are and mean."""
    parser = argparse.ArgumentParser(description='Export a model and measure its profile.')
    parser.add_argument('--source', required=True, help='e.g. torchvision:squeezenet1_1')
    parser.add_argument('--weights', default='DEFAULT', help='name, .safetensors file, random')
    parser.add_argument('--allow-code', action='store_true', help='allow python: and file:')
    parser.add_argument('--input-size', default='', help='HEIGHTxWIDTH; the own one if empty')
    parser.add_argument('--cache', required=True, type=Path, help='folder for results')
    parser.add_argument('--threads', type=int, default=1, help='compute threads')
    parser.add_argument('--backend', default='torch', help='what runs it, or auto')
    parser.add_argument('--role', choices=ROLES, default='edge', help='whose profile')
    parser.add_argument('--profile-budget-s', type=float, default=8.0, help='time to measure [s]')
    parser.add_argument('--no-profile', action='store_true', help='only export')
    parser.add_argument('--again', action='store_true', help='measure even if cached')
    parser.add_argument(
        '--anew', action='store_true', help='export and measure even if cached: it cannot be used'
    )
    wishes = ProfileWishes()
    parser.add_argument(
        '--fraction', type=float, default=wishes.fraction, help='of the cuts that are measured'
    )
    parser.add_argument('--threads-list', default='', help='other thread counts, e.g. 1,2,4')
    parser.add_argument('--agreement', action='store_true', help="codecs' effect on answers")
    parser.add_argument('--agreement-again', action='store_true', help='even if it is known')
    parser.add_argument(
        '--agreement-budget-s', type=float, default=wishes.agreement_budget_s, help='time [s]'
    )
    parser.add_argument('--frames', type=Path, help='folder of pictures, or video')
    parser.add_argument(
        '--frame-count', type=int, default=wishes.frame_count, help='most frames'
    )
    parser.add_argument(
        '--provisional', choices=PROVISIONAL, default=NO, help='a provisional profile first, only'
    )
    parser.add_argument('--nice', type=int, default=0, help='added to the niceness')
    parser.add_argument('--watch-stdin', action='store_true', help='end when stdin closes')
    return parser
