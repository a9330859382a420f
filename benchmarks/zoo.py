"""Every network of torchvision, and some of our own, cut everywhere: does it equal the whole?

Run: ``python benchmarks/zoo.py [--only NAME ...] [--jobs N] [--out zoo.md]``. Weights are random
and seeded. A network that is in the table already is not run again, so that a sweep can be
stopped and resumed; each network runs in a process of its own with one compute thread, as many at
a time as there are cores, those that take longest among the first.

What *worst difference* means. For each network, against one run of the whole program:

* chain: the program in as many pieces as it has cuts, run one after the other; at every cut all
  values of the frontier are copied into fresh memory with their strides, as on the way to a
  server. Operators are functions of their inputs' numbers and strides, so if the chain gives the
  outputs of the whole bit for bit, so does each of its two-piece runs;
* two pieces, head and tail each as one segment: a seeded sample of the cuts;
* three pieces by value (robot, server, robot): seeded pairs of cuts;
* placements: seeded sets of instructions that no position has, in two pieces.

Above 100 M parameters the chain has 16 seeded cuts. The figure is the largest absolute difference
of any output over all these runs, divided by the largest output; 0 means equal bit for bit.
Frontiers are those of the inner cuts; cut 0 is the input and the last cut the outputs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
import json
import os
from pathlib import Path
import random
import subprocess
import sys
import time
from typing import TypeAlias

import torch

from dnn_offload.codec.layout import flatten, Target
from dnn_offload.errors import OffloadError
from dnn_offload.graph.export import export
from dnn_offload.graph.fingerprint import seeded_inputs
from dnn_offload.graph.placements import (
    cut_by_frontier,
    frontier_of,
    head_and_tail,
    Piece,
    piece,
)
from dnn_offload.graph.program import Program
from dnn_offload.graph.routes import find_route
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.sources import LoadedModel, resolve
from dnn_offload.graph.torchvision_compat import import_torchvision
from dnn_offload.graph.weights import Weights
from dnn_offload.tensors import TensorSpec

LARGE = 100_000_000  # parameters
LARGE_CUTS = 16
SAMPLE = 16  # two-piece runs
PAIRS = 4
PLACEMENTS = 4
BUDGET_S = 10.0  # for the runs after the chain; two of each kind are run in any case
CRASHED = 'failed: '  # before what a process that measured said last
HEADER = (
    '| network | input | M parameters | ops | cuts | chain | 2 pieces | 3 pieces | placements '
    '| narrowest kB | widest kB | worst difference | s |'
)


@dataclass(frozen=True)
class Row:
    """One network's line; ``reason`` instead of figures where it cannot be exported."""

    network: str
    size: str = ''
    parameters_m: float = 0.0
    operators: int = 0
    cuts: int = 0
    chain: int = 0
    two: int = 0
    three: int = 0
    placements: int = 0
    narrowest_kb: float = 0.0
    widest_kb: float = 0.0
    worst: float = 0.0
    seconds: float = 0.0
    reason: str = ''

    def line(self) -> str:
        """As a line of a markdown table."""
        if self.reason:
            return f'| {self.network} | | | | | | | | | | | {self.reason} | {self.seconds:.0f} |'
        return (
            f'| {self.network} | {self.size} | {self.parameters_m:.1f} | {self.operators} '
            f'| {self.cuts} | {self.chain} | {self.two} | {self.three} | {self.placements} '
            f'| {self.narrowest_kb:.1f} | {self.widest_kb:.0f} | {self.worst:.2g} '
            f'| {self.seconds:.0f} |'
        )


def zoo() -> list[str]:
    """Sources of all networks, small ones of our own first."""
    models = import_torchvision().models
    own = [f'python:zoo_networks:{name}' for name in OWN]
    names = [
        name
        for family in (models, models.segmentation, models.video, models.detection)
        for name in models.list_models(module=family)
    ]
    return own + ['demo:detector'] + [f'torchvision:{name}' for name in names]


OWN = (
    'transformer', 'encoder_decoder', 'lstm', 'gru', 'rnn', 'picture_and_state', 'two_outputs',
    'shared_weights',
)  # fmt: skip


def measure(source: str) -> Row:
    """Export and run one network."""
    torch.set_num_threads(1)
    started_s = time.perf_counter()
    try:
        weights = 'DEFAULT' if source.startswith('demo') else 'random'
        loaded = resolve(source, weights=weights, allow_code=True)
        program, tensors = export(loaded)
    except OffloadError as error:
        seconds = time.perf_counter() - started_s
        return Row(source, reason=f'cannot be exported: {error.what}', seconds=seconds)
    parameters = sum(parameter.numel() for parameter in loaded.module.parameters())
    row = _run(source, loaded, program, tensors, parameters)
    return replace(row, seconds=time.perf_counter() - started_s)


def _run(
    source: str, loaded: LoadedModel, program: Program, weights: Weights, parameters: int
) -> Row:
    generator = random.Random(source)
    inputs = [torch.from_numpy(array) for array in seeded_inputs(program.inputs)]
    whole = Segment(program, weights, 0, len(program.cuts) - 1)(inputs)
    if not all(bool(torch.isfinite(tensor.float()).all()) for tensor in whole):
        raise RuntimeError(f'{source}: the outputs are not finite, nothing can be compared')
    worst = 0.0

    def compare(outputs: Sequence[torch.Tensor]) -> None:
        nonlocal worst
        for ours, theirs in zip(outputs, whole, strict=True):
            if not torch.equal(ours, theirs):
                scale = float(theirs.abs().max()) or 1.0
                worst = max(worst, float((ours - theirs).abs().max()) / scale, 1e-300)

    inner = list(range(1, len(program.cuts) - 1))
    chain = inner
    if parameters > LARGE:
        chain = sorted(generator.sample(inner, min(LARGE_CUTS, len(inner))))
    values, here = list(inputs), 0
    for index in [*chain, len(program.cuts) - 1]:
        values = [sent(value) for value in Segment(program, weights, here, index)(values)]
        here = index
    compare(values)

    end_s = time.perf_counter() + BUDGET_S
    counts = {'two': 0, 'three': 0, 'placements': 0}
    plans = {
        'two': two_pieces(program, generator.sample(inner, min(SAMPLE, len(inner)))),
        'three': three_pieces(program, generator),
        'placements': placements(program, generator),
    }
    while plans:
        for kind in list(plans):
            pieces = next(plans[kind], None)
            if pieces is None or (counts[kind] >= 2 and time.perf_counter() > end_s):
                del plans[kind]
                continue
            compare(run_pieces(program, weights, inputs, pieces))
            counts[kind] += 1
    sizes = [cut.nbytes / 1e3 for cut in program.cuts[1:-1]] or [program.cuts[0].nbytes / 1e3]
    return Row(
        source,
        ', '.join('x'.join(map(str, spec.shape)) for spec in program.inputs),
        parameters / 1e6,
        len(program.instructions),
        len(program.cuts),
        len(chain) + 1,
        counts['two'],
        counts['three'],
        counts['placements'],
        min(sizes),
        max(sizes),
        worst,
    )


Pieces: TypeAlias = list[Piece]  # of one run, in order


def two_pieces(program: Program, cuts: Sequence[int]) -> Iterator[Pieces]:
    """Head and tail of some of the program's cuts."""
    for index in cuts:
        yield list(head_and_tail(program, program.cuts[index]))


def three_pieces(program: Program, generator: random.Random) -> Iterator[Pieces]:
    """Robot, server, robot between pairs of cuts."""
    for _ in range(PAIRS):
        if len(program.cuts) < 4:
            return
        first, second = sorted(generator.sample(range(1, len(program.cuts) - 1), 2))
        names = [[s.name for s in program.cuts[i].frontier] for i in (first, second)]
        route = find_route(program, *names)
        ways = (route.head, route.middle, route.rest)
        yield [piece(program, *ends) for ends in ways if ends is not None]


def placements(program: Program, generator: random.Random) -> Iterator[Pieces]:
    """Sets of instructions closed under what they need, which no position has."""
    found = 0
    for _ in range(20 * PLACEMENTS):
        cut = cut_by_frontier(program, frontier_of(program, closed_set(program, generator)))
        if cut.index < 0 and found < PLACEMENTS:
            found += 1
            yield list(head_and_tail(program, cut))


def closed_set(program: Program, generator: random.Random) -> set[int]:
    """A few random instructions, and all that they need."""
    inside: set[int] = set()
    todo = [generator.randrange(len(program.instructions)) for _ in range(2)]
    while todo:
        position = todo.pop()
        if position not in inside:
            inside.add(position)
            read = program.instructions[position].values()
            todo += [program.makers[name] for name in read if name in program.makers]
    return inside


def run_pieces(
    program: Program, weights: Weights, inputs: Sequence[torch.Tensor], pieces: Pieces
) -> list[torch.Tensor]:
    """Run pieces one after the other; everything that goes between them is sent."""
    names = [spec.name for spec in program.inputs]
    known = dict(zip(names, inputs, strict=True))
    outputs: list[torch.Tensor] = []
    for part in pieces:
        given = [known[spec.name] for spec in part.inputs]
        outputs = Segment.of(program, weights, part)(given)
        made = zip(part.outputs, outputs, strict=True)
        known = {**known, **{spec.name: sent(tensor) for spec, tensor in made}}
    return outputs


def sent(tensor: torch.Tensor) -> torch.Tensor:
    """What arrives: the same numbers and strides, in other memory."""
    array = tensor.numpy()
    spec = TensorSpec.of_array('sent', array)
    target = Target(spec)
    target.flat[:] = flatten(array, spec)
    return torch.from_numpy(target.array())


def in_a_process(source: str) -> tuple[str, Row]:
    """Measure in a process of its own: its memory goes back, and it may die without harm."""
    here = Path(__file__).resolve()
    paths = os.pathsep.join([str(here.parent), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, str(here), '--one', source],
        env={**os.environ, 'PYTHONPATH': paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f'exit status {done.returncode}'])[-1]
        return source, Row(source, reason=f'{CRASHED}{last[:300]}')
    return source, Row(**json.loads(done.stdout.strip().splitlines()[-1]))


def read_done(path: Path) -> dict[str, Row]:
    """Rows of an earlier run, by network."""
    if not path.is_file():
        return {}
    rows = [Row(**json.loads(line)) for line in path.read_text(encoding='utf-8').splitlines()]
    return {row.network: row for row in rows}


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    rule = '|---' * HEADER.count(' | ') + '|---|'
    return '\n'.join([HEADER, rule, *(row.line() for row in rows)]) + '\n'


def in_order(done: dict[str, Row]) -> list[Row]:
    """Rows as the zoo has them, others behind."""
    names = [source.rpartition(':')[2] for source in zoo()]
    places = {name: place for place, name in enumerate(names)}
    return sorted(done.values(), key=lambda row: places.get(row.network, len(places)))


def main() -> int:
    """Sweep; 0 when everything that runs equals the whole bit for bit, and nothing crashed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='*', default=[], help='sources; all if empty')
    parser.add_argument(
        '--jobs', type=int, default=os.cpu_count() or 1, help='networks at a time [%(default)s]'
    )
    parser.add_argument('--out', type=Path, default=Path('zoo.md'), help='table; .jsonl beside it')
    parser.add_argument('--one', default='', help='one source, its row as JSON; used by --jobs')
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(asdict(measure(arguments.one))))
        return 0
    started_s = time.monotonic()
    store = arguments.out.with_suffix('.jsonl')
    done = read_done(store)
    # Video, large pictures and the largest transformers come last in the zoo.
    sources = arguments.only or zoo()[::-1]
    short = {source: source.rpartition(':')[2] for source in sources}
    todo = [source for source, name in short.items() if name not in done and source not in done]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for future in as_completed([pool.submit(in_a_process, source) for source in todo]):
            source, row = future.result()
            row = replace(row, network=short[source])
            done[row.network] = row
            with store.open('a', encoding='utf-8') as file:
                file.write(json.dumps(asdict(row)) + '\n')
            print(row.line(), flush=True)
            arguments.out.write_text(table(in_order(done)), encoding='utf-8')
    broken = [row for row in done.values() if row.worst > 0.0]
    crashed = [row for row in done.values() if row.reason.startswith(CRASHED)]
    refused = sum(bool(row.reason) for row in done.values()) - len(crashed)
    print(
        f'{len(done)} networks, {refused} cannot be exported, {len(broken)} differ, '
        f'{len(crashed)} crashed; '
        f'{len(todo)} of them run now, in {(time.monotonic() - started_s) / 60.0:.0f} min'
    )
    return 1 if broken or crashed else 0


if __name__ == '__main__':
    sys.exit(main())
