"""Files are whole whenever they are seen, and nothing is left of those that were not finished."""

from __future__ import annotations

import os
from pathlib import Path
import stat
import subprocess
from typing import Any

import pytest

from dnn_offload.whole_file import OLD_S, remove_leftovers, whole_file, write_whole


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the disk, in order."""
    seen: list[str] = []
    sync, move = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        folder = stat.S_ISDIR(found.st_mode)
        seen.append('folder' if folder else f'{found.st_size} bytes')
        sync(descriptor)

    def replace(source: Any, target: Any) -> None:
        seen.append('name')
        move(source, target)

    monkeypatch.setattr(os, 'fsync', fsync)
    monkeypatch.setattr(os, 'replace', replace)
    return seen


def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_what_follows(
    tmp_path: Path, steps: list[str]
) -> None:
    write_whole(tmp_path / 'a.json', b'12345')
    assert steps == ['5 bytes', 'name', 'folder']
    assert (tmp_path / 'a.json').read_bytes() == b'12345'
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']


def test_a_file_that_is_not_finished_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    write_whole(path, b'old')
    with pytest.raises(OSError, match='no space'), whole_file(path) as file:
        file.write(b'new')
        raise OSError('no space')
    assert path.read_bytes() == b'old'
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']


def test_a_folder_that_cannot_be_synced_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError('invalid argument')
        sync(descriptor)

    monkeypatch.setattr(os, 'fsync', fsync)
    write_whole(tmp_path / 'a.json', b'new')
    assert (tmp_path / 'a.json').read_bytes() == b'new'


def test_leftovers_of_ended_processes_go_and_files_in_writing_stay(tmp_path: Path) -> None:
    ended = subprocess.Popen(['true'])
    ended.wait()
    for name in (
        f'weights.{ended.pid}.part',
        f'weights.{os.getpid()}.part',
        f'old.{os.getpid()}.part',
        'somebody.part',
        'weights.safetensors',
    ):
        (tmp_path / name).write_bytes(b'half')
    (tmp_path / f'folder.{ended.pid}.part').mkdir()  # cannot be removed: stops nobody
    past_s = (tmp_path / 'somebody.part').stat().st_mtime - OLD_S - 60.0
    os.utime(tmp_path / f'old.{os.getpid()}.part', (past_s, past_s))
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        f'weights.{os.getpid()}.part', 'somebody.part', 'weights.safetensors',
        f'folder.{ended.pid}.part',
    }
