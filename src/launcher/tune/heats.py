"""The races: options of one axis beside what leads, round by round, or in blocks where each needs a load."""

from __future__ import annotations

from launcher.bench.probe import Timing
from launcher.bench.stats import median
from launcher.planner.types import LoadParams
from launcher.tune.board import Board, Entrant, Won
from launcher.tune.changes import spelt, with_changes
from launcher.tune.pairs import CrashError, affordable
from launcher.tune.race import best, settled
from launcher.tune.types import Axis

_ROUNDS = 4
"""Of a race: by then a standard error is half of one ratio's spread."""
_SCREENED = 2
"""Pairs of a setting for which the model is loaded again, before it is confirmed or dropped; of an offered one too."""


def race(board: Board, axis: Axis) -> None:
    """Find the option that is worth a confirmation, if there is one: every round drops what is surely no faster."""
    base = with_changes(board.plan, board.lead)
    alive = board.entrants(axis)
    job = board.job([axis])
    noise, pairs, reserve = board.noise[job.touches], board.pairs, board.reserve_s(axis)
    room = max(0, affordable(pairs.left_s - reserve, pairs.cost_s(job.test)) - 1)
    for late in alive[room:]:
        board.record(axis, late, "unfinished", "the budget had no room for it")
    del alive[room:]
    for n_round in range(_ROUNDS):
        cost = (1 + len(alive)) * pairs.cost_s(job.test)
        if not alive or (n_round and pairs.left_s - reserve < cost):
            break
        _round(board, axis, base, alive, n_round)
        for entrant in [entrant for entrant in alive if entrant.runner.lost(noise)]:
            alive.remove(entrant)
            board.record(axis, entrant, "slower" if entrant.runner.mean < 0 else "no gain", "dropped early")
        if settled([entrant.runner for entrant in alive], noise):
            break
    _crown(board, axis, alive)


def _round(board: Board, axis: Axis, base: LoadParams, alive: list[Entrant], n_round: int) -> None:
    """What leads and every option once, each round another one first; who crashes leaves."""
    pairs, job = board.pairs, board.job([axis])
    order: list[Entrant | None] = [None, *alive]
    turn = n_round % len(order)
    timings = {}
    for entrant in order[turn:] + order[:turn]:
        if entrant is None:
            what = f"{axis.name}: {spelt(board.lead) or 'the plan'}"
            of_base = pairs.measure(base, job.test, what, is_base=True)
            continue
        try:
            timings[id(entrant)] = pairs.measure(entrant.params, job.test, f"{axis.name}: {entrant.option.label}")
        except CrashError as crash:
            alive.remove(entrant)
            board.record(axis, entrant, "crashed", crash.error.message)
    for entrant in alive:
        pairs.add(entrant.logs, of_base, timings[id(entrant)], job.touches)
        entrant.runner.add(entrant.logs.turn[-1], board.noise[job.touches])


def screen(board: Board, axis: Axis) -> None:
    """Options for which the model is loaded again: each once or twice, after what is adopted.

    Nothing goes back in between, which a load would cost: what leads here is confirmed in blocks anyway.
    """
    job = board.job([axis])
    pairs, noise, found = board.pairs, board.noise[job.touches], []
    bases: list[Timing] = []
    for entrant in board.entrants(axis):
        loads = pairs.load_s + (0.0 if bases else pairs.load_cost_s(board.base))
        if loads + (1 if bases else 2) * _SCREENED * pairs.cost_s(job.test) > pairs.left_s:
            board.record(axis, entrant, "unfinished", "the budget had no room for a load")
            continue
        bases = bases or [
            pairs.measure(board.base, job.test, f"{axis.name}: the plan", is_base=True) for _ in range(_SCREENED)
        ]
        try:
            for base in bases:
                timing = pairs.measure(entrant.params, job.test, f"{axis.name}: {entrant.option.label}")
                pairs.add(entrant.logs, base, timing, job.touches)
                entrant.runner.add(entrant.logs.turn[-1], noise)
                if entrant.runner.lost(noise):
                    break
        except CrashError as crash:
            board.record(axis, entrant, "crashed", crash.error.message)
        else:
            found.append(entrant)
    _crown(board, axis, found)


def offer(board: Board, axis: Axis) -> None:
    """Options that a person is told of and that are never taken."""
    job = board.job([axis])
    pairs = board.pairs
    for entrant in board.entrants(axis):
        cost = pairs.load_cost_s(board.base) + _SCREENED * pairs.pair_s(board.base, entrant.params, job.test)
        if cost > pairs.left_s:
            board.record(axis, entrant, "unfinished", "the budget had no room for it")
            continue
        what = f"{axis.name}: {entrant.option.label}"
        try:
            pairs.compare(board.base, entrant.params, job, _SCREENED, logs=entrant.logs, what=what)
        except CrashError as crash:
            board.record(axis, entrant, "crashed", crash.error.message)
        else:
            pace = ", slower here" if entrant.logs.turn and median(entrant.logs.turn) < 0 else ""
            why = f"half the cache{pace}, slightly other answers: for you to choose"
            board.record(axis, entrant, "offered", why)


def _crown(board: Board, axis: Axis, left: list[Entrant]) -> None:
    """Note who leads, and why the others do not."""
    noise = board.noise[axis.touches]
    winner = best([entrant.runner for entrant in left], noise)
    for entrant in left:
        if entrant.runner is winner:
            board.won.append(Won(option=entrant.option, axis=axis))
            board.record(axis, entrant, "kept", "led its race")
        elif entrant.runner.lost(noise):
            slower = entrant.runner.mean < 0
            board.record(
                axis, entrant, "slower" if slower else "no gain", "behind" if slower else "no gain to speak of"
            )
        else:
            board.record(axis, entrant, "no gain", "another one leads" if winner else "within the noise")
