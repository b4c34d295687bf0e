"""Records survive JSON; anything else is refused by the name of the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.records import RecordError, from_jsonable, to_jsonable


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    n: int
    rate: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    name: str
    kind: Literal["a", "b"]
    leaves: tuple[Leaf, ...]
    by_name: Mapping[str, Leaf]
    path: Path | None
    pair: tuple[int, str]
    level: Level
    flag: bool = False
    words: tuple[str, ...] = ()


TREE = Tree(
    name="x",
    kind="a",
    leaves=(Leaf(n=1, rate=None), Leaf(n=2, rate=0.5)),
    by_name={"first": Leaf(n=3, rate=2.0)},
    path=Path("models/a.gguf"),
    pair=(1, "one"),
    level=Level.HIGH,
)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(to_jsonable(value)))


def test_round_trip() -> None:
    assert from_jsonable(Tree, through_json(TREE)) == TREE


def test_none_is_written_as_null_and_not_left_out() -> None:
    assert through_json(TREE)["leaves"][0] == {"n": 1, "rate": None}


def test_a_field_with_a_default_may_be_missing() -> None:
    data = through_json(TREE)
    del data["words"]
    assert from_jsonable(Tree, data) == TREE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "name: expected text, found None"),
        ({"kind": "c"}, "kind: expected one of a, b, found 'c'"),
        ({"leaves": [{"n": 1.5, "rate": None}]}, "leaves[0].n: expected a whole number, found 1.5"),
        ({"leaves": [{"n": True, "rate": None}]}, "leaves[0].n: expected a whole number, found True"),
        ({"leaves": [{"n": 1}]}, "leaves[0].rate: missing"),
        ({"leaves": {}}, "leaves: expected a list, found {}"),
        ({"leaves": [3]}, "leaves[0]: expected an object, found 3"),
        ({"by_name": {"k": []}}, "by_name.k: expected an object, found []"),
        ({"by_name": []}, "by_name: expected an object, found []"),
        ({"pair": [1]}, "pair: expected a list of 2, found [1]"),
        ({"level": 7}, "level: expected one of 1, 2, found 7"),
        ({"flag": 1}, "flag: expected true or false, found 1"),
        ({"path": 1}, "path: expected text, found 1"),
        ({"colour": 1}, "colour: no such field"),
        ({"leaves": [{"n": 1, "rate": float("nan")}]}, "leaves[0].rate: expected a finite number, found nan"),
        ({"leaves": [{"n": 1, "rate": 10**400}]}, "leaves[0].rate: expected a finite number, found 1000"),
    ],
)
def test_what_is_not_the_record_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError) as caught:
        from_jsonable(Tree, through_json(TREE) | change)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("value", [{1, 2}, b"x", object()])
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        to_jsonable(value)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_float_that_json_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no JSON form"):
        to_jsonable(value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from(sorted(Tree.__slots__)), value=JSON_VALUES)
def test_any_json_value_is_read_or_refused(field: str, value: Any) -> None:
    data = through_json(TREE) | {field: value}
    try:
        read = from_jsonable(Tree, data)
    except RecordError:
        return
    assert from_jsonable(Tree, through_json(read)) == read


@given(
    leaves=st.lists(st.builds(Leaf, n=st.integers(), rate=st.none() | st.floats(allow_nan=False, allow_infinity=False)))
)
def test_every_leaf_survives_json(leaves: list[Leaf]) -> None:
    tree = Tree(
        name="", kind="b", leaves=tuple(leaves), by_name={}, path=None, pair=(0, ""), level=Level.LOW, flag=True
    )
    assert from_jsonable(Tree, through_json(tree)) == tree
