"""Numbers on the command line, refused with what is allowed where they are none."""

from __future__ import annotations

import argparse
import math

_FACTORS = {'': 1.0, 'k': 1e3, 'M': 1e6, 'G': 1e9}


def bits_per_second(text: str) -> float:
    """``20M``, ``500k`` or ``2e7`` [bit/s]."""
    factor = _FACTORS.get(text[-1:], 0.0)
    try:
        number = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number <= 0.0:
        raise argparse.ArgumentTypeError(f'{text} is no rate, e.g. 500k, 20M or 2e7 [bit/s]')
    return number


def positive(text: str) -> float:
    """A number above 0."""
    number = float(text)
    if not math.isfinite(number) or number <= 0.0:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return number


def not_negative(text: str) -> float:
    """A number of 0 or more."""
    number = float(text)
    if not math.isfinite(number) or number < 0.0:
        raise argparse.ArgumentTypeError(f'{text} is not a number of 0 or more')
    return number


def share(text: str) -> float:
    """A number of 0 to 1."""
    number = float(text)
    if not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f'{text} is not a number of 0 to 1')
    return number
