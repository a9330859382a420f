"""Energy of a frame, and what is known of boards."""

from __future__ import annotations

import json
from pathlib import Path
import re

import numpy as np
import pytest

from dnn_offload.cli.power_command import watts
from dnn_offload.cost.energy import (
    board_json,
    board_names,
    BOARDS,
    find_board,
    frame_energy_j,
    frame_energy_terms,
    keep_measured_board,
    load_board,
    PowerModel,
    read_device_model,
    resolve_board,
)
from dnn_offload.errors import ConfigurationError

BOARD = PowerModel('b', 3.0, 2.5, 2.2, 2.0, 'test', core_w=0.5)


def test_energy_by_hand() -> None:
    # 3 W * 100 ms + 2.5 W * 40 ms + 2.2 W * 10 ms + 2 W * 50 ms
    assert frame_energy_j(BOARD, 100.0, 40.0, 10.0, 50.0) == pytest.approx(0.522)
    assert frame_energy_j(BOARD, 100.0, 0.0, 0.0, 0.0, threads=3) == pytest.approx(0.4)


def test_the_terms_of_the_energy_by_hand() -> None:
    terms = frame_energy_terms(BOARD, 100.0, 40.0, 10.0, 50.0, threads=3)
    assert terms == pytest.approx((0.4, 0.1, 0.022, 0.1))
    assert sum(terms) == pytest.approx(frame_energy_j(BOARD, 100.0, 40.0, 10.0, 50.0, threads=3))


def test_arrays_give_the_same_as_numbers() -> None:
    busy, up, wait = np.array([1.0, 20.0]), np.array([3.0, 0.0]), np.array([0.0, 7.0])
    energies = frame_energy_j(BOARD, busy, up, 2.0, wait)
    for at in range(2):
        one = frame_energy_j(BOARD, float(busy[at]), float(up[at]), 2.0, float(wait[at]))
        assert energies[at] == one


def test_above_idle_waiting_costs_nothing() -> None:
    above = BOARD.above_idle()
    assert frame_energy_j(above, 0.0, 0.0, 0.0, 1000.0) == 0.0
    assert frame_energy_j(above, 100.0, 40.0, 10.0, 50.0) == pytest.approx(0.122)
    assert above.busy_w(2) == pytest.approx(1.5)


@pytest.mark.parametrize('name', board_names())
def test_boards_are_plausible_and_say_their_sources(name: str) -> None:
    power = load_board(name)
    assert power.name == name
    assert 0.5 < power.idle_w < power.radio_rx_w < power.radio_tx_w < 15.0
    assert power.idle_w < power.compute_w < 15.0
    data = json.loads((BOARDS / f'{name}.json').read_text(encoding='utf-8'))
    powers = {'idle_w', 'compute_w', 'core_w', 'radio_tx_w', 'radio_rx_w'}
    assert set(data['sources']) == powers
    assert all(len(text) > 5 for text in data['sources'].values())
    assert set(power.estimated) <= powers


def test_the_documented_powers_are_those_that_are_printed() -> None:
    text = (Path(__file__).parents[1] / 'docs/planning.md').read_text(encoding='utf-8')
    rows = re.findall(
        r'^\| ((?:Raspberry|Jetson)[^|]*) \| ([\d.]+) W \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| '
        r'([\d.]+) \|', text, re.MULTILINE,
    )
    documented = {title: [float(power) for power in powers] for title, *powers in rows}
    boards = [load_board(name) for name in board_names()]
    assert sorted(documented.values()) == sorted(
        [
            float(watts(power))
            for power in (b.idle_w, b.compute_w, b.core_w, b.radio_tx_w, b.radio_rx_w)
        ]
        for b in boards
    )


def test_known_boards() -> None:
    assert {'raspberry_pi_3b', 'raspberry_pi_4b', 'raspberry_pi_5', 'jetson_nano'} <= set(
        board_names()
    )


@pytest.mark.parametrize(
    ('model', 'board'),
    [
        ('Raspberry Pi 3 Model B Rev 1.2', 'raspberry_pi_3b'),
        ('Raspberry Pi 3 Model B Plus Rev 1.3', None),  # another chip, another power
        ('Raspberry Pi 4 Model B Rev 1.4', 'raspberry_pi_4b'),
        ('Raspberry Pi 5 Model B Rev 1.0', 'raspberry_pi_5'),
        ('NVIDIA Jetson Nano Developer Kit', 'jetson_nano'),
        ('', None),
    ],
)
def test_a_machine_is_known_by_its_own_name(
    tmp_path: Path, model: str, board: str | None
) -> None:
    if model:
        (tmp_path / 'proc/device-tree').mkdir(parents=True)
        (tmp_path / 'proc/device-tree/model').write_bytes(model.encode() + b'\0')
    assert read_device_model(tmp_path) == model
    found = find_board(model)
    assert (found.name if found else None) == board
    assert resolve_board('auto', tmp_path, tmp_path) == found


def test_a_measured_machine_goes_before_its_name(tmp_path: Path) -> None:
    tree = tmp_path / 'proc/device-tree'
    tree.mkdir(parents=True)
    (tree / 'model').write_bytes(b'Raspberry Pi 5 Model B Rev 1.0\0')
    cache = tmp_path / 'cache'
    assert resolve_board('auto', tmp_path, cache) == load_board('raspberry_pi_5')
    path = keep_measured_board(BOARD, tmp_path, cache)
    assert [item.name for item in cache.iterdir()] == [path.name]  # nothing half-written
    assert resolve_board('auto', tmp_path, cache) == BOARD
    assert resolve_board('raspberry_pi_5', tmp_path, cache) == load_board('raspberry_pi_5')
    # The card was put into another machine.
    (tree / 'model').write_bytes(b'Raspberry Pi 4 Model B Rev 1.4\0')
    assert resolve_board('auto', tmp_path, cache) == load_board('raspberry_pi_4b')
    path.write_text('{')
    with pytest.raises(ConfigurationError, match=path.name):
        resolve_board('auto', tmp_path, cache)


def test_no_setting_no_power() -> None:
    assert resolve_board('') is None
    assert resolve_board('raspberry_pi_5') == load_board('raspberry_pi_5')


def test_a_board_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / 'mine.json'
    path.write_text(board_json(BOARD, 'a comment'), encoding='utf-8')
    assert load_board(str(path)) == BOARD


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'cannot be read'),
        ('[]', 'no JSON object'),
        ('{"idle_w": 1}', 'damaged'),
        ('{"idle_w": 1, "compute_w": -1, "radio_tx_w": 1, "radio_rx_w": 1}', 'no power'),
        ('{"idle_w": 1, "compute_w": "x", "radio_tx_w": 1, "radio_rx_w": 1}', 'damaged'),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'bad.json'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(ConfigurationError, match=message):
        load_board(str(path))


def test_an_unknown_board_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigurationError, match='raspberry_pi_4b'):
        load_board('../boards/raspberry')
    with pytest.raises(ConfigurationError, match='cannot be read'):
        load_board('/does/not/exist.json')
