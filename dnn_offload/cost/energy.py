"""Energy of one frame on the robot: power in each state times the time in it.

A board is in one of four states while a frame is in work::

    E = P_compute * busy + P_tx * uplink + P_rx * downlink + P_idle * wait

``busy`` is the processor's own time for the frame, ``wait`` all that is left of the latency:
the server's work, queues, and waiting for a processor that others hold. All powers are those
of the whole board in that state, so that the terms add up to what a meter at its supply would
count. The constants of known boards are in ``data/boards/``, each with its source; a board
with a sensor can be measured (``power_sensors.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
import json
import math
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from dnn_offload.errors import ConfigurationError
from dnn_offload.whole_file import write_whole

BOARDS = Path(__file__).resolve().parent.parent / 'data' / 'boards'
DEVICE_TREE_MODEL = 'proc/device-tree/model'
CACHE = Path('~/.cache/dnn_offload')
MEASURED_BOARD_FILE = 'measured_board.json'  # of this machine, in the cache
MAX_WATT = 1e4
AUTO = 'auto'
UNKNOWN_HINT = (
    'name the board (dnn-offload power lists them), or measure it where it has a sensor: '
    'dnn-offload power --measure, and give auto as the board'
)

Times = NDArray[np.float64]


@dataclass(frozen=True)
class PowerModel:
    """Power of a board in each state [W], radio and all else included.

    Attributes:
        name: Name of the board.
        compute_w: One thread computes.
        radio_tx_w, radio_rx_w: The radio sends, or receives; no computing.
        idle_w: The board waits.
        source: Where the numbers come from, for people.
        core_w: Added by each further computing thread.
        estimated: Names of the powers that nobody measured on this board.
    """

    name: str
    compute_w: float
    radio_tx_w: float
    radio_rx_w: float
    idle_w: float
    source: str
    core_w: float = 0.0
    estimated: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for item in ('compute_w', 'radio_tx_w', 'radio_rx_w', 'idle_w', 'core_w'):
            watts = getattr(self, item)
            if not math.isfinite(watts) or not 0.0 <= watts <= MAX_WATT:
                raise ConfigurationError(
                    f'{item} of board {self.name} is no power',
                    given=watts,
                    allowed=f'0..{MAX_WATT:g} W',
                )

    def busy_w(self, threads: int = 1) -> float:
        """Power while ``threads`` threads compute [W]."""
        return self.compute_w + self.core_w * max(threads - 1, 0)

    def above_idle(self) -> PowerModel:
        """The same less ``idle_w``: what a frame costs on a board that is on anyway."""
        return replace(
            self,
            name=f'{self.name}, above idle',
            compute_w=max(self.compute_w - self.idle_w, 0.0),
            radio_tx_w=max(self.radio_tx_w - self.idle_w, 0.0),
            radio_rx_w=max(self.radio_rx_w - self.idle_w, 0.0),
            idle_w=0.0,
        )


class EnergyTerms(NamedTuple):
    """Energy of a frame on the robot, state by state [J]."""

    compute_j: float
    send_j: float
    receive_j: float
    wait_j: float


def frame_energy_terms(
    power: PowerModel,
    busy_ms: float,
    uplink_ms: float,
    downlink_ms: float,
    wait_ms: float,
    threads: int = 1,
) -> EnergyTerms:
    """What ``frame_energy_j`` is the sum of; arguments as there."""
    powers_w = _powers_w(power, threads)
    times_ms = (busy_ms, uplink_ms, downlink_ms, wait_ms)
    return EnergyTerms(*(1e-3 * w * ms for w, ms in zip(powers_w, times_ms, strict=True)))


def _powers_w(power: PowerModel, threads: int) -> tuple[float, float, float, float]:
    """Power in each state, in the order of ``EnergyTerms``."""
    return power.busy_w(threads), power.radio_tx_w, power.radio_rx_w, power.idle_w


@overload
def frame_energy_j(
    power: PowerModel,
    busy_ms: float,
    uplink_ms: float,
    downlink_ms: float,
    wait_ms: float,
    threads: int = 1,
) -> float: ...


@overload
def frame_energy_j(
    power: PowerModel,
    busy_ms: Times,
    uplink_ms: Times,
    downlink_ms: Times | float,
    wait_ms: Times,
    threads: int = 1,
) -> Times: ...


def frame_energy_j(
    power: PowerModel,
    busy_ms: float | Times,
    uplink_ms: float | Times,
    downlink_ms: float | Times,
    wait_ms: float | Times,
    threads: int = 1,
) -> float | Times:
    """Energy of a frame on the robot [J]; numbers, or arrays of one shape.

    Args:
        power: The board.
        busy_ms: Processor time of head, encoding, rest and decoding of the outputs.
        uplink_ms: Time of the transfer to the server.
        downlink_ms: Time of the transfer back.
        wait_ms: All else between acquisition and result.
        threads: Threads that compute.
    """
    compute_w, send_w, receive_w, idle_w = _powers_w(power, threads)
    return 1e-3 * (
        compute_w * busy_ms + send_w * uplink_ms + receive_w * downlink_ms + idle_w * wait_ms
    )


# ---- boards ----------------------------------------------------------------------------------


def board_names() -> tuple[str, ...]:
    """Boards whose powers are known."""
    return tuple(sorted(path.stem for path in BOARDS.glob('*.json')))


def load_board(name: str) -> PowerModel:
    """The powers of a board.

    Args:
        name: One of ``board_names()``, or the path of a JSON file of the same form.

    Raises:
        ConfigurationError: No such board, or the file is damaged.
    """
    is_file = name.endswith('.json')
    path = Path(name).expanduser() if is_file else BOARDS / f'{name}.json'
    if not is_file and name not in board_names():
        raise ConfigurationError(
            'unknown board', given=name, allowed=', '.join(board_names()) + ', or FILE.json'
        )
    return _from_json(_read_json(path), path)


def find_board(device_model: str) -> PowerModel | None:
    """The board that calls itself so; None if it is none of ours."""
    for name in board_names():
        path = BOARDS / f'{name}.json'
        data = _read_json(path)
        match = data.get('device_model')
        if match and match in device_model:
            return _from_json(data, path)
    return None


def resolve_board(
    setting: str, root: str | Path = '/', cache: str | Path = CACHE
) -> PowerModel | None:
    """The powers that a user's setting means; None = not known.

    Args:
        setting: Empty for none, ``auto`` for this machine (as it was measured, else by its own
            name), the name of a board, or a file.
        root: Root of the file system, for tests.
        cache: Folder in which a measured board is kept, ``~`` allowed.

    Raises:
        ConfigurationError: No such board, or the file is damaged.
    """
    if not setting:
        return None
    if setting == AUTO:
        return find_measured_board(root, cache) or find_board(read_device_model(root))
    return load_board(setting)


def find_measured_board(
    root: str | Path = '/', cache: str | Path = CACHE
) -> PowerModel | None:
    """This machine as ``dnn-offload power --measure`` left it in the cache; None if it did not.

    A file that came with the home folder of another machine does not count.

    Raises:
        ConfigurationError: The file is damaged.
    """
    path = Path(cache, MEASURED_BOARD_FILE).expanduser()
    if not path.exists():
        return None
    data = _read_json(path)
    if data.get('device_model') != read_device_model(root):
        return None
    return _from_json(data, path)


def keep_measured_board(
    power: PowerModel, root: str | Path = '/', cache: str | Path = CACHE
) -> Path:
    """Leave a measured board where ``auto`` finds it; returns the file.

    Raises:
        OSError: It cannot be written.
    """
    path = Path(cache, MEASURED_BOARD_FILE).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, board_json(power, device_model=read_device_model(root)).encode())
    return path


def read_device_model(root: str | Path = '/') -> str:
    """What this machine calls itself; empty where it has no device tree (PCs)."""
    try:
        data = Path(root, DEVICE_TREE_MODEL).read_bytes()
    except OSError:
        return ''
    return data.rstrip(b'\0').decode('utf-8', errors='replace')


def board_json(power: PowerModel, comment: str = '', device_model: str | None = None) -> str:
    """A board as the text of a file that ``load_board`` reads; with its machine's own name."""
    data: dict[str, Any] = {item.name: getattr(power, item.name) for item in fields(power)}
    data['estimated'] = list(power.estimated)
    if comment:
        data['comment'] = comment
    if device_model is not None:
        data['device_model'] = device_model
    return json.dumps(data, indent=1) + '\n'


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            'board cannot be read', given=f'{path}: {error}', allowed='a board in JSON'
        ) from error
    if not isinstance(data, dict):
        raise ConfigurationError('board is no JSON object', given=str(path))
    return data


def _from_json(data: Mapping[str, Any], path: Path) -> PowerModel:
    try:
        return PowerModel(
            name=str(data.get('name', path.stem)),
            compute_w=float(data['compute_w']),
            radio_tx_w=float(data['radio_tx_w']),
            radio_rx_w=float(data['radio_rx_w']),
            idle_w=float(data['idle_w']),
            source=str(data.get('source', path.name)),
            core_w=float(data.get('core_w', 0.0)),
            estimated=tuple(str(item) for item in data.get('estimated', ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError('board is damaged', given=f'{path}: {error!r}') from error
