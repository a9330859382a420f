"""What a bench leaves however it ends, and where it goes without root."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from dnn_offload.bench import main
from dnn_offload.bench.run import Bench
from dnn_offload.cli.main import main as dnn_offload
from dnn_offload.report.bench_records import Window

SCENARIO = """
title: tiny
model: demo:detector
uplink_mbps: 20
rows: [local, remote]
"""


class Terminal:
    """A terminal that may be closed."""

    def __init__(self) -> None:
        self.closed, self.text = False, ''

    def write(self, text: str) -> int:
        if self.closed:
            raise OSError(5, 'Input/output error')
        self.text += text
        return len(text)

    def flush(self) -> None:
        self.write('')

    def isatty(self) -> bool:
        return not self.closed


def play(folder: Path, monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> int:
    (folder / 'tiny.yaml').write_text(SCENARIO)
    console = Console(file=terminal, width=200)  # type: ignore[arg-type]
    monkeypatch.setattr(main, 'Console', lambda: console)
    monkeypatch.setattr(main, 'prepare_environment', lambda domain: None)
    return dnn_offload(['bench', str(folder / 'tiny.yaml'), '--out', str(folder / 'out'),
                        '--cache', str(folder / 'cache')])


def test_what_was_measured_is_written_though_the_terminal_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()

    def run(bench: Bench) -> None:
        bench.outcome.record.windows.append(Window(0, 'local', 0, 9.0, 10.0, 15.0, 30))
        terminal.closed = True
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, 'run', run)
    assert play(tmp_path, monkeypatch, terminal) != 0
    data = json.loads((tmp_path / 'out' / 'bench.json').read_text())
    assert data['notes'][-1] == 'ended early: KeyboardInterrupt'
    assert len((tmp_path / 'out' / 'rows.csv').read_text().splitlines()) == 2
    assert 'ended early' in (tmp_path / 'out' / 'report.html').read_text()


def test_without_root_it_says_why_and_goes_over_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, seen = Terminal(), []

    def run(bench: Bench) -> None:
        seen.append(bench._options.loopback)
        for name in ('local', 'remote'):
            bench.outcome.record.windows.append(Window(0, name, 0, 9.0, 10.0, 15.0, 30))

    monkeypatch.setattr(Bench, 'run', run)
    monkeypatch.setattr(main, 'why_loopback', lambda: 'only root may make network namespaces')
    assert play(tmp_path, monkeypatch, terminal) == 0
    assert seen == [True]
    assert 'over loopback: the uplink is limited by the robot itself' in terminal.text
    assert 'only root may make network namespaces' in terminal.text
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'only root may make network namespaces' in page
