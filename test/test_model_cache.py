"""What is in the cache is taken if it is whole, and told and left alone if it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn

from dnn_offload.cost.profile import CutProfile, Profile
from dnn_offload.graph.program import Program, PROGRAM_FILE
from dnn_offload.graph.weights import save_weights, Weights
from dnn_offload.graph.weights_file import WEIGHTS_FILE
from dnn_offload.runtime.model_cache import (
    cached_profile,
    cached_program,
    CHECK_SUMS,
    seal,
)
from graph_models import exported
from plan_cases import profiles

Made = tuple[Program, Weights]


def program_of(
    profile: Profile, *, identity: str = '', cuts: tuple[CutProfile, ...] = ()
) -> Program:
    """What of a program tells whether a profile is of it."""
    of = SimpleNamespace(identity=identity or profile.model_identity, cuts=cuts or profile.cuts)
    return cast(Program, of)


@pytest.fixture(scope='module')
def made() -> Made:
    return exported(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 7, 1)))


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    save_weights(tmp_path, made[1])
    made[0].save(tmp_path)
    return tmp_path


def test_a_whole_program_is_taken_without_torch(made: Made, folder: Path) -> None:
    told: list[str] = []
    assert cached_program(folder, told.append) == made[0]
    assert cached_program(folder / 'none', told.append) is None and told == []
    code = (
        'import sys; from pathlib import Path; '
        'from dnn_offload.runtime.model_cache import cached_program; '
        f'assert cached_program(Path({str(folder)!r})); '
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


@pytest.mark.parametrize('name', [PROGRAM_FILE, WEIGHTS_FILE])
def test_a_bit_that_has_changed_is_seen(made: Made, folder: Path, name: str) -> None:
    seal(folder)
    told: list[str] = []
    assert cached_program(folder, told.append) == made[0] and told == []
    data = bytearray((folder / name).read_bytes())
    data[-3] ^= 1
    (folder / name).write_bytes(data)
    assert cached_program(folder, told.append) is None
    assert name in told[0] and 'check sum' in told[0]


@pytest.mark.parametrize('text', ['', '[1]', '3', 'null'])
def test_check_sums_that_cannot_be_read_are_damage(made: Made, folder: Path, text: str) -> None:
    (folder / CHECK_SUMS).write_text(text)
    told: list[str] = []
    assert cached_program(folder, told.append) is None and CHECK_SUMS in told[0]


def cut_short(data: bytes) -> bytes:
    return data[:-1]


def too_long(data: bytes) -> bytes:
    return data + b'\0'


def empty(data: bytes) -> bytes:
    return b''


def zeroes(data: bytes) -> bytes:
    return bytes(len(data))


def no_header(data: bytes) -> bytes:
    return data[:20]


@pytest.mark.parametrize('spoil', [cut_short, too_long, empty, zeroes, no_header])
def test_damaged_weights_are_told(folder: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(spoil(path.read_bytes()))
    told: list[str] = []
    assert cached_program(folder, told.append) is None
    assert len(told) == 1 and 'damaged' in told[0] and str(path) in told[0]


def test_weights_that_are_missing_or_of_another_program_are_told(
    made: Made, folder: Path
) -> None:
    told: list[str] = []
    _, weights = made
    for others in (
        {name: tensor.double() for name, tensor in weights.items()},
        {name: torch.zeros(2) for name in weights},
        dict(list(weights.items())[1:]),
    ):
        save_weights(folder, others)
        assert cached_program(folder, told.append) is None
    (folder / WEIGHTS_FILE).unlink()
    assert cached_program(folder, told.append) is None
    assert [text for text in told if str(folder / WEIGHTS_FILE) in text] == told
    assert len(told) == 4


@pytest.mark.parametrize('change', [
    '', '{"schema_version"', '[' * 100_000, '[]', ('inputs', float('inf')), ('preprocess', 3),
    ('values', [None]), ('fingerprint', [10**400]), ('cuts', [3]), ('task', 'flying'),
])
def test_a_damaged_program_is_told(folder: Path, change: str | tuple[str, object]) -> None:
    path = folder / PROGRAM_FILE
    if isinstance(change, tuple):
        path.write_text(json.dumps(json.loads(path.read_text()) | dict([change])))
    else:
        path.write_text(change)
    told: list[str] = []
    assert cached_program(folder, told.append) is None and len(told) == 1


INFINITE = (
    ('threads',), ('cuts', 0, 'depth'), ('cuts', 0, 'head_ms'), ('cuts', 0, 'frontier_bytes'),
    ('finish_ms',), ('input_bytes',),
)


@pytest.mark.parametrize('value', [float('inf'), float('nan'), 10**400, None, 'x', {}])
@pytest.mark.parametrize('place', INFINITE, ids=lambda place: '.'.join(map(str, place)))
def test_a_profile_with_an_impossible_number_is_told(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    data = json.loads(profiles()[0].to_json())
    *way, last = place
    inner = data
    for key in way:
        inner = inner[key]
    inner[last] = value
    path = tmp_path / 'profile.json'
    path.write_text(json.dumps(data))
    told: list[str] = []
    assert cached_profile(path, program_of(profiles()[0]), told.append) is None
    assert len(told) == 1 and str(path) in told[0]


@pytest.mark.parametrize('text', ['', '{}', '3', '[' * 100_000, '\xff', 'null', '1e999'])
def test_a_file_that_is_no_profile_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'profile.json'
    path.write_bytes(text.encode('latin-1'))
    told: list[str] = []
    of = program_of(profiles()[0])
    assert cached_profile(path, of, told.append) is None and len(told) == 1


def test_a_profile_that_is_missing_or_of_another_model_is_nothing_to_tell(tmp_path: Path) -> None:
    profile = replace(profiles()[0], model_identity='one')
    path, told = tmp_path / 'profile.json', list[str]()
    of = program_of(profile)
    assert cached_profile(path, of, told.append) is None
    path.write_text(profile.to_json())
    assert cached_profile(path, of, told.append) == profile
    # Other weights, and the same weights computed otherwise: a helper of the factory has changed.
    assert cached_profile(path, program_of(profile, identity='another'), told.append) is None
    assert cached_profile(path, program_of(profile, cuts=profile.cuts[1:]), told.append) is None
    assert told == []
