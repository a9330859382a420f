"""The frame of `dnn-offload`: it names its commands, and imports only what is asked for."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace
import importlib
import io
import os
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace
import xml.etree.ElementTree as ElementTree

import pytest
from rich.console import Console

from dnn_offload.cli import main as cli
from dnn_offload.cli import profile_command, profile_tables
from dnn_offload.cli.version import own_version
from dnn_offload.cost.profile import CodecCost, CutProfile, Profile, Variant
from dnn_offload.errors import OffloadError
from dnn_offload.runtime.profile_wishes import NO, ONLY, ProfileWishes

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize('name', sorted(cli.COMMANDS))
def test_every_command_has_its_module(name: str) -> None:
    module = importlib.import_module(f'dnn_offload.cli.{name}_command')
    assert callable(module.add_parser) and callable(module.run)


def test_every_module_is_a_command() -> None:
    found = {path.stem for path in (ROOT / 'dnn_offload/cli').glob('*_command.py')}
    assert found == {f'{name}_command' for name in cli.COMMANDS}


@pytest.mark.parametrize('name', sorted(cli.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name, '--help'])
    assert stop.value.code == 0
    assert f'dnn-offload {name}' in capsys.readouterr().out


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    script = (
        'import sys\nfrom dnn_offload.cli.main import main\n'
        'try:\n    main(["--help"])\nexcept SystemExit:\n    pass\n'
        'print([name for name in ("torch", "numpy", "rclpy", "rich") if name in sys.modules])\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == '[]'
    for name, words in cli.COMMANDS.items():
        assert name in done.stdout and words in done.stdout


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(['nothing'])
    assert stop.value.code == 2
    assert 'plan' in capsys.readouterr().err


def test_the_version_is_that_of_this_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(['--version'])
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert stop.value.code == 0
    assert capsys.readouterr().out == f'dnn-offload {manifest.findtext("version")}\n'
    assert own_version(tmp_path) == 'of unknown version'
    (tmp_path / 'dnn_offload-1.2.3.dist-info').mkdir()
    note = 'Metadata-Version: 2.1\nName: dnn_offload\nVersion: 1.2.3\n'
    (tmp_path / 'dnn_offload-1.2.3.dist-info' / 'METADATA').write_text(note)
    assert own_version(tmp_path) == '1.2.3'


def stub(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Replace the chosen command by one that only raises, or returns 7."""

    class Module:
        @staticmethod
        def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
            subparsers.add_parser('plan')

        @staticmethod
        def run(arguments: argparse.Namespace) -> int:
            if error is not None:
                raise error
            return 7

    monkeypatch.setattr(cli.importlib, 'import_module', lambda name: Module)


def test_the_exit_status_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, None)
    assert cli.main(['plan']) == 7


def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(monkeypatch, OffloadError('a thing failed', hint='do that'))
    assert cli.main(['plan']) == 1
    assert capsys.readouterr().err == 'dnn-offload: a thing failed; do that\n'


@pytest.mark.parametrize('more, wish', [([], NO), (['--quick'], ONLY)])
def test_quick_asks_for_a_provisional_profile_only(
    more: list[str], wish: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[ProfileWishes] = []
    path = tmp_path / 'profile.json'
    path.write_text(made_up_profile(provisional='3 runs' if more else '').to_json())

    def measure(*given: object) -> Path:
        assert isinstance(given[-1], ProfileWishes)
        asked.append(given[-1])
        return path

    monkeypatch.setattr(profile_command, 'measure', measure)
    assert cli.main(['profile', 'demo:detector', *more]) == 0
    assert [wishes.provisional for wishes in asked] == [wish]
    assert ('provisional' in capsys.readouterr().out) == bool(more)


@pytest.mark.parametrize(('more', 'wished'), [
    ([], {'fraction': 0.3, 'agreement': False, 'frame_count': 150}),
    (['--fraction', '0.7'], {'fraction': 0.7}),
    (['--frames', 'pictures', '--frame-count', '200'],
     {'agreement': True, 'frames': Path('pictures'), 'frame_count': 200}),
])  # fmt: skip
def test_what_a_profile_shall_measure_reaches_the_measurement(
    more: list[str], wished: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / 'profile.json'
    path.write_text(made_up_profile().to_json())
    asked: list[ProfileWishes] = []

    def measure(*given: object) -> Path:
        assert isinstance(given[-1], ProfileWishes)
        asked.append(given[-1])
        return path

    monkeypatch.setattr(profile_command, 'measure', measure)
    monkeypatch.setattr(profile_command, 'cached_program', lambda folder: None)
    monkeypatch.setattr(profile_command, 'agreement_line', lambda profile, program: 'agreed')
    assert cli.main(['profile', 'demo:detector', *more]) == 0
    assert {name: getattr(asked[0], name) for name in wished} == wished
    said = capsys.readouterr().out
    unknown = 'What codecs change of the answers was not measured'
    assert ('agreed' in said) == ('--frames' in more) != (unknown in said)


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (['plan', '--edge', 'e.json', '--bandwidth', '-5M'], '-5M is no rate'),
        (['plan', '--edge', 'e.json', '--rtt', '-.5'], '-.5 is not a number of 0 or more'),
        (['simulate', '--deadline-ms', '-inf'], '-inf is not a number of 0 or more'),
        (['models', 'demo:detector', '--input-size', '-1x5'], '-1x5; allowed: HEIGHTxWIDTH'),
    ],
)
def test_negative_values_are_seen_by_their_option(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        assert cli.main(given) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize('given', ['nan', '-1', '0', '1e-9', '1e9', 'inf', 'x'])
def test_the_budget_is_checked_cached_or_not(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(['profile', 'demo:detector', f'--budget-s={given}'])
    assert f'--budget-s: {given} is not a number of 0.1 to 3600' in capsys.readouterr().err


@pytest.mark.parametrize('option', ['--threads', '--threads-list'])
def test_no_more_threads_than_cores_are_measured(
    option: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measure(*_: object) -> Path:
        raise OffloadError('measured')

    monkeypatch.setattr(profile_command, 'cores_of', lambda: frozenset({0, 1}))
    monkeypatch.setattr(profile_command, 'measure', measure)
    given = ['profile', 'demo:detector', '--cache', str(tmp_path)]
    for count, said in (('2', 'measured'), ('999', 'allowed: 1..2')):
        assert cli.main([*given, option, count]) == 1
        assert said in capsys.readouterr().err


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name='torch')

    monkeypatch.setattr(cli.importlib, 'import_module', refuse)
    assert cli.main(['plan']) == 1
    assert 'pip install torch' in capsys.readouterr().err


def made_up_profile(**changes: object) -> Profile:
    """Four cuts, one of the two inner ones interpolated."""
    codecs = {'raw': CodecCost(9000, 0.1, 0.1, 1.0), 'int8': CodecCost(2000, 0.2, 0.1)}
    cuts = (
        CutProfile('a', 0, 'picture', 0, 9000, 0.0, 10.0, 0.0, 0.2, codecs=codecs),
        CutProfile('b', 1, 'one', 1, 9000, 2.0, 8.0, 0.1, 0.1, codecs=codecs),
        CutProfile('c', 2, 'two', 2, 9000, 6.0, 4.0, 1.2, 0.4, measured=False, codecs=codecs),
        CutProfile('d', 3, 'all here', 3, 40, 10.0, 0.0, 0.2, 0.0),
    )
    made = Profile('demo:x', 'i', {'host': 'h'}, 'torch', 1, {}, 0.1, {}, 4.2, cuts)
    return replace(made, **changes)  # type: ignore[arg-type]


def shown(*things: object) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    for thing in things:
        console.print(thing)
    return console.export_text()


def test_profile_says_how_sure_it_is() -> None:
    variant = Variant('torch', 2, (0.0, 1.0, 3.0, 6.0), (6.0, 5.0, 3.0, 0.0))
    sure, threads = profile_tables.summary(made_up_profile(variants=(variant,)))
    assert '1 of 2 inner cuts measured' in sure and '± 10 %' in sure and '4.2 s' in sure
    assert threads.endswith('1: 10.00 ms, 2: 6.00 ms')
    first, *_ = profile_tables.summary(made_up_profile(provisional='3 runs'))
    assert 'provisional: 3 runs' in first and '--quick' in first
    cuts = tuple(replace(cut, measured=True) for cut in made_up_profile().cuts)
    (line,) = profile_tables.summary(made_up_profile(cuts=cuts))
    assert '2 of 2 inner cuts' in line and '±' not in line


def test_profile_shows_the_agreement_where_there_is_one() -> None:
    plain = made_up_profile()
    assert 'agree' not in shown(profile_tables.table(plain))
    codecs = {'raw': CodecCost(9000, 0.1, 0.1, 1.0), 'int8': CodecCost(2000, 0.2, 0.1, 0.9731)}
    cuts = (plain.cuts[0], replace(plain.cuts[1], codecs=codecs), *plain.cuts[2:])
    made = made_up_profile(cuts=cuts, agreement_frames=150)
    text = shown(profile_tables.table(made))
    assert '97.3%' in text and '?' in text and '150 frames' in text
    line = profile_tables.agreement_line(made, None)
    assert 'known for 4 of 6 pairs' in line and 'made up' not in line
    few = profile_tables.agreement_line(
        replace(made, agreement_frames=20, agreement_made_up=True),
        SimpleNamespace(stamp='random weights'),  # type: ignore[arg-type]
    )
    assert 'made up' in few and 'Fewer than 150' in few and 'random' in few


def test_profile_is_whole_at_80_columns() -> None:
    plain = made_up_profile(
        model='torchvision:ssdlite320_mobilenet_v3_large', device={'host': '7e2f1c33a0b1'},
        agreement_frames=150,
    )
    cuts = tuple(
        replace(cut, index=100 + cut.index, frontier_bytes=2_457_600, head_ms=1234.5,
                tail_ms=1234.5, label='backbone.features.0.12.block.2', measured=False,
                head_spread_ms=123.4, codecs={'int8_zstd': CodecCost(614_400, 12.3, 12.3, 0.97)})
        for cut in plain.cuts
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(profile_tables.table(replace(plain, cuts=cuts)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    words = ' '.join(text.split())
    for whole in ('times in ms, sizes in kB', 'the 90 % interval', '~1234.5', '97.0%',
                  'int8_zstd 614 12.3+12.3'):
        assert whole in words


@pytest.mark.parametrize('measured', [0, 5, 20, 70])
def test_a_long_table_shows_what_was_measured(measured: int) -> None:
    inner = made_up_profile().cuts[1]
    cuts = tuple(
        replace(inner, index=i, measured=1 <= i <= measured) for i in range(100)
    )
    rows = profile_tables.table(made_up_profile(cuts=cuts), everything=False)
    (indices, *_) = (list(column.cells) for column in rows.columns)
    assert indices[0] == '0' and indices[-1] == '99' and 12 <= len(indices) <= 27
    if measured <= 20:
        assert {str(i) for i in range(1, measured + 1)} <= set(indices)


def test_scenes_of_the_demo_are_drawn_once(tmp_path: Path) -> None:
    folder = profile_command.draw_scenes(tmp_path, 2, Console(file=io.StringIO()))
    pictures = sorted(folder.glob('*.png'))
    assert len(pictures) == 2
    stamps = [path.stat().st_mtime_ns for path in pictures]
    assert profile_command.draw_scenes(tmp_path, 2, Console(file=io.StringIO())) == folder
    assert [path.stat().st_mtime_ns for path in pictures] == stamps


def test_the_bench_says_what_it_needs_where_pip_has_installed_no_ros(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = importlib.import_module

    def without(name: str) -> object:
        if name.startswith('dnn_offload.bench'):
            raise ModuleNotFoundError(f'No module named {name}', name='dnn_offload.bench')
        return original(name)

    monkeypatch.setattr(cli.importlib, 'import_module', without)
    assert cli.main(['bench', 'dey_load']) == 1
    assert 'real ROS nodes' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['doctor', '--list'], ['power']])
def test_a_reader_that_has_enough_is_no_failure(arguments: list[str]) -> None:
    reads, writes = os.pipe()
    os.close(reads)  # as `| head -1` does when it has its line
    with os.fdopen(writes, 'w') as pipe:
        ended = subprocess.run(
            [sys.executable, '-m', 'dnn_offload.cli.main', *arguments], cwd=ROOT, stdout=pipe,
            stderr=subprocess.PIPE, text=True, check=False,
        )
    assert (ended.returncode, ended.stderr) == (0, '')
