"""Commands, paths and links in README and docs name what there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
import shlex

import pytest
import yaml

from dnn_offload.cli.main import build_parser, COMMANDS
from dnn_offload.nodes.document_parameters import ROBOT_NODES, SERVER_NODES
from dnn_offload.nodes.parameters import by_name
from test_deploy import check_launch

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted(ROOT.glob('docs/*.md'))]
NODES = {node.name: by_name((*node.common, *node.parameters))
         for node in (*ROBOT_NODES, *SERVER_NODES)}
# Nodes that are no part of the robot or server files, with parameters of their own.
OTHERS = {'navigation_node'}
SHELL = {'|', '||', '&&', ';', '&', '>', '>>', '<', '2>', '2>&1'}
FENCE = re.compile(r'(?ms)^ *```\w*\n(.*?)^ *```')


def inline_code(text: str) -> list[str]:
    """Code between the words of a page; a line break in it is a space."""
    paragraphs = re.split(r'\n\s*\n', FENCE.sub('', text))
    return [
        ' '.join(code.split()) for part in paragraphs for code in re.findall(r'`([^`]+)`', part)
    ]


def code_of(text: str) -> list[str]:
    """Code of a page, by line; lines that end in a backslash are joined."""
    blocks = [block.replace('\\\n', ' ') for block in FENCE.findall(text)]
    return [line for block in blocks for line in block.splitlines()] + inline_code(text)


def commands(page: Path) -> list[str]:
    """Code of a page."""
    return code_of(page.read_text(encoding='utf-8'))


def words_of(line: str) -> list[str]:
    """Words of a command line, without its comment; nothing if it is prose."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_launches_and_executables_are_there(page: Path) -> None:
    cmake = (ROOT / 'CMakeLists.txt').read_text(encoding='utf-8')
    for line in commands(page):
        words = words_of(line)
        for place in range(len(words) - 2):
            what = words[place:place + 3]
            if what[:2] == ['ros2', 'launch'] and what[2] == 'dnn_offload':
                rest = words[place:]
                if len(rest) > 3 and rest[3].endswith('.launch.py'):
                    check_launch(rest)
            elif what[:2] == ['ros2', 'run'] and what[2] == 'dnn_offload':
                name = words[place + 3] if len(words) > place + 3 else '…'
                assert name == '…' or re.search(rf'[\s(]{re.escape(name)}[\s)]', cmake), line


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_parameters_that_are_set_exist_and_take_the_value(page: Path) -> None:
    for line in commands(page):
        words = words_of(line)
        if words[:3] == ['ros2', 'param', 'set'] and len(words) >= 6:
            node = words[3].rsplit('/', 1)[-1]
            if node not in OTHERS:
                assert words[4] in NODES[node], line
                NODES[node][words[4]].convert(yaml.safe_load(words[5]))


def test_troubleshooting_tells_which_parameters_hold_when() -> None:
    text = (ROOT / 'docs/troubleshooting.md').read_text(encoding='utf-8')
    specs = [spec for declared in NODES.values() for spec in declared.values()]
    start = re.search(r'count at the start only \((.*?)\)', text, re.DOTALL)
    assert start is not None
    assert set(re.findall(r'`(\w+)`', start[1])) == {s.name for s in specs if s.read_only}
    later = re.search(r'`ros2 param set … model` \((.*?)\) is `successful`', text, re.DOTALL)
    assert later is not None
    named = set(re.findall(r'`(\w+)`', later[1]))
    assert named and named <= {s.name for s in specs if s.at_configure}


def own_commands(page: Path) -> Iterator[list[str]]:
    """Words of each ``dnn-offload`` of a page, subcommand first, up to a pipe or the like."""
    text = page.read_text(encoding='utf-8')
    typed = []
    for block in FENCE.findall(text):
        lines = block.replace('\\\n', ' ').splitlines()
        prompted = [line[2:] for line in lines if line.startswith('$ ')]
        typed += prompted or lines  # beside prompts, all else is what came out
    # In prose a subcommand alone is its name, not what to type.
    typed += [words for words in inline_code(text) if len(words.split()) > 2]
    for line in typed:
        words = words_of(line)
        while words and (words[0] == 'sudo' or re.fullmatch(r'[A-Z_]+=.*', words[0])):
            del words[0]
        if words[:3] == ['ros2', 'run', 'dnn_offload']:
            del words[:3]
        if words[:1] == ['dnn-offload'] and len(words) > 1:
            end = next((n for n, word in enumerate(words) if word in SHELL), len(words))
            yield words[1:end]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_lines_of_our_command_are_taken_by_its_parser(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in own_commands(page):
        assert words and words[0] in COMMANDS, words
        parser, _ = build_parser(words[0])
        try:
            parser.parse_args(words)
        except SystemExit as end:
            assert end.code == 0, f'{words}: {capsys.readouterr().err}'


def test_some_page_shows_how_to_call_each_subcommand() -> None:
    assert {words[0] for page in PAGES for words in own_commands(page)} == set(COMMANDS)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_targets_of_make_exist(page: Path) -> None:
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    targets = set(re.findall(r'(?m)^([a-z-]+):', makefile))
    for line in commands(page):
        words = words_of(line)
        if words[:1] == ['make'] and len(words) > 1:
            assert set(words[1:2]) <= targets or '=' in words[1], line


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_paths_lead_somewhere(page: Path) -> None:
    folders = 'config|deploy|docs|examples|launch|msg|test|benchmarks|tools'
    for line in commands(page):
        for path in re.findall(rf'(?<![\w/.])(?:{folders})/[\w./-]+', line):
            assert (ROOT / path.rstrip('.')).exists(), f'{path} in: {line}'


def test_tests_that_are_named_are_there() -> None:
    text = '\n'.join(path.read_text(encoding='utf-8') for path in ROOT.glob('test/**/test_*.py'))
    known = set(re.findall(r'(?m)^def (test_\w+)', text))
    named = {name for page in PAGES for name in commands(page) if re.fullmatch(r'test_\w+', name)}
    assert named and named <= known
