"""Silence while torch works: the error that is raised afterwards says what matters."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import io
import logging
import warnings


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the pages that torch logs, warns and prints before it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)
