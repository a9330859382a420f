"""Links in README, docs and other pages lead to files and headings that are there."""

from __future__ import annotations

from pathlib import Path
import re

import pytest

from test_documented_commands import FENCE, ROOT

FOLDERS = ('benchmarks', 'deploy', 'dnn_offload', 'docs', 'examples', 'test', 'tools')
PAGES = sorted(
    [*ROOT.glob('*.md'), *(page for name in FOLDERS for page in ROOT.glob(f'{name}/**/*.md'))]
)


def name_of(page: Path) -> str:
    """Of a page, for the list of tests."""
    return str(page.relative_to(ROOT))


def prose_of(text: str) -> str:
    """A page without its code, in which brackets are no links."""
    return re.sub(r'`[^`\n]+`', '', FENCE.sub('', text))


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r'(?m)^#{1,6}\s+(.+?)\s*#*$', FENCE.sub('', text)):
        shown = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading)
        slug = re.sub(r'[^\w\- ]', '', shown.lower()).replace(' ', '-')
        number, made = 0, slug
        while made in found:  # the second heading of a name gets a number
            number += 1
            made = f'{slug}-{number}'
        found.add(made)
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


def broken_links(page: Path, text: str) -> list[str]:
    """Links of a page to files or headings that are not there."""
    prose, broken = prose_of(text), []
    targets = re.findall(r'\]\(\s*<?([^)\s>]+)', prose)
    targets += re.findall(r'(?m)^\s*\[[^\]]+\]:\s*(\S+)', prose)
    targets += re.findall(r'(?:src|href)="([^"]+)"', prose)
    for target in targets:
        name, _, anchor = target.partition('#')
        if re.match(r'[a-z][a-z0-9+.-]*:', target):
            continue
        path = page.parent / name if name else page
        if not path.exists():
            broken.append(f'{target}: no such file')
        elif anchor:
            there = text if path == page else path.read_text(encoding='utf-8')
            if anchor not in anchors(there):
                broken.append(f'{target}: no such heading')
    return broken


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding='utf-8')) == []


def test_links_that_lead_nowhere_are_found() -> None:
    page = ROOT / 'docs/ros.md'
    headings = '# A `name_x`, *twice*!\n## Two\n## Two\n'
    text = f'{headings}```\n# none\n[x](none.md)\n```\n`[x](none.md)`\n'
    assert anchors(text) == {'a-name_x-twice', 'two', 'two-1'}
    good = '[a](#two-1) [b](parameters.md#camera_node) [c](../README.md) [d](https://a.b/c#d)\n'
    assert broken_links(page, text + good) == []
    bad = ['#none', '#two-2', 'none.md', 'parameters.md#none', '../config/robot.yaml#robot']
    for target in bad:
        for link in (f'[a\nb]({target})', f'[`a`]({target} "b")', f'[a]: {target}',
                     f'<img src="{target}">', f'![a]({target})'):
            assert len(broken_links(page, text + link)) == 1, link
