"""The sweep over the zoo (``benchmarks/zoo.py``): a sample of it, and what ends it with 1."""

from __future__ import annotations

from pathlib import Path
import sys

import pytest

from benchmarks import zoo

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.mark.parametrize('name', ['picture_and_state', 'lstm'])
def test_a_network_of_the_zoo_is_cut_everywhere_and_differs_nowhere(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(zoo.__file__).parent))
    row = zoo.measure(next(source for source in zoo.zoo() if source.endswith(f':{name}')))
    assert row.reason == '' and row.worst == 0.0
    assert row.cuts >= 5


@pytest.mark.parametrize(('row', 'status'), [
    (zoo.Row('x'), 0),
    (zoo.Row('x', reason='operator aten::nonzero depends on data'), 0),
    (zoo.Row('x', reason=f'{zoo.CRASHED}exit status -9'), 1),
    (zoo.Row('x', worst=1e-7), 1),
])  # fmt: skip
def test_a_crash_and_a_difference_end_the_sweep_with_1(
    row: zoo.Row, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zoo, 'in_a_process', lambda source: (source, row))
    out = ['--jobs', '1', '--out', str(tmp_path / 'zoo.md')]
    monkeypatch.setattr(sys, 'argv', ['zoo.py', '--only', 'x', *out])
    assert zoo.main() == status
