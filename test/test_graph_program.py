"""program.json: a round trip, and what a damaged or hostile file gets."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.errors import CutError, ModelError
from dnn_offload.graph.cuts import find_cuts
from dnn_offload.graph.program import Instruction, MAX_JSON_BYTES, Program, WeightSpec
from dnn_offload.tensors import contiguous_strides, TensorSpec


def spec(name, *shape, dtype='float32'):
    return TensorSpec(name, dtype, shape, contiguous_strides(shape))


def small_program():
    """Two layers; needs no torch."""
    instructions = (
        Instruction(
            'aten._to_copy.default', ({'v': 'x'},), {'dtype': {'dtype': 'float32'}}, ('f',)
        ),
        Instruction('aten.linear.default', ({'v': 'f'}, {'w': 'w1'}, None), {}, ('a',), 'first'),
        Instruction('aten.hardtanh.default', ({'v': 'a'}, 0.0, {'float': 'inf'}), {}, ('b',)),
        Instruction('aten.linear.default', ({'v': 'b'}, {'w': 'w2'}), {}, ('y',), 'second'),
    )
    specs = {
        s.name: s for s in (spec('f', 1, 4), spec('a', 1, 2), spec('b', 1, 2), spec('y', 1, 3))
    }
    specs['x'] = spec('x', 1, 4, dtype='uint8')
    return Program(
        source='test',
        identity='0' * 32,
        inputs=(specs['x'],),
        values=tuple(specs[name] for name in 'xfaby'),
        outputs=(specs['y'],),
        instructions=instructions,
        cuts=find_cuts(instructions, specs, ['x'], ['y']),
        weights=(WeightSpec('w1', 'float32', (2, 4)), WeightSpec('w2', 'float32', (3, 2), True)),
        preprocess={'height': 2, 'width': 2, 'mode': 'stretch'},
        task='classification',
        class_names=('cat', 'dog', 'cow'),
        stamp='random weights',
        fingerprint=(0.5, -1.25, 3.0),
    )


def edited(path, value):
    """JSON of the program with one place changed; ``path`` is a list of keys."""
    data = json.loads(small_program().to_json())
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(data)


def test_round_trip_through_a_folder(tmp_path):
    program = small_program()
    program.save(tmp_path / 'new')
    assert Program.load(tmp_path / 'new') == program
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['program.json']


def test_a_cut_is_found_by_its_identity():
    program = small_program()
    assert program.cut(program.cuts[1].cut_id) is program.cuts[1]
    with pytest.raises(CutError, match='no such cut'):
        program.cut('f' * 12)


CALL = ['instructions', 1]
HOSTILE = {
    'not ATen': ([*CALL, 0], 'os.system.default'),
    'not listed': ([*CALL, 0], 'aten.from_file.default'),
    'in place': ([*CALL, 0], 'aten.relu_.default'),
    'out form': ([*CALL, 0], 'aten.add.out'),
    'dotted name': ([*CALL, 0], 'aten.relu.__class__.mro'),
    'target not text': ([*CALL, 0], 7),
    'unknown tag': ([*CALL, 1], [{'exec': 'x'}]),
    'unknown dtype': ([*CALL, 1], [{'dtype': 'load'}]),
    'attribute of torch': ([*CALL, 1], [{'memory_format': 'hub'}]),
    'another device': ([*CALL, 1], [{'device': 'cuda'}]),
    'two tags': ([*CALL, 1], [{'v': 'x', 'w': 'w1'}]),
    'name with a slash': ([*CALL, 3], ['../../a']),
    'value is a list': ([*CALL, 1], [{'v': ['x']}]),
    'reads the future': ([*CALL, 1], [{'v': 'y'}]),
    'unlisted weight': ([*CALL, 1], [{'w': 'secret'}]),
    'in_place missing': (CALL, ['aten.relu.default', [], {}, ['a'], '']),
    'defined twice': ([*CALL, 3], ['f']),
    'huge integer': ([*CALL, 1], [1 << 50]),
    'monstrous integer': ([*CALL, 1], [1 << 80]),
    'huge list': ([*CALL, 1], [[0] * 5000]),
    'deep list': ([*CALL, 1], [[[[[[[[0]]]]]]]]),
    'long text': ([*CALL, 1], ['a' * 65]),
    'instruction too short': (CALL, ['aten.relu.default']),
    'no instructions': (['instructions'], []),
    'no cuts': (['cuts'], []),
    'cut of the future': (['cuts', 1, 'position'], 1),
    'cuts out of order': (['cuts', 1, 'position'], 4),
    'cut renamed': (['cuts', 1, 'cut_id'], 'abc'),
    'wrong index': (['cuts', 1, 'index'], 5),
    'output does not exist': (['outputs', 0, 'name'], 'z'),
    'weight of no dtype': (['weights', 0, 1], 'object'),
    'weight of many dimensions': (['weights', 0, 2], [1] * 20),
    'schema of tomorrow': (['schema_version'], 99),
    'input without shape': (['values', 0, 'shape'], None),
    'no inputs': (['inputs'], 0),
    'more inputs than values': (['inputs'], 9),
    'output taken for an input': (['inputs'], 2),
    'value that nobody makes': (['values', 4, 'name'], 'z'),
    'value of another shape than at the cut': (['values', 3, 'shape'], [1, 9]),
    'unknown task': (['task'], 'poetry'),
    'fingerprint of words': (['fingerprint'], ['a']),
    'endless fingerprint': (['fingerprint'], [0.0] * 1000),
    'preprocess is a word': (['preprocess'], 'ab'),
}


@pytest.mark.parametrize('case', HOSTILE)
def test_hostile_or_damaged_programs_are_refused(case):
    with pytest.raises(ModelError):
        Program.from_json(edited(*HOSTILE[case]))


@pytest.mark.parametrize('text', ['', '{', '[]', 'null', '{"schema_version": 1}', '[' * 100_000])
def test_text_that_is_no_program_is_refused(text):
    with pytest.raises(ModelError, match='program'):
        Program.from_json(text)


def test_a_missing_or_monstrous_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match='cannot read'):
        Program.load(tmp_path)
    with (tmp_path / 'program.json').open('wb') as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(ModelError, match='too large'):
        Program.load(tmp_path)
    (tmp_path / 'program.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ModelError, match='cannot read'):
        Program.load(tmp_path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_damage_is_refused_or_harmless(data):
    text = small_program().to_json()
    start = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 12))
    patch = data.draw(st.text('{}[]":,0123456789-evwxy.', max_size=12))
    try:
        program = Program.from_json(text[:start] + patch + text[start + length :])
    except ModelError:
        return
    program.check()
    assert all(i.target.startswith('aten.') for i in program.instructions)
