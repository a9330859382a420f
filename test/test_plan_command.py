"""``dnn-offload plan`` on two profiles in files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from dnn_offload.cli import plan_command
from dnn_offload.simulate.made_up import made_up_profile


@pytest.fixture
def profiles(tmp_path: Path) -> list[str]:
    """Arguments that name two profiles."""
    edge, server = tmp_path / 'edge.json', tmp_path / 'server.json'
    edge.write_text(made_up_profile(cuts=6).to_json())
    server.write_text(made_up_profile(cuts=6, speed=4.0).to_json())
    return ['plan', '--edge-profile', str(edge), '--server-profile', str(server)]


def parse(arguments: list[str]) -> argparse.Namespace:
    """As the command line does."""
    parser = argparse.ArgumentParser()
    plan_command.add_parser(parser.add_subparsers())
    return parser.parse_args(arguments)


def test_table_has_every_cut_and_strategy(
    profiles: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('COLUMNS', '180')
    assert plan_command.run(parse([*profiles, '--load', '3'])) == 0
    output = capsys.readouterr().out
    for word in ('picture', 'layer5', 'all on the robot', 'neurosurgeon', 'dey2019', 'made-up:6'):
        assert word in output


def test_json_is_ranked(profiles: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_command.run(parse([*profiles, '--json', '--private-layers', '1'])) == 0
    data = json.loads(capsys.readouterr().out)
    latencies = [candidate['latency_ms'] for candidate in data['candidates']]
    assert latencies == sorted(latencies)
    assert all(candidate['cut_index'] > 0 for candidate in data['candidates'])
    assert data['strategies']['remote'] is None
    assert data['strategies']['auto']['true']['latency_ms'] == latencies[0]


@pytest.mark.parametrize(
    'change, message',
    [
        ({'edge_profile': Path('/does/not/exist')}, 'cannot be read'),
        ({'result_codec': 'gzip'}, 'size of an answer'),
        ({'server_profile': []}, 'remote'),
    ],
)
def test_what_is_wrong_is_said(
    profiles: list[str],
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    message: str,
) -> None:
    args = parse([*profiles, '--strategy', 'remote'])
    for name, value in change.items():
        setattr(args, name, value)
    assert plan_command.run(args) == 1
    assert message in capsys.readouterr().err.replace('\n', ' ')


def test_other_models_are_refused(
    profiles: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / 'other.json'
    other.write_text(made_up_profile(cuts=6, whole_ms=50.0).to_json())
    args = parse([*profiles, '--server-profile', f'odd={other}'])
    assert plan_command.run(args) == 1
    assert 'different models' in capsys.readouterr().err.replace('\n', ' ')


@pytest.mark.parametrize(
    'option', [['--load', '0'], ['--uplink-bps', 'nan'], ['--queue-ms', '-1']]
)
def test_impossible_numbers_are_refused(profiles: list[str], option: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse([*profiles, *option])
