"""Makes the checks one after another; none can stop the others, by hanging or by failing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
import threading
import time
import traceback

from dnn_offload.doctor.examination import Examination, MissingError
from dnn_offload.doctor.finding import failure, Finding, State
from dnn_offload.doctor.registry import Check

REPORT_IT = 'report this line as a bug of dnn_offload; the other checks do not depend on it'


@dataclass(frozen=True)
class Result:
    """A finding, of which check, and how long it took [s]."""

    name: str
    finding: Finding
    seconds: float


def examine(
    exam: Examination,
    checks: Sequence[Check],
    begin: Callable[[Check], None] = lambda check: None,
) -> Iterator[Result]:
    """Make the checks; yields each result when it is there.

    Args:
        exam: What is examined.
        checks: In this order.
        begin: Called before each one.
    """
    for check in checks:
        begin(check)
        began_s = time.monotonic()
        finding = _made(exam, check)
        yield Result(check.name, finding, time.monotonic() - began_s)


def _made(exam: Examination, check: Check) -> Finding:
    """Make one check in a thread, so that one that hangs can be left behind."""
    done: list[Finding] = []

    def run() -> None:
        try:
            done.append(check.run(exam))
        except MissingError as missing:
            done.append(missing.finding)
        except ImportError as error:
            done.append(failure(
                f'it cannot be made: {error}', 'see the checks packages and pictures'
            ))
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            done.append(failure(
                f'the check itself failed: {type(error).__name__}: {error} '
                f'({line.filename.rpartition("/")[2]}:{line.lineno})',
                REPORT_IT,
            ))

    limit_s = exam.settings.listen_s + exam.settings.limit_s(check.limit_s)
    thread = threading.Thread(target=run, name=f'check {check.name}', daemon=True)
    thread.start()
    thread.join(limit_s)
    if done:
        return done[0]
    exam.machine.close()  # what it waits for
    return failure(
        f'the check did not end within {limit_s:.0f} s',
        'give slow machines more time by --patience 3, or leave it out by --skip ' + check.name,
    )


def exit_status(results: Sequence[Result], strict: bool = False) -> int:
    """0 = nothing will fail, 1 = something will; ``strict``: a warning counts as well."""
    bad = {State.FAILURE, State.WARNING} if strict else {State.FAILURE}
    return int(any(result.finding.state in bad for result in results))
