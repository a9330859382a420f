"""Parameters: their own checks, and that the reference page and config files are current."""

from __future__ import annotations

from pathlib import Path
import shutil

import pytest
import yaml

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes import document_parameters, document_ros
from dnn_offload.nodes.document_parameters import (
    DocumentedNode,
    files,
    MACHINES,
    ROBOT_NODES,
    SERVER_NODES,
    yaml_value,
)
from dnn_offload.nodes.parameters import (
    by_name,
    COMMON_PARAMETERS,
    ParameterSpec,
    unknown_parameters,
)

ROOT = Path(__file__).resolve().parents[1]
NODES = (*ROBOT_NODES, *SERVER_NODES)
UNIT_ENDINGS = {
    '_ms': 'ms', '_s': 's', '_hz': 'Hz', '_bps': 'bit/s', '_percent': '%',
    '_c': 'degree Celsius', '_bytes': 'byte', '_mb': 'MB', '_px': 'px',
}


def test_range_and_choices_are_named_in_the_refusal() -> None:
    rate = ParameterSpec('rate_hz', 5.0, 'Rate.', unit='Hz', minimum=0.5, maximum=50.0)
    assert rate.convert(7) == 7.0
    assert isinstance(rate.convert(7), float)
    for bad in (0.4, 51.0, float('nan'), float('inf'), 'fast', True, None):
        with pytest.raises(ConfigurationError, match='rate_hz'):
            rate.convert(bad)
    with pytest.raises(ConfigurationError, match=r'0\.5 \.\. 50 Hz'):
        rate.convert(51.0)
    mode = ParameterSpec('mode', 'a', 'Mode.', choices=('a', 'b'))
    with pytest.raises(ConfigurationError, match='allowed: a, b'):
        mode.convert('c')
    size = ParameterSpec('size', 3, 'Size.', minimum=1, maximum=9)
    for bad in (3.0, 0, 10, False, '3'):
        with pytest.raises(ConfigurationError):
            size.convert(bad)


def test_arrays() -> None:
    codecs = ParameterSpec('codecs', (), 'Codecs.', choices=('raw', 'int8'))
    assert codecs.type_name == 'string_array'
    assert codecs.convert(['raw']) == ('raw',)
    assert codecs.convert(['']) == codecs.convert([]) == codecs.convert(None) == ()
    for bad in (['zip'], 'raw', [1], 5):
        with pytest.raises(ConfigurationError):
            codecs.convert(bad)
    cores = ParameterSpec('cores', (), 'Cores.', item_type=int, minimum=0, maximum=7)
    assert cores.convert([0, 7]) == (0, 7)
    assert cores.type_name == 'integer_array'
    with pytest.raises(ConfigurationError):
        cores.convert([8])


def test_a_check_has_the_last_word() -> None:
    even = ParameterSpec(
        'even', 2, 'Even.', check=lambda value: '' if value % 2 == 0 else 'an even number'
    )
    with pytest.raises(ConfigurationError, match='an even number'):
        even.convert(3)


def test_a_misspelt_name_is_told_with_what_was_perhaps_meant() -> None:
    known = ('source', 'rate_hz', 'nice')
    assert unknown_parameters(('source', 'use_sim_time'), known) == ''
    said = unknown_parameters(('sauce', 'rate_hz', 'colour'), known)
    assert said.endswith('without effect: colour, sauce (is source meant?)')


def test_a_bad_specification_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='no description'):
        ParameterSpec('x', 1, ' ')
    with pytest.raises(ConfigurationError, match='both ends'):
        ParameterSpec('x', 1, 'X.', minimum=1)
    with pytest.raises(ConfigurationError, match='refused'):
        ParameterSpec('x', 11, 'X.', minimum=1, maximum=10)
    with pytest.raises(ConfigurationError, match='empty read-only'):
        ParameterSpec('x', (), 'X.', read_only=True)
    with pytest.raises(ConfigurationError, match='twice'):
        by_name([ParameterSpec('x', 1, 'X.'), ParameterSpec('x', 2, 'X.')])


@pytest.mark.parametrize('node', NODES, ids=lambda node: node.name)
def test_every_parameter_is_described_with_unit_and_range(node: DocumentedNode) -> None:
    assert node.summary.endswith('.')
    for spec in by_name((*COMMON_PARAMETERS, *node.parameters)).values():
        assert spec.name.islower()
        assert spec.description.rstrip().endswith('.'), spec.name
        if spec.scalar_type in (int, float) and not spec.choices:
            assert spec.minimum is not None, f'{spec.name} has no range'
        for ending, unit in UNIT_ENDINGS.items():
            if spec.name.endswith(ending):
                assert spec.unit == unit, f'{spec.name} is in {spec.unit!r}'


@pytest.mark.parametrize('name', files(ROOT))
def test_written_files_are_current(name: str) -> None:
    path = ROOT / name
    assert path.is_file(), f'{name} is missing; run {document_parameters.COMMAND}'
    assert path.read_text(encoding='utf-8') == files(ROOT)[name], (
        f'{name} is not current; run {document_parameters.COMMAND}'
    )


@pytest.mark.parametrize('machine', MACHINES)
def test_start_up_file_holds_every_default(machine: str) -> None:
    data = yaml.safe_load(document_parameters.yaml_text(machine))
    assert set(data) == {f'/**/{node.name}' for node in MACHINES[machine]}
    for node in MACHINES[machine]:
        given = data[f'/**/{node.name}']['ros__parameters']
        specs = by_name((*node.parameters, *node.common))
        assert set(given) == set(specs)
        for name, value in given.items():
            assert specs[name].convert(value) == specs[name].default
            if not specs[name].is_array:  # rcl reads the very type
                assert type(value) is specs[name].scalar_type, name


@pytest.mark.parametrize(
    ('value', 'text'),
    [(20e6, '20000000.0'), (0.5, '0.5'), (1e11, '100000000000.0'), (True, 'true'), (3, '3'),
     ('0', '"0"'), ('', '""'), ((), '[]'), (('a', 'b'), '["a", "b"]'), ((1, 2), '[1, 2]')],
)
def test_yaml_keeps_the_type(value: object, text: str) -> None:
    assert yaml_value(value) == text  # type: ignore[arg-type]
    read = yaml.safe_load(text)
    assert read == (list(value) if isinstance(value, tuple) else value)
    assert type(read) is (list if isinstance(value, tuple) else type(value))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = document_parameters.main
    assert main(['--root', str(tmp_path)]) == 2
    (tmp_path / 'package.xml').write_text('<package/>')
    shutil.copytree(ROOT / 'msg', tmp_path / 'msg')
    (tmp_path / 'docs').mkdir()
    shutil.copy(ROOT / document_ros.PAGE, tmp_path / document_ros.PAGE)
    assert main(['--root', str(tmp_path), '--check']) == 1
    assert main(['--root', str(tmp_path)]) == 0
    assert main(['--root', str(tmp_path), '--check']) == 0
    capsys.readouterr()
    assert main(['--yaml', 'server']) == 0
    assert 'remote_inference_node' in capsys.readouterr().out
