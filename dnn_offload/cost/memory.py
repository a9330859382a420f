"""Memory of a head and a tail at every cut: weights, and activations at their peak. No torch.

A value is alive from the operator that makes it to its last reader; views share the memory of
what they look at. Whoever calls a piece holds its inputs until it is done. What an operator
needs beside its inputs and outputs (a convolution's scratch memory) is not known here, nor is
what the allocator keeps: the figures are a lower bound that grows as the true need does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Step:
    """One operator, as far as memory is concerned.

    Attributes:
        reads: Names of the values that it reads.
        makes: Names of its results.
        weights: Names of the weights that it reads.
        view: Whether its results share the memory of the first value that it reads.
    """

    reads: tuple[str, ...]
    makes: tuple[str, ...]
    weights: tuple[str, ...] = ()
    view: bool = False


def memory_of_cuts(
    steps: Sequence[Step],
    value_bytes: Mapping[str, int],
    weight_bytes: Mapping[str, int],
    outputs: Sequence[str],
    cuts: Sequence[tuple[int, Sequence[str]]],
) -> list[tuple[int, int]]:
    """Memory of the head and the tail of each cut [byte].

    Args:
        steps: All operators in order.
        value_bytes: Size of every value, the inputs of the network among them.
        weight_bytes: Size of every weight.
        outputs: Names of what the network returns.
        cuts: Position (number of steps before it) and names of the frontier; the frontier of
            the first one is the inputs of the network.

    Returns:
        (head, tail) of each cut; 0 for an empty piece.
    """
    owner, born, dies = _lifetimes(steps, value_bytes, outputs)
    change = np.zeros(len(steps) + 1, dtype=np.int64)
    for name, start in born.items():
        change[max(start, 0)] += value_bytes[name]
        change[min(dies[name], len(steps) - 1) + 1] -= value_bytes[name]
    alive = np.cumsum(change)[:-1]  # [byte] while step i runs
    made = []
    entering = _owners(cuts[0][1], owner)
    head_weights, tail_weights = _weights(steps, weight_bytes)
    for position, frontier in cuts:
        made.append((
            0 if position == 0 else head_weights[position]
            + _peak(alive, 0, position, entering, dies, value_bytes),
            0 if position == len(steps) else tail_weights[position]
            + _peak(alive, position, len(steps), _owners(frontier, owner), dies, value_bytes),
        ))
    return made


def _lifetimes(
    steps: Sequence[Step], value_bytes: Mapping[str, int], outputs: Sequence[str]
) -> tuple[dict[str, str], dict[str, int], dict[str, int]]:
    """Owner of each value's memory; of each owner the step that makes it and its last use."""
    owner = {name: name for name in value_bytes}
    born = dict.fromkeys(value_bytes, -1)
    dies = dict.fromkeys(value_bytes, -1)
    for index, step in enumerate(steps):
        for name in step.reads:
            dies[owner[name]] = index
        for name in step.makes:
            if step.view and step.reads:
                owner[name] = owner[step.reads[0]]
            born[name] = dies[name] = index
    for name in outputs:
        dies[owner[name]] = len(steps)
    owners = set(owner.values())
    return (
        owner,
        {name: born[name] for name in owners},
        {name: dies[name] for name in owners},
    )


def _owners(names: Sequence[str], owner: Mapping[str, str]) -> list[str]:
    return sorted({owner[name] for name in names})


def _peak(
    alive: np.ndarray,
    start: int,
    end: int,
    held: Sequence[str],
    dies: Mapping[str, int],
    value_bytes: Mapping[str, int],
) -> int:
    """Most that is alive while steps ``start`` .. ``end`` run, their inputs held throughout."""
    over = np.zeros(end - start + 1, dtype=np.int64)
    for name in held:  # dead for the network, but the caller has it still
        over[min(max(dies[name] + 1 - start, 0), end - start)] += value_bytes[name]
    return int((alive[start:end] + np.cumsum(over)[:-1]).max(initial=0))


def _weights(
    steps: Sequence[Step], weight_bytes: Mapping[str, int]
) -> tuple[list[int], list[int]]:
    """Bytes of the different weights before and after each position."""
    return _running(steps, weight_bytes), _running(steps[::-1], weight_bytes)[::-1]


def _running(steps: Sequence[Step], weight_bytes: Mapping[str, int]) -> list[int]:
    seen: set[str] = set()
    total = [0]
    for step in steps:
        fresh = set(step.weights) - seen
        seen |= fresh
        total.append(total[-1] + sum(weight_bytes[name] for name in fresh))
    return total
