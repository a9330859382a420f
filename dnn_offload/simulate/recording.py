"""A recording of load, link and server over time: what a simulation replays. Pure.

CSV with one row per moment, or JSON with the same as a list of objects under ``rows``::

    # name: navigation_load
    # cores: 2
    # note: how and when it was taken
    t_s,edge_load,loadavg
    0.0,1.02,0.35
    0.5,1.31,

``t_s`` is required and grows strictly from row to row; each row holds until the next one. A
column that is not there has one value throughout (``World``'s default); an empty field
repeats the one above it. What a column means is said once, in ``COLUMNS``.
"""

from __future__ import annotations

from bisect import bisect_right
import csv
from dataclasses import dataclass, replace
import io
import json
import math
from pathlib import Path
from typing import Any

from dnn_offload.errors import ConfigurationError
from dnn_offload.simulate.world import World

TIME = 't_s'
# Column -> (least, most, meaning).
COLUMNS: dict[str, tuple[float, float, str]] = {
    TIME: (0.0, 1e7, 'time since the beginning [s]'),
    'edge_load': (0.05, 1000.0, "the robot's true slow-down against its profile"),
    'loadavg': (0.0, 1e4, 'load average of the robot over one minute, raw [processes]'),
    'server_load': (0.05, 1000.0, "the server's true slow-down against its profile"),
    'queue_ms': (0.0, 1e6, "wait in the server's queue [ms]"),
    'uplink_bps': (1e3, 1e12, 'rate from robot to server [bit/s]'),
    'downlink_bps': (1e3, 1e12, 'rate from server to robot [bit/s]'),
    'alpha_ms': (0.0, 1e5, 'fixed cost of one transfer [ms]'),
    'server_up': (0.0, 1.0, '1 while the server lives, else 0'),
}
MAX_ROWS = 200_000
MAX_BYTES = 32 << 20
_HEADS = ('name', 'note', 'cores')


@dataclass(frozen=True)
class Recording:
    """The truth over time.

    Attributes:
        name: For people.
        times_s: When each row begins, from 0 on.
        worlds: The truth from then on.
        loadavg: Raw load average then; NaN = not recorded.
        columns: What was recorded; the rest are defaults.
        cores: Of the robot; what its load average is divided by.
        note: How it came about.
    """

    name: str
    times_s: tuple[float, ...]
    worlds: tuple[World, ...]
    loadavg: tuple[float, ...]
    columns: tuple[str, ...] = ()
    cores: int = 1
    note: str = ''

    @property
    def duration_s(self) -> float:
        """From the first row to the last, which lasts as long as the one before [s]."""
        last_s = self.times_s[-1] - self.times_s[-2] if len(self.times_s) > 1 else 1.0
        return self.times_s[-1] + last_s

    def index_at(self, now_s: float) -> int:
        """Number of the row in force; the first one before it begins."""
        return max(bisect_right(self.times_s, now_s + 1e-9) - 1, 0)

    def world_at(self, now_s: float) -> World:
        """The truth at a time."""
        return self.worlds[self.index_at(now_s)]

    def loadavg_at(self, now_s: float) -> float:
        """The raw load average at a time; NaN = not recorded."""
        return self.loadavg[self.index_at(now_s)]

    def over(self, other: Recording) -> Recording:
        """This one's columns over another's, e.g. a recorded load over a recorded link.

        Lasts as long as the shorter one; rows begin where one begins in either.
        """
        end_s = min(self.duration_s, other.duration_s)
        starts = {t for t in (*self.times_s, *other.times_s) if t < end_s}
        times_s = tuple(sorted(starts))
        mine = [c for c in self.columns if c not in (TIME, 'loadavg')]
        worlds = []
        for t in times_s:
            world = self.world_at(t)
            worlds.append(replace(other.world_at(t), **{c: getattr(world, c) for c in mine}))
        # A load average belongs to the load beside it.
        whose = self if {'edge_load', 'loadavg'} & set(self.columns) else other
        return Recording(
            f'{self.name}+{other.name}', times_s, tuple(worlds),
            tuple(whose.loadavg_at(t) for t in times_s),
            tuple(c for c in COLUMNS if c in {*self.columns, *other.columns}),
            whose.cores, '; '.join(note for note in (self.note, other.note) if note),
        )

    def to_csv(self) -> str:
        """The text of a file; ``parse`` reads it back."""
        out = io.StringIO()
        for key in _HEADS:
            value = str(getattr(self, key)).replace('\n', ' ')
            if value:
                out.write(f'# {key}: {value}\n')
        names = [c for c in COLUMNS if c == TIME or c in self.columns]
        writer = csv.writer(out, lineterminator='\n')
        writer.writerow(names)
        for t, world, average in zip(self.times_s, self.worlds, self.loadavg, strict=True):
            values = {**vars(world), TIME: t, 'loadavg': average}
            writer.writerow([_text(float(values[name])) for name in names])
        return out.getvalue()


def read(path: Path) -> Recording:
    """Read a recording from a file, ``.json`` or CSV.

    Raises:
        ConfigurationError: Not readable, or not as it must be; the message names the row.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigurationError('trace is too large', given=str(path), allowed='32 MiB')
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            'trace cannot be read', given=f'{path}: {error}', allowed='a CSV or JSON file'
        ) from error
    return parse(text, name=path.stem, is_json=path.suffix == '.json')


def parse(text: str, *, name: str = 'trace', is_json: bool = False) -> Recording:
    """A recording from the text of a file.

    Args:
        text: CSV, or JSON.
        name: Used where the text says none.
        is_json: Which of the two.

    Raises:
        ConfigurationError: What is wrong, and in which row.
    """
    heads, rows = _json_rows(text) if is_json else _csv_rows(text)
    if not 1 <= len(rows) <= MAX_ROWS:
        raise ConfigurationError(
            'trace has an impossible number of rows', given=len(rows), allowed=f'1..{MAX_ROWS}'
        )
    columns = tuple(c for c in COLUMNS if any(c in row for row in rows))
    times: list[float] = []
    worlds: list[World] = []
    averages: list[float] = []
    world, average = World(), math.nan
    for number, row in enumerate(rows, start=1):
        values = {c: _number(v, c, number) for c, v in row.items() if v is not None and v != ''}
        if TIME not in values:
            raise ConfigurationError(f'row {number} has no {TIME}', given=str(row))
        now_s = values.pop(TIME)
        if times and now_s <= times[-1]:
            raise ConfigurationError(
                f'{TIME} does not grow in row {number}', given=now_s, allowed=f'> {times[-1]:g}'
            )
        average = values.pop('loadavg', average)
        changes: dict[str, Any] = dict(values)
        if 'server_up' in changes:
            changes['server_up'] = changes['server_up'] >= 0.5
        if changes:
            world = replace(world, **changes)
        times.append(now_s)
        worlds.append(world)
        averages.append(average)
    first_s = times[0]
    cores = _cores(heads.get('cores', 1))
    return Recording(
        str(heads.get('name', name)), tuple(t - first_s for t in times), tuple(worlds),
        tuple(averages), columns, cores, str(heads.get('note', '')),
    )


def _csv_rows(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Comment lines as key: value, and the rows by column."""
    heads: dict[str, Any] = {}
    lines = []
    for row in text.splitlines():
        if row.startswith('#'):
            key, _, value = row[1:].partition(':')
            heads[key.strip()] = value.strip()
        elif row.strip():
            lines.append(row)
    table = list(csv.reader(lines))
    if not table:
        raise ConfigurationError('trace is empty', allowed='a header and rows')
    names = [name.strip() for name in table[0]]
    _check_names(names)
    rows = []
    for number, fields in enumerate(table[1:], start=1):
        if len(fields) != len(names):
            raise ConfigurationError(
                f'row {number} has another number of fields than the header',
                given=len(fields), allowed=str(len(names)),
            )
        rows.append(dict(zip(names, (field.strip() for field in fields), strict=True)))
    return heads, rows


def _json_rows(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigurationError('trace is no JSON', given=str(error)) from error
    rows = data.get('rows') if isinstance(data, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigurationError(
            'trace has no rows', given=type(data).__name__,
            allowed='an object with "rows", a list of objects',
        )
    _check_names(list(dict.fromkeys(name for row in rows for name in row)))
    return data, rows


def _check_names(names: list[str]) -> None:
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or TIME not in names or len(set(names)) < len(names):
        raise ConfigurationError(
            'trace has columns that do not fit',
            given=', '.join(names),
            allowed=f'{TIME}, and each at most once: {", ".join(list(COLUMNS)[1:])}',
        )


def _number(value: Any, column: str, row: int) -> float:
    least, most, meaning = COLUMNS[column]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number <= most:
        raise ConfigurationError(
            f'{column} in row {row} is out of range', given=value,
            allowed=f'{least:g}..{most:g}: {meaning}',
        )
    return number


def _cores(value: Any) -> int:
    try:
        cores = int(value)
    except (TypeError, ValueError):
        cores = 0
    if not 1 <= cores <= 4096:
        raise ConfigurationError('cores of a trace', given=value, allowed='1..4096')
    return cores


def _text(value: float) -> str:
    return '' if math.isnan(value) else f'{value:.6g}'
