"""A self-contained HTML page about a run: pictures are inside the file, nothing is fetched."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1b1b; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem;
       border-bottom: 1px solid #ddd; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr));
       gap: 1rem; }
figure { margin: 0; } figcaption { color: #555; font-size: .9rem; }
.kept { color: #00674b; font-weight: 600; } .broken { color: #b34700; font-weight: 600; }
.scroll { overflow-x: auto; }
"""


def embed_png(path: Path) -> str:
    """A PNG file as a data URI."""
    return 'data:image/png;base64,' + base64.b64encode(path.read_bytes()).decode('ascii')


def embed_jpeg(data: bytes) -> str:
    """JPEG bytes as a data URI."""
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode('ascii')


def table(header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """An HTML table; numbers are right-aligned with one digit after the point."""
    def cell(value: str | float, tag: str = 'td') -> str:
        if isinstance(value, (int, float)):
            text = f'{value:.1f}' if isinstance(value, float) else str(value)
            return f'<{tag} class="number">{text}</{tag}>'
        return f'<{tag}>{escape(value)}</{tag}>'

    head = ''.join(cell(name, 'th') for name in header)
    body = ''.join('<tr>' + ''.join(cell(value) for value in row) + '</tr>' for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def verdict_line(kept: str, failures: Sequence[str]) -> str:
    """One paragraph: ``kept`` where nothing was broken, else what was."""
    if not failures:
        return f'<p class="kept">{escape(kept)}</p>'
    items = ''.join(f'<li>{escape(text)}</li>' for text in failures)
    return f'<p class="broken">Promises were broken:</p><ul>{items}</ul>'


def gallery(pictures: Mapping[str, bytes]) -> str:
    """JPEG pictures with their captions."""
    figures = ''.join(
        f'<figure><img src="{embed_jpeg(data)}" alt="{escape(caption)}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>'
        for caption, data in pictures.items()
    )
    return f'<div class="pictures">{figures}</div>'


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page.

    Args:
        title: Title.
        sections: Heading ('' = none) and HTML of each section, made by the functions here.
    """
    body = ''.join(
        (f'<h2>{escape(heading)}</h2>' if heading else '') + html for heading, html in sections
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style></head>'
        f'<body><h1>{escape(title)}</h1>{body}</body></html>\n'
    )
