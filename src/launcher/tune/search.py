"""The search: a race on each axis, then fresh pairs of the plan and of what won, within a budget of time.

What is cheap comes first: settings of the context, with one load of the model. Their winner is confirmed, and adopted,
before settings are tried for which the model has to be loaded again; so a search that is stopped half way has something
to show. `race` says what pairs mean, `pairs` runs them, `heats` holds the races.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from launcher.errors import EngineError, LauncherError
from launcher.planner.types import Changes, LoadParams
from launcher.tune.board import Board, Judge, Verdict, changes_of, is_numeric
from launcher.tune.changes import given, merged, spelt, with_changes
from launcher.tune.heats import offer, race, screen
from launcher.tune.pairs import CrashError, Logs, Measures, Pairs, Step, affordable
from launcher.tune.race import MIN_PAIRS, is_faster, is_slower, n_more, ratio_of, turn_log
from launcher.tune.sizes import decode_share, sizes_for, told_apart
from launcher.tune.types import Axis, Confirmation, Outcome, Ratio, Space, Speeds, Workload

_NO_ROOM = "the budget had no room for"


class Search:
    """One search. `run` goes through it; what it found is in its attributes, after Ctrl-C as well."""

    def __init__(
        self,
        plan: LoadParams,
        space: Space,
        workload: Workload,
        budget_s: float,
        *,
        meter: Measures,
        judge: Judge,
        fits: Callable[[LoadParams], bool],
        clock: Callable[[], float],
        tell: Callable[[Step], None] = lambda _: None,
    ) -> None:
        self._plan = plan
        self._space = space
        self._workload = workload
        self._pairs = Pairs(meter, n_streams=workload.n_streams, budget_s=budget_s, clock=clock, tell=tell)
        self._judge = judge
        self._fits = fits
        self.board: Board | None = None
        """None until the plan's own speed is known."""
        self.speeds = Speeds()
        self.left_out: tuple[str, ...] = space.left_out
        self.interrupted = False
        self.failure: EngineError | None = None
        """Why the plan could not be run any more, after it could."""

    @property
    def spent_s(self) -> float:
        """Seconds since it began."""
        return self._pairs.spent_s

    @property
    def adopted(self) -> Changes:
        """What was confirmed."""
        return self.board.adopted if self.board else Changes()

    def run(self) -> None:
        """Search until everything was tried or the budget is spent.

        Ctrl-C ends it early, and so does the plan once it can no longer be run: both are noted.

        Raises:
            EngineError: the plan cannot be run at all.
        """
        try:
            self._all(self._learnt())
        except KeyboardInterrupt:
            self.interrupted = True
        except EngineError as error:
            if self.board is None:
                raise
            self.failure = error
        finally:
            if self.board is not None:
                self.board.rename(self.board.won, "unfinished", "stopped before it was confirmed")
            self._pairs.release()

    def _all(self, board: Board) -> None:
        contexts = [axis for axis in self._space.axes if not axis.reloads]
        for axis in contexts:
            if not axis.offer:
                self._raced(board, axis)
        self._confirm(board)
        for axis in contexts:
            if axis.offer:
                offer(board, axis)
        for axis in self._space.axes:
            if axis.reloads:
                screen(board, axis)
                self._confirm(board)

    @staticmethod
    def _raced(board: Board, axis: Axis) -> None:
        """A race; where what leads crashes on the way it leads no more, and the race is run again without it."""
        try:
            race(board, axis)
        except EngineError as error:
            if not board.won:
                raise
            board.rename(board.won, "crashed", error.message)
            board.won = []
            race(board, axis)

    def _learnt(self) -> Board:
        """How fast the plan is; then how large tests may be, and what they can tell."""
        pairs = self._pairs
        alike = pairs.learn(self._plan)
        self.speeds = pairs.speeds
        pairs.decode_share = decode_share(self._workload, self.speeds)
        sizes = sizes_for(self._workload, self.speeds, pairs.budget_s, self._plan)
        self._space = told_apart(self._space, self._plan, sizes)
        self.left_out = self._space.left_out
        self.board = Board(plan=self._plan, sizes=sizes, pairs=pairs, judge=self._judge, fits=self._fits)
        prompt_share = 1 - pairs.decode_share
        for prompt, decode in zip(alike.prompt, alike.decode, strict=True):
            self.board.noise["prompt"].learn(turn_log(prompt_share, prompt, 0.0))
            self.board.noise["decode"].learn(turn_log(prompt_share, 0.0, decode))
            self.board.noise["both"].learn(turn_log(prompt_share, prompt, decode))
        return self.board

    def _confirm(self, board: Board) -> None:
        """Fresh pairs of what leads and of what is adopted; then the judge, where numbers change."""
        while board.won:
            lead = changes_of(board.won)
            confirmation = self._paired(board, lead)
            verdict = self._judged(board, lead) if confirmation.adopted and is_numeric(lead) else None
            if verdict is not None and not verdict.passes:
                confirmation = replace(confirmation, adopted=False, why=verdict.text)
            board.confirmations.append(confirmation)
            won, board.won = board.won, []
            if confirmation.adopted:
                board.adopted = merged(board.adopted, lead)
            elif verdict is None:
                board.rename(won, _or_unfinished("not confirmed", confirmation.why), confirmation.why)
            else:
                judged = [one for one in won if is_numeric(one.option.changes)]
                board.rename(judged, _or_unfinished("rejected", confirmation.why), confirmation.why)
                # What the judge did not look at has a chance of its own.
                board.won = [one for one in won if not is_numeric(one.option.changes)]

    def _paired(self, board: Board, lead: Changes) -> Confirmation:
        base, other = board.base, with_changes(board.base, lead)
        job = board.job([won.axis for won in board.won])
        pairs, logs = board.pairs, Logs()
        reserve = board.judge_s(lead)
        what = f"confirming {spelt(lead)}"
        crashed = None
        try:
            while True:
                left = pairs.left_s - reserve - pairs.load_cost_s(base)
                n = n_more(logs.turn, affordable(left, pairs.pair_s(base, other, job.test)))
                if n == 0:
                    break
                # One by one where that costs nothing: a pair that goes wrong ends it.
                pairs.compare(base, other, job, n if pairs.needs_load(base, other) else 1, logs=logs, what=what)
        except CrashError as crash:
            crashed = crash.error.message
        adopted, why = (False, crashed) if crashed else verdict_of(logs)
        return Confirmation(
            changes=lead,
            over="what was confirmed before" if given(board.adopted) else "the plan",
            n_pairs=len(logs.turn),
            prompt=ratio_of(logs.prompt),
            decode=ratio_of(logs.decode),
            turn=ratio_of(logs.turn),
            adopted=adopted,
            why=why,
        )

    def _judged(self, board: Board, lead: Changes) -> Verdict:
        """The quality guard compares with the plan, not with what was adopted on the way."""
        if board.pairs.left_s < board.judge_s(lead):
            return Verdict(passes=False, text=f"{_NO_ROOM} the quality check")
        board.pairs.release()  # it loads the model itself
        board.pairs.say("checking that answers stay the same")
        try:
            verdict = self._judge.check(board.plan, with_changes(board.base, lead))
        except LauncherError as error:
            return Verdict(passes=False, text=f"the quality check failed: {error.message}")
        return verdict if verdict.passes else replace(verdict, text=f"the quality check: {verdict.text}")


def verdict_of(logs: Logs) -> tuple[bool, str]:
    """Whether pairs are enough to adopt a setting, and why or why not. Pure."""
    if len(logs.turn) < MIN_PAIRS and all(log > 0 for log in logs.turn):
        return False, f"{_NO_ROOM} {MIN_PAIRS} pairs"
    if not is_faster(logs.turn):
        return False, "fresh pairs did not show it"
    if is_slower(logs.prompt):
        return False, "prompts became slower"
    if is_slower(logs.decode):
        return False, "decoding became slower"
    return True, "fresh pairs show it"


def _or_unfinished(outcome: Outcome, why: str) -> Outcome:
    """What there was no time to show is not shown to be wrong."""
    return "unfinished" if why.startswith(_NO_ROOM) else outcome


def total_ratio(confirmations: list[Confirmation], which: Callable[[Confirmation], Ratio | None]) -> float:
    """Speed of all that was adopted over the plan: of two confirmations, one over the other, the product."""
    found = (which(one) for one in confirmations if one.adopted)
    return math.prod(ratio.ratio for ratio in found if ratio is not None)
