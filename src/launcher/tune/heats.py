"""The races: options of one axis beside what leads, round by round, or in blocks where each needs a load."""

from __future__ import annotations

from launcher.planner.types import LoadParams
from launcher.tune.board import Board, Entrant, Won
from launcher.tune.changes import spelt, with_changes
from launcher.tune.pairs import CrashError, Job, affordable
from launcher.tune.race import best, settled
from launcher.tune.space import runs
from launcher.tune.types import Axis

_ROUNDS = 4
"""Of a race: by then a standard error is half of one ratio's spread."""
_SCREENED = 2
"""Pairs of a setting for which the model is loaded again, before it is confirmed or dropped; of an offered one too."""


def race(board: Board, axis: Axis) -> None:
    """Find the option that is worth a confirmation, if there is one: every round drops what is surely no faster."""
    base = with_changes(board.plan, board.lead)
    made = (Entrant(option=option, params=with_changes(base, option.changes)) for option in axis.options)
    alive = [entrant for entrant in made if entrant.params != base and runs(entrant.params)]
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
    """Options for which the model is loaded again: each in one block between two of what is adopted."""
    job = board.job([axis])
    pairs, found = board.pairs, []
    for option in axis.options:
        base = board.base
        entrant = Entrant(option=option, params=with_changes(base, option.changes))
        if entrant.params == base:
            continue
        loads = pairs.load_cost_s(base) + 2 * pairs.load_s
        if loads + 2 * _SCREENED * pairs.cost_s(job.test) > pairs.left_s:
            board.record(axis, entrant, "unfinished", "the budget had no room for a load")
            continue
        if _compared(board, axis, entrant, job):
            for log in entrant.logs.turn:
                entrant.runner.add(log, board.noise[job.touches])
            found.append(entrant)
    _crown(board, axis, found)


def offer(board: Board, axis: Axis) -> None:
    """Options that a person is told of and that are never taken."""
    job = board.job([axis])
    pairs = board.pairs
    for option in axis.options:
        entrant = Entrant(option=option, params=with_changes(board.base, option.changes))
        if not runs(entrant.params):
            continue
        cost = pairs.load_cost_s(board.base) + _SCREENED * pairs.pair_s(board.base, entrant.params, job.test)
        if cost > pairs.left_s:
            board.record(axis, entrant, "unfinished", "the budget had no room for it")
        elif _compared(board, axis, entrant, job):
            board.record(axis, entrant, "offered", "half the cache, slightly other answers: for you to choose")


def _compared(board: Board, axis: Axis, entrant: Entrant, job: Job) -> bool:
    """Whether its few pairs could be run."""
    try:
        what = f"{axis.name}: {entrant.option.label}"
        board.pairs.compare(board.base, entrant.params, job, _SCREENED, logs=entrant.logs, what=what)
    except CrashError as crash:
        board.record(axis, entrant, "crashed", crash.error.message)
        return False
    return True


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
