"""What all commands share: how they complain, what they write, how wide they are."""

from __future__ import annotations

import pytest

from dnn_offload.cli import main as cli


@pytest.mark.parametrize(
    'given', [['plan', '--edge', '/no/such.json'], ['simulate', 'no_such_trace'], ['bench', 'no']]
)
def test_all_commands_complain_in_one_form(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(given) == 1
    said = capsys.readouterr().err
    assert said.startswith('dnn-offload: ') and said.count('\n') == 1
