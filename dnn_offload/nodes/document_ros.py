"""Fills the tables of docs/ros.md from the topics, parameters and messages as declared. No ROS.

The page is written by hand but for its blocks ``<!-- NAME -->`` to ``<!-- end NAME -->``;
``document_parameters`` calls this and writes the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Protocol

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.parameters import COMMON_PARAMETERS, ParameterSpec
from dnn_offload.nodes.topics import DIAGNOSTICS, TOPICS
from dnn_offload.transport.topics import Endpoint, Reliability

PAGE = 'docs/ros.md'
_BLOCK = r'<!-- {0} -->\n.*?<!-- end {0} -->'
_POLICIES = ('history', 'depth', 'reliability')


class _Node(Protocol):
    """What is read of ``document_parameters.DocumentedNode``."""

    @property
    def name(self) -> str:
        """Name of the node."""

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """Its own parameters."""


@dataclass(frozen=True)
class Field:
    """A line of a message: a field, or a constant (with ``value``)."""

    type_name: str
    name: str
    value: str
    comment: str


def page(text: str, nodes: Sequence[_Node], messages: Path) -> str:
    """The page with its blocks filled in.

    Args:
        text: The page as it is.
        nodes: The nodes and their parameters.
        messages: Folder of the ``.msg`` files.

    Raises:
        ConfigurationError: A block is missing.
    """
    blocks = {
        'topics': _topics(nodes),
        'overrides': _overrides(),
        'parameters': _parameters(nodes),
        'messages': _messages(messages),
    }
    for name, lines in blocks.items():
        filled = '\n'.join([f'<!-- {name} -->', *lines, f'<!-- end {name} -->'])
        found = re.findall(_BLOCK.format(name), text, flags=re.DOTALL)
        if len(found) != 1:
            raise ConfigurationError(
                f'{PAGE} must have one block {name}', given=str(len(found)),
                allowed=f'<!-- {name} --> ... <!-- end {name} -->',
            )
        text = text.replace(found[0], filled)
    return text


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'

    return [line(titles), '|' + '---|' * len(titles), *map(line, rows)]


def _text(comment: str) -> str:
    """A comment as Markdown shows it."""
    return re.sub(r'([<*])', r'\\\1', comment)


def _topics(nodes: Sequence[_Node]) -> list[str]:
    titles = ('topic', 'type', 'QoS', 'what', 'why this QoS')
    lines = ['', '**All nodes** publish', '', *_table(titles, [_row(DIAGNOSTICS)]), '']
    for node in nodes:
        ends = TOPICS[node.name]
        for verb, endpoints in (('publishes', ends.publishes), ('subscribes to', ends.subscribes)):
            if endpoints:
                rows = [_row(endpoint) for endpoint in endpoints]
                lines += [f'`{node.name}` {verb}', '', *_table(titles, rows), '']
    return lines


def _row(endpoint: Endpoint) -> tuple[str, ...]:
    quality = str(endpoint.quality) + ('; **can be overridden**' if endpoint.overridable else '')
    return (
        f'`{endpoint.name}`', f'`{endpoint.type_name}`', quality, endpoint.what, endpoint.why
    )


def _overrides() -> list[str]:
    rows = []
    for name, ends in TOPICS.items():
        for end, endpoints in (
            ('publisher', ends.publishes), ('subscription', ends.subscribes)
        ):
            rows += [
                (f'`{name}`', f'`qos_overrides.<topic>.{end}.{{{",".join(_POLICIES)}}}`',
                 f'`{endpoint.name}`', _defaults(endpoint))
                for endpoint in endpoints if endpoint.overridable
            ]
    return ['', *_table(('node', 'parameters', 'topic', 'defaults'), rows), '']


def _defaults(endpoint: Endpoint) -> str:
    reliability = endpoint.quality.reliability
    adopts = reliability is Reliability.AS_PUBLISHED
    word = 'best_available' if adopts else reliability.value.replace(' ', '_')
    return f'`keep_last`, `{endpoint.quality.depth}`, `{word}`'


def _parameters(nodes: Sequence[_Node]) -> list[str]:
    rows = []
    for node in nodes:
        cells = [f'[{node.name}](parameters.md#{node.name})']
        for when in ('live', 'configure', 'start'):
            names = [f'`{spec.name}`' for spec in node.parameters if spec.applies == when]
            cells.append(', '.join(names))
        rows.append(cells)
    common = [
        ', '.join(f'`{spec.name}`' for spec in COMMON_PARAMETERS if spec.applies == when)
        for when in ('live', 'configure', 'start')
    ]
    rows.append(['[all](parameters.md#all-nodes)', *common])
    return ['', *_table(('node', 'live', 'at the next configure', 'at start only'), rows), '']


def _messages(folder: Path) -> list[str]:
    lines = ['']
    for path in sorted(folder.glob('*.msg')):
        about, fields = read_message(path.read_text(encoding='utf-8'))
        values = [field for field in fields if not field.value]
        constants = [field for field in fields if field.value]
        lines += [f'### {path.stem}', '', _text(about), '']
        lines += _table(
            ('field', 'type', 'meaning'),
            [
                (f'`{field.name}`', f'`{field.type_name}`', _text(field.comment))
                for field in values
            ],
        )
        if constants:
            rows = [
                (f'`{field.name}` = {field.value}', _text(field.comment)) for field in constants
            ]
            lines += ['', *_table(('constant', 'meaning'), rows)]
        lines.append('')
    return lines


def read_message(text: str) -> tuple[str, list[Field]]:
    """What a ``.msg`` file says: its first comment, and its fields and constants in order."""
    about: list[str] = []
    fields: list[Field] = []
    for line in text.splitlines():
        declaration, _, comment = line.partition('#')
        comment = comment.strip()
        words = declaration.split(maxsplit=1)
        if not words:
            if not fields:
                about.append(comment)
            elif comment:  # goes on with what the line before says
                last = fields.pop()
                fields.append(
                    Field(last.type_name, last.name, last.value, f'{last.comment} {comment}')
                )
            continue
        name, _, value = words[1].partition('=')
        fields.append(Field(words[0], name.strip(), value.strip(), comment))
    return ' '.join(about).strip(), fields
