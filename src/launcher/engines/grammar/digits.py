"""Ranges of numbers as grammars of their digits. Pure."""

from __future__ import annotations

from launcher.engines.grammar.text import literal

_FRACTION = '( "." [0-9]{1,9} )?'


def integers(low: int | None, high: int | None) -> str:
    """A grammar for the whole numbers from `low` to `high`, both included; of up to 18 digits where one is open."""
    if low is None and high is None:
        return '"-"? ( "0" | [1-9] [0-9]{0,17} )'
    parts: list[str] = []
    if low is None or low < 0:
        parts += [f'"-" ( {part} )' for part in _naturals(max(1, -high) if high is not None else 1, _negated(low))]
    if high is None or high >= 0:
        parts += _naturals(max(0, low or 0), high)
    return " | ".join(parts)


def _negated(number: int | None) -> int | None:
    return None if number is None else -number


def _naturals(low: int, high: int | None) -> list[str]:
    text = str(low)
    if high is None:
        more = f"[1-9] [0-9]{{{len(text)},{max(17, len(text))}}}"
        return [*_same_length(text, "9" * len(text)), more]
    parts: list[str] = []
    for n_digits in range(len(text), len(str(high)) + 1):
        first = max(low, 10 ** (n_digits - 1) if n_digits > 1 else 0)
        last = min(high, 10**n_digits - 1)
        parts += _same_length(str(first), str(last))
    return parts


def _same_length(low: str, high: str) -> list[str]:
    """Alternatives for the digits between two numbers of the same length."""
    if not low:
        return [""]
    rest = len(low) - 1
    if low[1:] == "0" * rest and high[1:] == "9" * rest:
        first = _digit(low[0], high[0])
        return [f"{first} [0-9]{{{rest}}}" if rest else first]
    if low[0] == high[0]:
        return [f"{_digit(low[0], low[0])} {tail}" for tail in _same_length(low[1:], high[1:])]
    parts = [f"{_digit(low[0], low[0])} {tail}" for tail in _same_length(low[1:], "9" * rest)]
    if int(high[0]) - int(low[0]) > 1:
        parts.append(f"{_digit(str(int(low[0]) + 1), str(int(high[0]) - 1))} [0-9]{{{rest}}}")
    return parts + [f"{_digit(high[0], high[0])} {tail}" for tail in _same_length("0" * rest, high[1:])]


def _digit(low: str, high: str) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"


def numbers(low: int | None, high: int | None, *, above: bool = False, below: bool = False) -> str:
    """A grammar for numbers between whole bounds; `above` and `below` leave the bound itself out. Empty: there is none.

    Within bounds a fraction has few digits, so that none is rounded up to the bound when it is read.
    """
    if low is None and high is None:
        return '"-"? ( "0" | [1-9] [0-9]{0,15} ) ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,2} )?'
    parts: list[str] = []
    if low is None or low < 0:
        least = max(0, -high) if high is not None else 0
        beyond = below if least > 0 else True  # a negative zero is left out
        parts += [f'"-" {part}' for part in _decimals(least, _negated(low), above=beyond, below=above)]
    if high is None or high >= 0:
        parts += _decimals(max(0, low or 0), high, above=above and low is not None and low >= 0, below=below)
    return " | ".join(parts)


def _decimals(low: int, high: int | None, *, above: bool, below: bool) -> list[str]:
    """Alternatives for the numbers from `low` (0 or more) to `high`."""
    parts: list[str] = []
    if high is None or high > low:
        bound = literal(str(low))
        parts.append(f'{bound} "." "0"{{0,6}} [1-9] [0-9]{{0,2}}' if above else f"{bound} {_FRACTION}")
    if high is None or high > low + 1:
        parts.append(f"( {' | '.join(_naturals(low + 1, None if high is None else high - 1))} ) {_FRACTION}")
    if high is not None and not below and (high > low or not above):
        parts.append(f'{literal(str(high))} ( "." "0"{{1,6}} )?')
    return parts
