"""Segments that killed processes leave."""

from __future__ import annotations

import fcntl
from pathlib import Path

from dnn_offload.testbed.shared_memory import swept_segments


def segment(folder: Path, digit: str) -> Path:
    """As Fast DDS makes one."""
    path = folder / f'fastrtps_{16 * digit}'
    path.with_name(f'{path.name}_el').touch()
    path.write_bytes(b'x')
    return path


def test_only_what_nobody_holds_and_what_is_new_goes(tmp_path: Path) -> None:
    old = segment(tmp_path, '0')
    others = [tmp_path / 'fastrtps_port7001', tmp_path / 'sem.other']
    with (tmp_path / f'fastrtps_{16 * "a"}_el').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with swept_segments(tmp_path):
                alive, dead = segment(tmp_path, 'a'), segment(tmp_path, 'b')
                for other in others:
                    other.touch()
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        assert old.exists() and alive.exists() and all(other.exists() for other in others)
        assert not dead.exists() and not dead.with_name(f'{dead.name}_el').exists()
        assert alive.with_name(f'{alive.name}_el').exists()


def test_a_segment_without_its_lock_is_not_touched(tmp_path: Path) -> None:
    with swept_segments(tmp_path):
        path = segment(tmp_path, 'c')
        path.with_name(f'{path.name}_el').unlink()
    assert path.exists()


def test_without_shared_memory_there_is_nothing_to_do(tmp_path: Path) -> None:
    with swept_segments(tmp_path / 'none'):
        pass
