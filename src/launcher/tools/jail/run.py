"""Run code as a notebook runs a cell: the last expression's value is printed, tracebacks show the code alone."""

from __future__ import annotations

import ast
import contextlib
import linecache
import signal
import sys
import traceback
from collections.abc import Iterator
from types import CodeType, FrameType, ModuleType

from launcher.tools.jail.job import FAILED, TIMED_OUT, USER_FILE

assert sys.platform != "win32"  # noqa: S101  # type checkers skip what follows there: nothing on Windows imports this


class TimeLimit(BaseException):
    """The time limit; no Exception, since code that catches everything shall not catch it."""


def run(code: str, *, work: str, timeout_s: float) -> int:
    """Run it to its end and print what a notebook would. Gives the exit status."""
    linecache.cache[USER_FILE] = (len(code), None, code.splitlines(keepends=True), USER_FILE)
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        body, last = _parse(code)
        signal.signal(signal.SIGALRM, _on_alarm)
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        exec(body, module.__dict__)  # noqa: S102  # what this process is for
        if last is not None:
            _show(eval(last, module.__dict__))  # noqa: S307
    except SystemExit as error:
        return _status(error)
    except TimeLimit as error:
        _print_traceback(error, work)
        return TIMED_OUT
    except BaseException as error:  # noqa: BLE001  # all of it is the code's, and told as such
        _print_traceback(error, work)
        return FAILED
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def _parse(code: str) -> tuple[CodeType, CodeType | None]:
    """The code without its last expression, and that expression where there is one to be shown."""
    tree = ast.parse(code, USER_FILE)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr) or code.rstrip().endswith(";"):
        return compile(tree, USER_FILE, "exec", dont_inherit=True), None
    tree.body.pop()
    expression = ast.Expression(last.value)
    return (
        compile(tree, USER_FILE, "exec", dont_inherit=True),
        compile(expression, USER_FILE, "eval", dont_inherit=True),
    )


def _show(value: object) -> None:
    if value is not None:
        print(repr(value))  # noqa: T201


def _on_alarm(_signal: int, _frame: FrameType | None) -> None:
    raise TimeLimit("the time limit was reached here")


def _status(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)  # noqa: T201
    return FAILED


def _print_traceback(error: BaseException, work: str) -> None:
    """What went wrong, without the frames of this module and of libraries."""
    with contextlib.suppress(MemoryError):
        found = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        for part in _chain(found, set()):
            part.stack[:] = [frame for frame in part.stack if _is_users(frame.filename, work)]
        text = "".join(found.format())
        print(text.replace(f"{__name__}.", ""), file=sys.stderr, end="")  # noqa: T201
        return
    print(type(error).__name__, file=sys.stderr)  # noqa: T201


def _chain(found: traceback.TracebackException, seen: set[int]) -> Iterator[traceback.TracebackException]:
    if id(found) in seen:
        return
    seen.add(id(found))
    yield found
    for other in (found.__cause__, found.__context__, *(found.exceptions or ())):
        if other is not None:
            yield from _chain(other, seen)


def _is_users(file: str, work: str) -> bool:
    return file == USER_FILE or file.startswith(work + "/")
