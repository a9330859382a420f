"""Whatever a check of the doctor can find has a cure in one sentence, or nothing need be done."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import re

import pytest

from dnn_offload import doctor
from dnn_offload.doctor.finding import State
from dnn_offload.doctor.registry import CHECKS
from test_documented_commands import FENCE, ROOT

SOURCES = sorted(Path(doctor.__file__).parent.glob('*.py'))
MAKERS = {'skipped', 'warning', 'failure', 'MissingError'}
# There is no such thing at the machine: nothing is amiss.
NOTHING_TO_DO = {
    'this machine has no wireless interface',
    'this machine does not tell its clock, as virtual machines do not',
    'this machine tells neither temperature nor throttling',
}


def calls(source: str, names: set[str]) -> Iterator[ast.Call]:
    """Calls of functions of these names, also of the one or the other of two."""
    tree = ast.parse(source)
    either = {  # made = failure if ... else warning
        node.targets[0].id for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.IfExp) and ast.unparse(node.value.body) in names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            named = node.func
            options = [named.body, named.orelse] if isinstance(named, ast.IfExp) else [named]
            if any(ast.unparse(one) in names | either for one in options):
                yield node


def texts(node: ast.expr) -> str:
    """What is known of a text without running anything; … stands for the rest."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return ''.join(texts(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return texts(node.left) + texts(node.right)
    if isinstance(node, ast.IfExp):
        return f'{texts(node.body)} | {texts(node.orelse)}'
    return '…'


def troubles(source: str) -> list[str]:
    """Findings of a module without a cure, or with more than a sentence of it."""
    found = []
    for call in calls(source, MAKERS):
        cure = texts(call.args[1]) if len(call.args) > 1 else ''
        sentences = [part for part in cure.split(' | ') if part]
        if not cure or '' in cure.split(' | '):
            found.append(f'no cure: {ast.unparse(call)}')
        found += [f'sentences: {one}' for one in sentences if re.search(r'[.!?](\s+[A-Z]|$)', one)]
    return found


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: path.stem)
def test_every_finding_that_is_not_ok_has_a_cure_in_one_sentence(path: Path) -> None:
    if path.stem != 'finding':  # which makes them of what it is given
        assert troubles(path.read_text(encoding='utf-8')) == []


def test_only_what_a_machine_has_not_is_left_without_a_cure() -> None:
    found = [
        texts(call.args[0]) for path in SOURCES
        for call in calls(path.read_text(encoding='utf-8'), {'left_out'})
    ]
    assert set(found) == NOTHING_TO_DO and len(found) == len(NOTHING_TO_DO)


def test_there_are_findings_to_look_at() -> None:
    found = [list(calls(path.read_text(encoding='utf-8'), MAKERS)) for path in SOURCES]
    assert sum(map(len, found)) > 70


@pytest.mark.parametrize(
    'source',
    [
        "skipped('a')", "skipped('a', '')", "raise MissingError('a')", "warning(f'{a}: b', '')",
        "(failure if a else warning)('a', '')", "made = failure if a else warning\nmade('a', '')",
        "skipped('a', 'mend it' if b else '')", "failure('a', 'Mend it. Then ask again')",
        "failure('a', f'mend {it}.')",
    ],
)
def test_a_finding_without_a_cure_is_seen(source: str) -> None:
    assert len(troubles(source)) == 1
    assert troubles("skipped('a', 'mend it: ' + b)\nfailure(a, f'see 1.5 of {b}')") == []


def shown(sample: str) -> list[tuple[str, str, str]]:
    """State and name of each check in a shown visit to the doctor, and its further rows."""
    states = '|'.join(state.value for state in State)
    return re.findall(rf'(?m)^({states}) +(\w+) +\S[^\n]*((?:\n {{20}}[^\n]*)*)', sample)


def amiss(sample: str) -> list[str]:
    """What in a shown visit to the doctor does not fit together."""
    rows = shown(sample)
    counted = re.search(r'(?m)^(\d+) ok, (\d+) skipped, (\d+) warnings?, (\d+) failures?;', sample)
    status = re.search(r'\$ echo \$\?\n(\d)', sample)
    assert counted is not None and status is not None
    made = [sum(row[0] == state.value for row in rows) for state in State]
    names = [check.name for check in CHECKS if check.name in {row[1] for row in rows}]
    found = [] if made == [int(count) for count in counted.groups()] else [f'counts: {made}']
    found += [] if names == [row[1] for row in rows] else [f'order: {names}']
    found += [] if bool(made[-1]) == bool(int(status[1])) else ['exit status']
    return found + [f'no cure: {name}' for state, name, more in rows
                    if state in ('warning', 'failure') and '→' not in more]


def test_what_the_page_shows_of_a_visit_fits_together() -> None:
    text = (ROOT / 'docs/doctor.md').read_text(encoding='utf-8')
    samples = [block for block in FENCE.findall(text) if block.startswith('$ dnn-offload doctor')]
    assert len(samples) == 2 and [amiss(sample) for sample in samples] == [[], []]
    assert [name for _, name, _ in shown(samples[0])] == [check.name for check in CHECKS]
    model = re.findall(r'ok +model +.*', samples[0])[0]
    for wrong in (
        samples[0].replace('\n0\n', '\n1\n'), samples[0].replace('14 ok', '13 ok'),
        samples[0].replace(model, model.replace('model', 'modal')),
        samples[0].replace('→ fastdds shm clean', 'oh'),
    ):
        assert len(amiss(wrong)) == 1
