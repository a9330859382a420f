"""Memory of heads and tails: worked examples, and a plain simulation of random networks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dnn_offload.cost.memory import memory_of_cuts, Step


def test_a_chain_holds_one_input_and_one_output_at_a_time() -> None:
    steps = [Step(('x',), ('a',), ('w1',)), Step(('a',), ('b',), ('w2',)), Step(('b',), ('c',))]
    sizes = {'x': 100, 'a': 50, 'b': 20, 'c': 1}
    found = memory_of_cuts(
        steps, sizes, {'w1': 1000, 'w2': 2000}, ['c'],
        [(0, ['x']), (1, ['a']), (2, ['b']), (3, ['c'])],
    )
    assert found == [
        (0, 3000 + 100 + 50 + 20),  # the caller keeps the picture while a becomes b
        (1000 + 150, 2000 + 50 + 20 + 1),
        (3000 + 170, 20 + 1),
        (3000 + 170, 0),
    ]


def test_a_skip_stays_in_memory_and_a_view_takes_none() -> None:
    steps = [
        Step(('x',), ('a',)),
        Step(('a',), ('v',), view=True),
        Step(('v',), ('b',)),
        Step(('a', 'b'), ('c',)),
    ]
    sizes = {'x': 0, 'a': 10, 'v': 10, 'b': 7, 'c': 5}
    found = memory_of_cuts(
        steps, sizes, {}, ['c'], [(0, ['x']), (2, ['a', 'v']), (4, ['c'])]
    )
    assert found == [(0, 22), (10, 22), (22, 0)]


def test_a_shared_weight_counts_once_in_each_piece() -> None:
    steps = [Step(('x',), ('a',), ('w',)), Step(('a',), ('b',), ('w', 'u'))]
    found = memory_of_cuts(
        steps, dict.fromkeys('xab', 0), {'w': 8, 'u': 1}, ['b'],
        [(0, ['x']), (1, ['a']), (2, ['b'])],
    )
    assert found == [(0, 9), (8, 9), (9, 0)]


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Step], dict[str, int]]:
    names = ['x']
    steps = []
    for index in range(draw(st.integers(1, 8))):
        reads = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        made = f'v{index}'
        steps.append(Step(tuple(reads), (made,)))
        names.append(made)
    return steps, {name: draw(st.integers(0, 50)) for name in names}


@settings(max_examples=60)
@given(networks())
def test_equals_a_run_that_frees_after_the_last_use(
    network: tuple[list[Step], dict[str, int]]
) -> None:
    steps, sizes = network
    end = len(steps)
    outputs = [steps[-1].makes[0]]
    used = {name for step in steps for name in step.reads} | set(outputs)
    # Dead results cross nothing; the examples keep them, since a run makes them too.
    frontiers = []
    for position in range(end + 1):
        before = ['x', *(step.makes[0] for step in steps[:position])]
        after = {name for step in steps[position:] for name in step.reads} | set(outputs)
        frontiers.append([name for name in before if name in after and name in used])
    frontiers[0] = ['x']
    found = memory_of_cuts(
        steps, sizes, {}, outputs, [(p, frontiers[p]) for p in range(end + 1)]
    )
    for position, (head, tail) in enumerate(found):
        assert head == peak(steps[:position], sizes, ['x'], frontiers[position])
        assert tail == peak(steps[position:], sizes, frontiers[position], outputs)


def peak(
    steps: list[Step], sizes: dict[str, int], held: list[str], kept: list[str]
) -> int:
    """Run a piece name by name; the most that was in memory."""
    alive, most = set(held), 0
    for index, step in enumerate(steps):
        alive |= set(step.makes)
        most = max(most, sum(sizes[name] for name in alive))
        later = {name for other in steps[index + 1:] for name in other.reads}
        alive = {name for name in alive if name in held or name in kept or name in later}
    return most
