"""Stacked recurrent layers as one operator per level, so that they can be cut between levels.

torch computes ``nn.LSTM(num_layers=3)`` in one operator. Its levels run one after the other over
the whole sequence in any case; as three operators they compute the same, and a cut may stand
between them. Both directions of a level stay together, and so do the steps of the sequence.
"""

from __future__ import annotations

from dnn_offload.graph.arguments import Argument
from dnn_offload.graph.lowering import Draft
from dnn_offload.graph.program import Instruction

# Arguments: input, states, weights, has_biases, levels, dropout, train, both ways, batch first.
_STACKED = frozenset(
    f'aten.{name}.input' for name in ('lstm', 'gru', 'rnn_tanh', 'rnn_relu')
)


def split_levels(draft: Draft) -> None:
    """Replace each stack of recurrent levels by one operator per level.

    Dropout between the levels must have been ruled out (``passes.canonicalise``).
    """
    draft.instructions = [
        piece
        for instruction in draft.instructions
        for piece in (
            _levels(instruction)
            if instruction.target in _STACKED and instruction.args[4] > 1
            else (instruction,)
        )
    ]


def _levels(stack: Instruction) -> list[Instruction]:
    source, states, weights, has_biases, count, _, train, both_ways, batch_first = stack.args
    several = isinstance(states, list)  # LSTM: hidden state and cell state
    state_list = states if several else [states]
    per_level = len(weights) // count
    directions = 2 if both_ways else 1
    base = next(name for name in stack.outputs if name)
    kept = [bool(name) for name in stack.outputs[1:]]  # final states that somebody reads
    made: list[Instruction] = []
    finals: list[list[Argument]] = [[] for _ in kept]

    def call(target: str, args: tuple[Argument, ...], *outputs: str) -> None:
        made.append(Instruction(target, args, {}, outputs, stack.module))

    for level in range(count):
        here = f'{base}_level{level}'
        given: list[Argument] = []
        for index, state in enumerate(state_list):
            name = f'{here}_state{index}'
            bounds = (level * directions, (level + 1) * directions)
            call('aten.slice.Tensor', (state, 0, *bounds), name)
            given.append({'v': name})
        result = stack.outputs[0] if level == count - 1 else f'{here}_sequence'
        final_names = [f'{here}_final{i}' if wanted else '' for i, wanted in enumerate(kept)]
        call(
            stack.target,
            (
                source,
                given if several else given[0],
                weights[level * per_level : (level + 1) * per_level],
                has_biases, 1, 0.0, train, both_ways, batch_first,
            ),
            result,
            *final_names,
        )  # fmt: skip
        source = {'v': result}
        for final, name in zip(finals, final_names, strict=True):
            final.append({'v': name})
    for name, final in zip(stack.outputs[1:], finals, strict=True):
        if name:
            call('aten.cat.default', (final, 0), name)
    return made
