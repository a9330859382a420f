"""One parameter of a node as plain data: default, range, unit, description. No ROS.

Each node has a module ``<node>_parameters.py`` with ``NODE`` (its name), ``SUMMARY``,
``PARAMETERS`` and, where its defaults differ, ``COMMON``. From these, ``nodes/base.py`` declares
and checks the parameters and ``nodes/document_parameters.py`` writes the reference page and the
files in ``config/``, so that the three cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
import difflib
import math
from typing import Any

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.process_settings import MAX_CORES

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]

_TYPE_NAMES = {bool: 'bool', int: 'integer', float: 'double', str: 'string'}


@dataclass(frozen=True)
class ParameterSpec:
    """One declared parameter.

    Attributes:
        name: Name, lower case with the unit at the end (``deadline_ms``).
        default: Value when nothing is set; a tuple declares an array.
        description: One or more sentences for people.
        unit: Unit of the value, e.g. ``ms``; empty for none.
        minimum, maximum: Inclusive range of a number, or of each number of an array.
        choices: Allowed values; empty = any. Of an array: allowed items.
        read_only: Only from the start-up file or the command line; never changed live.
        at_configure: Takes effect at the next ``configure``, not at once.
        item_type: Type of the items of an array, needed where ``default`` is empty.
        check: Further test; gets the converted value, returns what is wrong with it or ''.
    """

    name: str
    default: Value
    description: str
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Scalar, ...] = ()
    read_only: bool = False
    at_configure: bool = False
    item_type: type = str
    check: Callable[[Any], str] | None = None

    def __post_init__(self) -> None:
        if not self.description.strip():
            raise ConfigurationError('parameter has no description', given=self.name)
        if (self.minimum is None) != (self.maximum is None):
            raise ConfigurationError(
                f'parameter {self.name}: give both ends of the range or none',
                given=f'{self.minimum}..{self.maximum}',
            )
        if self.default == () and self.read_only:
            # rclpy cannot declare an empty array in one step (it infers a byte array).
            raise ConfigurationError(
                f'parameter {self.name}: an empty read-only array cannot be declared'
            )
        self.convert(self.default)

    @property
    def is_array(self) -> bool:
        """Whether the value is an array."""
        return isinstance(self.default, tuple)

    @property
    def scalar_type(self) -> type:
        """Type of the value, or of the items of an array."""
        if isinstance(self.default, tuple):
            return type(self.default[0]) if self.default else self.item_type
        return type(self.default)

    @property
    def type_name(self) -> str:
        """Name of the type as ROS calls it, e.g. ``double`` or ``string_array``."""
        return _TYPE_NAMES[self.scalar_type] + ('_array' if self.is_array else '')

    @property
    def applies(self) -> str:
        """When a change takes effect, for people."""
        if self.read_only:
            return 'start'
        return 'configure' if self.at_configure else 'live'

    def allowed(self) -> str:
        """The allowed values in words; empty if there is no limit but the type."""
        if self.choices:
            return ', '.join(_show(choice) for choice in self.choices)
        if self.minimum is not None and self.maximum is not None:
            unit = f' {self.unit}' if self.unit else ''
            return f'{_show(self.minimum)} .. {_show(self.maximum)}{unit}'
        return ''

    def convert(self, value: object) -> Value:
        """Check ``value`` and bring it into this parameter's Python type.

        An integer is taken where a double is expected (YAML's ``5`` for ``5.0``), empty items
        of a string array are left out (``['']`` is how some tools write an empty array), and
        None or an empty array of any type is an empty array.

        Raises:
            ConfigurationError: Wrong type, out of range or not among the choices.
        """
        converted: Value
        if self.is_array:
            if value is not None and (isinstance(value, str) or not isinstance(value, Iterable)):
                raise self._refusal(value, f'a {self.type_name}')
            items = [self._convert_scalar(item) for item in (value or ())]
            converted = tuple(item for item in items if item != '')
        else:
            converted = self._convert_scalar(value)
        problem = self.check(converted) if self.check is not None else ''
        if problem:
            raise self._refusal(value, problem)
        return converted

    def _convert_scalar(self, value: object) -> Scalar:
        expected = self.scalar_type
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not expected:
            raise self._refusal(value, f'a value of type {_TYPE_NAMES[expected]}')
        assert isinstance(value, (bool, int, float, str))
        if isinstance(value, float) and not math.isfinite(value):
            raise self._refusal(value, 'a finite number')
        empty_item = self.is_array and value == ''
        if self.choices and value not in self.choices and not empty_item:
            raise self._refusal(value, self.allowed())
        if (
            self.minimum is not None
            and self.maximum is not None
            and not (isinstance(value, (int, float)) and self.minimum <= value <= self.maximum)
        ):
            raise self._refusal(value, self.allowed())
        return value

    def _refusal(self, value: object, allowed: str) -> ConfigurationError:
        return ConfigurationError(
            f'parameter {self.name} is refused', given=repr(value), allowed=allowed
        )


def _show(value: object) -> str:
    """A value as a person writes it: no float noise, strings bare."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, float):
        return f'{value:.10g}'
    return repr(value) if value == '' else str(value)


# Declared by every node of this package.
COMMON_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        'autostart',
        True,
        'Configure and activate the node by itself after start (also after a respawn). Set to '
        'false where a lifecycle manager owns the state.',
        read_only=True,
    ),
    ParameterSpec(
        'cpu_affinity',
        (),
        'CPU cores that this process may use, of those that are there; empty = all. Keep cores '
        'free for navigation with it.',
        minimum=0,
        maximum=MAX_CORES - 1,
        item_type=int,
    ),
    ParameterSpec(
        'nice',
        0,
        'Scheduling niceness of this process: larger gives way to others. Below 0 needs '
        'privileges. A process that was started with a larger one (Nice= of systemd) keeps that.',
        minimum=-20,
        maximum=19,
    ),
    ParameterSpec(
        'oom_score_adj',
        0,
        'Added to what the kernel goes by when memory runs out (oom_score_adj): of two processes '
        'of one size the one with more is ended first, and respawned. A process that was started '
        'with more keeps that.',
        minimum=0,
        maximum=1000,
    ),
)


def common_parameters(**defaults: Value) -> tuple[ParameterSpec, ...]:
    """``COMMON_PARAMETERS`` with other defaults for one node.

    Raises:
        ConfigurationError: A default for a parameter that is not common, or out of its range.
    """
    known = by_name(COMMON_PARAMETERS)
    for name, value in defaults.items():
        if name not in known:
            raise ConfigurationError(
                'no common parameter of this name', given=name, allowed=', '.join(known)
            )
        known[name] = replace(known[name], default=known[name].convert(value))
    return tuple(known.values())


def by_name(specs: Iterable[ParameterSpec]) -> dict[str, ParameterSpec]:
    """Specifications by name.

    Raises:
        ConfigurationError: A name is declared twice.
    """
    table: dict[str, ParameterSpec] = {}
    for spec in specs:
        if spec.name in table:
            raise ConfigurationError('parameter is declared twice', given=spec.name)
        table[spec.name] = spec
    return table


# Of ROS itself, declared by rclpy.
ROS_PARAMETERS = ('use_sim_time', 'start_type_description_service')


def unknown_parameters(given: Iterable[str], known: Iterable[str]) -> str:
    """What was given at the start and is no parameter, with what was perhaps meant; '' if nothing.

    ROS passes over such names without a word, so a misspelt one looks as if it were ignored.
    """
    names = sorted(known)
    words = []
    for name in sorted(set(given) - set(names) - set(ROS_PARAMETERS)):
        near = difflib.get_close_matches(name, names, 1)
        words.append(name + (f' (is {near[0]} meant?)' if near else ''))
    if not words:
        return ''
    return f'not parameters of this node, and without effect: {", ".join(words)}'
