"""docs/ros.md: its tables say what is declared (that they are current: test_parameters.py)."""

from __future__ import annotations

import ast
from pathlib import Path
import re
from typing import Any

import pytest

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes import document_ros
from dnn_offload.nodes.document_parameters import ROBOT_NODES, SERVER_NODES
from dnn_offload.nodes.model_parameters import check_model
from dnn_offload.nodes.topics import DIAGNOSTICS, TOPICS
from dnn_offload.transport.topics import Endpoint, Quality, Reliability, tensor_reader_depth

ROOT = Path(__file__).resolve().parents[1]
NODES = (*ROBOT_NODES, *SERVER_NODES)
ENDPOINTS = [
    endpoint for ends in TOPICS.values() for endpoint in (*ends.publishes, *ends.subscribes)
]


def page() -> str:
    by_hand = (ROOT / document_ros.PAGE).read_text(encoding='utf-8')
    return document_ros.page(by_hand, NODES, ROOT / 'msg')


def test_every_node_has_its_topics_and_every_topic_its_reason() -> None:
    assert set(TOPICS) == {node.name for node in NODES}
    for endpoint in (*ENDPOINTS, DIAGNOSTICS):
        assert endpoint.what.endswith('.') and endpoint.why.endswith('.'), endpoint.name
        assert re.fullmatch(r'\w+/msg/\w+', endpoint.type_name)
        package, _, name = endpoint.type_name.split('/')
        if package == 'dnn_offload':
            assert (ROOT / f'msg/{name}.msg').is_file()


def test_what_one_node_subscribes_to_matches_what_another_publishes() -> None:
    published = {e.name: e for ends in TOPICS.values() for e in ends.publishes}
    for ends in TOPICS.values():
        for end in ends.subscribes:
            source = published[end.name]
            assert end.type_name == source.type_name
            assert source.quality.reliability is Reliability.RELIABLE
            assert source.quality.latched or not end.quality.latched, end.name


def declared(source: Path) -> dict[str, set[str]]:
    """Launch arguments of a file by the function that declares them."""
    found: dict[str, set[str]] = {}
    for function in ast.parse(source.read_text(encoding='utf-8')).body:
        if isinstance(function, ast.FunctionDef):
            calls = [call for call in ast.walk(function) if isinstance(call, ast.Call)]
            names = {
                call.args[0].value for call in calls
                if isinstance(call.func, ast.Name) and call.func.id == 'DeclareLaunchArgument'
                and isinstance(call.args[0], ast.Constant)
            }
            for call in calls:  # launch_parts.NAME(), or NAME() within it
                name = getattr(call.func, 'attr', getattr(call.func, 'id', ''))
                names |= {f'{name}()'} if name.endswith(('_argument', '_arguments')) else set()
            found[function.name] = {str(name) for name in names}
    return found


@pytest.mark.parametrize(('column', 'file'), [(2, 'robot'), (3, 'server'), (4, 'demo')])
def test_the_table_of_launch_arguments_is_that_of_the_files(column: int, file: str) -> None:
    parts = declared(ROOT / 'dnn_offload/nodes/launch_parts.py')
    names = declared(ROOT / f'launch/{file}.launch.py')['arguments']
    while calls := {name for name in names if name.endswith('()')}:
        names = (names - calls).union(*(parts[call.removesuffix('()')] for call in calls))
    told = set()
    for row in re.findall(r'^\|.*\|$', page().split('## Lifecycle')[0], flags=re.MULTILINE):
        cells = [cell.strip() for cell in row.split('|')]
        if cells[column] and cells[1].startswith('`'):
            told |= set(re.findall(r'`(\w+)`', cells[1]))
    assert told == names


def test_tables_show_topics_overrides_parameters_and_messages() -> None:
    text = page()
    for endpoint in ENDPOINTS:
        assert f'| `{endpoint.name}` | `{endpoint.type_name}` | {endpoint.quality}' in text
    assert text.count('**can be overridden**') == sum(e.overridable for e in ENDPOINTS) > 3
    assert '`keep_last`, `1`, `best_available`' in text
    assert f'reliable, depth {tensor_reader_depth(1)} |' in text
    for path in (ROOT / 'msg').glob('*.msg'):
        assert f'### {path.stem}\n' in text
    assert '| `KIND_PROBE` = 1 |' in text


def test_a_message_is_read_with_comments_that_go_on() -> None:
    about, fields = document_ros.read_message(
        '# A thing,\n# in two lines.\n\nuint8 RED=1   # a colour\nstring<=8 name  # who\n'
        '              # and where from\n\nfloat32[] sizes\n'
    )
    assert about == 'A thing, in two lines.'
    assert [(f.type_name, f.name, f.value, f.comment) for f in fields] == [
        ('uint8', 'RED', '1', 'a colour'), ('string<=8', 'name', '', 'who and where from'),
        ('float32[]', 'sizes', '', ''),
    ]


def test_a_page_without_its_blocks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='one block topics'):
        document_ros.page('nothing here', NODES, ROOT / 'msg')


def test_quality_in_words() -> None:
    quality = Quality(5, Reliability.BEST_EFFORT, latched=True, lifespan_s=2.0)
    assert str(quality) == 'best effort, transient local, depth 5, lifespan 2 s'
    endpoint = Endpoint('<x>/y', 'std_msgs/msg/String', quality, 'What.', 'Why.')
    assert endpoint.at('/z/y').name == '/z/y' and endpoint.keeping(7).quality.depth == 7


def test_code_is_not_taken_from_the_network() -> None:
    def now(name: str) -> Any:
        return {'model': 'file:/opt/model.pt2', 'allow_code': True}[name]

    check_model({'model': 'file:/opt/model.pt2'}, now)  # no change
    check_model({'model': 'torchvision:alexnet', 'threads': 2}, now)
    check_model({'threads': 2}, now)
    for source in ('file:/tmp/other.pt2', 'python:os:system'):
        with pytest.raises(ConfigurationError, match='only when the node starts'):
            check_model({'model': source}, now)
