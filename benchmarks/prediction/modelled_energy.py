"""The data base in modelled joules: power of a board (``data/boards``) times measured time.

No machine of ours has a sensor, so nobody measured these. A board has one power while it computes,
whatever the layer: modelled joules of a layer are its time times a constant of the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dnn_offload.cost.energy import board_names, frame_energy_j, load_board, PowerModel
from dnn_offload.cost.predict.database import Database

MILLI = 1e3


def boards_of(database: Database) -> list[PowerModel]:
    """A board for each device, by turns: neighbours in the data base have different powers."""
    boards = [load_board(name) for name in board_names()]
    return [boards[row % len(boards)] for row in range(len(database.devices))]


def in_millijoules(database: Database, boards: Sequence[PowerModel]) -> Database:
    """The same layers and networks in millijoules [mJ] instead of milliseconds.

    Args:
        database: Times.
        boards: Whose power each device has, (devices,).
    """
    factor = np.array([
        MILLI * frame_energy_j(board, 1.0, 0.0, 0.0, 0.0, int(device['threads']))
        for device, board in zip(database.devices, boards, strict=True)
    ])[:, None]
    return replace(
        database,
        log_times=database.log_times + np.log(factor),
        whole_ms=database.whole_ms * factor,
        forests={},
    )
