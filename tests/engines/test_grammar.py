"""Schemas as grammars, judged by llama.cpp's own grammar engine and by a JSON schema validator."""

from __future__ import annotations

import ctypes
import json
import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import llama_cpp
import numpy as np
import pytest

from launcher.demo import demo_model_path
from launcher.engines.embedded import EmbeddedEngine, open_engine
from launcher.engines.grammar import check_schema, grammar_of
from launcher.engines.grammar.digits import integers, numbers
from launcher.engines.harmony import TurnParser
from launcher.engines.harmony.turn import Place
from launcher.engines.llama import LlamaModel
from launcher.engines.sampler import AnswerSampler, AnswerTokens, answer_sampler, utf8_rest
from launcher.engines.types import ChatDelta, EndDelta, Message, NoteDelta, Sampling, TextDelta
from launcher.errors import EngineError, UsageError
from tests.engines.demo import load_params

jsonschema: Any = pytest.importorskip("jsonschema")


class Vocabulary:
    """The demo's, read once."""

    def __init__(self, model: LlamaModel) -> None:
        self.model = model
        control = set(model.control_tokens())
        self.end = next(token for token in control if model.is_eog(token))
        self.pieces = {token: model.piece(token) for token in range(model.n_vocab) if token not in control}


@pytest.fixture(scope="module", name="words")
def _words() -> Iterator[Vocabulary]:
    with LlamaModel.load(llama_cpp, demo_model_path(), load_params(), deque()) as model:
        yield Vocabulary(model)


class Walker:
    """llama.cpp's grammar, asked before it is told."""

    def __init__(self, words: Vocabulary, grammar: str) -> None:
        self.pointer = llama_cpp.llama_sampler_init_grammar(words.model.vocab, grammar.encode(), b"root")
        assert self.pointer, "llama.cpp refuses the grammar"
        self.end, self.pieces = words.end, words.pieces
        self.text_tokens = list(words.pieces)

    def allowed(self, tokens: Sequence[int]) -> list[int]:
        candidates = np.zeros(len(tokens), dtype=[("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        candidates["id"] = tokens
        data = llama_cpp.llama_token_data_array(
            data=candidates.ctypes.data_as(llama_cpp.llama_token_data_p), size=len(tokens), selected=-1, sorted=False
        )
        llama_cpp.llama_sampler_apply(self.pointer, ctypes.byref(data))
        return [int(token) for token in candidates["id"][candidates["logit"] == 0]]

    def accept(self, token: int) -> None:
        llama_cpp.llama_sampler_accept(self.pointer, token)

    @property
    def complete(self) -> bool:
        return bool(self.allowed([self.end]))


@contextmanager
def walker(words: Vocabulary, grammar: str) -> Iterator[Walker]:
    walk = Walker(words, grammar)
    try:
        yield walk
    finally:
        llama_cpp.llama_sampler_free(walk.pointer)


def matches(words: Vocabulary, grammar: str, text: str) -> bool:
    with walker(words, grammar) as walk:
        for token in words.model.tokenize(text, parse_special=False):
            if not walk.allowed([token]):
                return False
            walk.accept(token)
        return walk.complete


def wander(words: Vocabulary, grammar: str, rng: random.Random, n_steps: int = 160) -> str | None:
    """A random text of the grammar, with a liking for what closes something; None where it came to no end."""
    data = b""
    with walker(words, grammar) as walk:
        for step in range(n_steps):
            if walk.complete and (step > 60 or rng.random() < 0.3):
                return data.decode()
            rest = utf8_rest(data)
            assert rest is not None
            tokens = [t for t in walk.allowed(walk.text_tokens) if utf8_rest(rest + walk.pieces[t]) is not None]
            if not tokens:
                assert walk.complete, f"a dead end after {data!r}"
                return data.decode()
            closing = [token for token in tokens if set(walk.pieces[token]) & set(b'"]}@.:') and step > 20]
            token = rng.choice(closing if closing and rng.random() < 0.6 else tokens)
            walk.accept(token)
            data += walk.pieces[token]
    return None


def obj(required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TREE = {
    "$defs": {
        "node": obj(["name"], name={"type": "string"}, kids={"type": "array", "items": {"$ref": "#/$defs/node"}})
    },
    "$ref": "#/$defs/node",
}
UNION = {
    "oneOf": [
        obj(["kind", "r"], kind={"const": "circle"}, r={"type": "number", "minimum": 0}),
        obj(["kind", "a"], kind={"const": "square"}, a={"type": "integer"}),
        {"type": "null"},
    ]
}

# Each with texts that it takes and texts that it does not.
CASES: dict[str, tuple[Any, list[str], list[str]]] = {
    "anything": (True, ["1", "[]", '{"a": [null, true]}', '"\u00e9\U0001f600"', "-1.5e3"], ["", "nil", "01", "[1,]"]),
    "empty": ({}, ["{}", "false"], ["{"]),
    "string": (
        {"type": "string"},
        ['""', r'"\u00e9\n\"\\"', r'"\ud83d\ude00"', '"\ufffd"'],
        ['"a', '"a\nb"', r'"\x"', r'"\ud83d"', "a", '"a" '],
    ),
    "lengths": ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', r'"\n\u0041c"'], ['"a"', '"abcd"']),
    "integer": ({"type": "integer"}, ["0", "-7", "123456789"], ["1.0", "-", "007", "1e3"]),
    "number": ({"type": "number"}, ["0", "-7.25", "1e9", "2.5E-3"], ["1.", ".5", "+1", "NaN"]),
    "object": (
        obj(["b"], a={"type": "integer"}, b={"type": "boolean"}, c={"type": "null"}),
        [
            '{"b":true}',
            '{"a": 1, "b": false}',
            '{\n  "a": 1,\n  "b": false,\n  "c": null\n}',
            '{ "b": true, "c": null }',
        ],
        ["{}", '{"a":1}', '{"b":true,}', '{"b":true,"d":1}', '{"b":true,"b":true}', "null"],
    ),
    "all optional": (
        obj(a={"type": "integer"}, b={"type": "integer"}),
        ["{}", '{"b":1}', '{"a":1,"b":2}'],
        ['{,"b":1}'],
    ),
    "others": (
        {**obj(["ab"], ab={"type": "integer"}, abc={"const": 1}), "additionalProperties": {"type": "boolean"}},
        ['{"ab":1,"x":true}', '{"ab":1,"abc":1,"abcd":true,"a":false,"":true}', r'{"ab":1,"z\n":true}'],
        ['{"ab":1,"x":1}', '{"ab":1,"abc":true}', '{"ab":1,"ab":true}', r'{"ab":1,"\u0061bc":true}'],
    ),
    "a map": (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        ["{}", '{"a":1,"b": 2}'],
        ['{"a":"b"}'],
    ),
    "required without a property": (
        {"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}},
        ['{"x":1}', '{"x":1,"y":2}'],
        ["{}", '{"y":2}', '{"x":"a"}'],
    ),
    "no members": ({"type": "object", "properties": {}, "additionalProperties": False}, ["{}"], ['{"a":1}']),
    "array": (
        {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3},
        ["[1,2]", "[ 1, 2, 3 ]", "[\n 1,\n 2]"],
        ["[1]", "[1,2,3,4]", "[1,2,]", "[]"],
    ),
    "at most": ({"type": "array", "items": {"type": "null"}, "maxItems": 1}, ["[]", "[null]"], ["[null,null]"]),
    "no items": ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
    "tuple": (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
        ['["a", 1]'],
        ['["a"]', '["a",1,2]', '[1,"a"]'],
    ),
    "tuple and more": (
        {"type": "array", "prefixItems": [{"const": "a"}], "items": {"type": "integer"}, "minItems": 2, "maxItems": 3},
        ['["a",1]', '["a",1,2]'],
        ['["a"]', '["a",1,2,3]'],
    ),
    "matrix": (
        {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        ["[[1,2],[]]", "[]"],
        ["[1]"],
    ),
    "enum": (
        {"enum": ["a", 'q"\\', "\n", 1, None, True, [1], {"k": "\u00e9"}]},
        ['"a"', r'"q\"\\"', r'"\n"', "null", "[1]", '{"k": "\u00e9"}'],
        ['"b"', "2", '"1"'],
    ),
    "enum of a type": ({"type": "string", "enum": ["a", None]}, ['"a"'], ["null"]),
    "several types": ({"type": ["string", "null"], "maxLength": 1}, ['"a"', "null"], ['"ab"', "1"]),
    "anyOf": (
        {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/s"}], "$defs": {"s": {"const": "x"}}},
        ["1", '"x"'],
        ["x"],
    ),
    "oneOf": (UNION, ['{"kind":"circle","r":0.5}', '{"kind":"square","a":-1}', "null"], ['{"kind":"circle","a":1}']),
    "tree": (TREE, ['{"name":"a","kids":[{"name":"b"},{"name":"c","kids":[]}]}'], ['{"name":"a","kids":[{}]}']),
    "itself": (
        {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}},
        ['{"next":{"next":null}}', "{}"],
        ['{"next":1}'],
    ),
    "allOf": (
        {
            "allOf": [{"$ref": "#/$defs/base"}, obj(["b"], b={"type": "integer"})],
            "$defs": {"base": obj(["a"], a={"type": "string"})},
        },
        ['{"a":"x","b":1}'],
        ['{"a":"x"}', '{"b":1}'],
    ),
    "a note beside a reference": (
        {"properties": {"p": {"$ref": "#/$defs/~1%20", "description": "d"}}, "$defs": {"/ ": {"const": 5}}},
        ['{"p":5}'],
        ['{"p":6}'],
    ),
    "pattern": (
        {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,4}(x|y)?$"},
        ['"AB-123"', '"AB-1234x"'],
        ['"A-123"', '"AB-123z"'],
    ),
    "pattern anywhere": ({"type": "string", "pattern": "b+c"}, ['"bc"', '"xxbbcxx"'], ['"b"', '""']),
    "pattern of escapes": (
        {"type": "string", "pattern": '^["\\\\\\]\\[^-]+\\.\\n[^a-c"]$'},
        [r'"\"\\.\nd"', r'"]^-[.\nx"'],
        [r'"\"\\.\na"', r'"a.\nd"', '"".\nd'],
    ),
    "date": ({"type": "string", "format": "date"}, ['"2024-12-31"'], ['"2023-02-30"', '"2023-04-31"', '"2023-13-01"']),
    "date-time": ({"type": "string", "format": "date-time"}, ['"2024-12-31T23:59:59.5Z"'], ['"2024-12-31"']),
    "uuid": ({"type": "string", "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123"']),
    "email": ({"type": "string", "format": "email"}, ['"a.b@c.org"'], ['"a@b"', '"a b@c.d"', '"@c.d"']),
    "ipv4": ({"type": "string", "format": "ipv4"}, ['"192.168.0.1"'], ['"256.1.1.1"', '"1.1.1"']),
    "uri": ({"type": "string", "format": "uri"}, ['"https://a.b/c?d=e"'], ['"a b"', '"/c"']),
    "whole bounds of fractions": ({"type": "integer", "minimum": 0.5, "exclusiveMaximum": 3}, ["1", "2"], ["0", "3"]),
    "a note and an extension": ({"type": "null", "title": "t", "default": 1, "x-order": 2}, ["null"], ["1"]),
    "what has no effect": ({"type": "array", "uniqueItems": False}, ["[1,1]"], ["{}"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_grammar_takes_what_the_schema_allows_and_nothing_else(words: Vocabulary, name: str) -> None:
    schema, good, bad = CASES[name]
    grammar = grammar_of(json.dumps(schema))
    for text in good:
        jsonschema.validate(json.loads(text), schema)
        assert matches(words, grammar, text), text
    for text in bad:
        assert not matches(words, grammar, text), text


# A random text comes to "bc" once in a million characters.
@pytest.mark.parametrize("name", [name for name in CASES if name != "pattern anywhere"])
def test_whatever_a_grammar_lets_through_satisfies_the_schema(words: Vocabulary, name: str) -> None:
    schema = CASES[name][0]
    grammar = grammar_of(json.dumps(schema))
    rng = random.Random(name)
    texts = [text for _ in range(5) if (text := wander(words, grammar, rng)) is not None]
    assert texts
    for text in texts:
        jsonschema.validate(json.loads(text), schema)
        json.dumps(json.loads(text), ensure_ascii=False).encode()  # no lone surrogate


BOUNDS = [None, -1200, -100, -13, -9, -1, 0, 1, 5, 9, 10, 42, 99, 100, 1999]


@pytest.mark.parametrize("low", BOUNDS)
def test_whole_numbers_within_bounds(words: Vocabulary, low: int | None) -> None:
    probes = sorted({n + d for n in BOUNDS if n is not None for d in (-1, 0, 1)} | {-10_000, 10_000})
    for high in BOUNDS[1::3]:
        if high is None or (low is not None and low > high):
            continue
        grammar = f"root ::= {integers(low, high)}"
        taken = [n for n in probes if matches(words, grammar, str(n))]
        assert taken == [n for n in probes if (low is None or n >= low) and n <= high], (low, high)
        assert not matches(words, grammar, "-0")
        assert not matches(words, grammar, "05")


WHOLE = (-21, -20, -6, -5, -3, -2, -1, 0, 1, 2, 3, 7, 8, 99, 119, 120, 121)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-1, 1), (-5, -2), (None, 0), (0, None), (3, 120), (-20, None), (7, 7)]
)
def test_numbers_within_bounds(words: Vocabulary, low: int | None, high: int | None, above: bool, below: bool) -> None:
    if low == high and (above or below):
        assert numbers(low, high, above=above, below=below) == "" or (above != below)
        return
    grammar = f"root ::= {numbers(low, high, above=above, below=below)}"
    texts = [f"{whole}{part}" for whole in WHOLE for part in ("", ".0", ".5", ".001")]
    for text in [*texts, "-0.5", "-0.001"]:
        value = float(text)
        inside = (low is None or value > low or (value == low and not above)) and (
            high is None or value < high or (value == high and not below)
        )
        if value == 0 and text.startswith("-"):
            continue
        assert matches(words, grammar, text) == inside, text


REFUSED = {
    "{": "no JSON",
    "[]": "must be an object",
    "3": "must be an object",
    "NaN": "NaN is no JSON",
    "false": "allows no value",
    '{"type": "strng"}': "must be one or several of",
    '{"type": []}': "must be one or several of",
    '{"propertys": {}}': "'properties'",
    '{"properties": {"a": {"multipleOf": 2}}}': "#/a: 'multipleOf' cannot be enforced",
    '{"type": "array", "uniqueItems": true}': "'uniqueItems' cannot be enforced",
    '{"not": {}}': "'not' cannot be enforced",
    '{"patternProperties": {"^a": {}}}': "'patternProperties' cannot be enforced",
    '{"if": {}, "then": {}}': "'if' cannot be enforced",
    '{"minProperties": 1}': "'minProperties' cannot be enforced",
    '{"$ref": "https://a.b/c"}': "must lead into the schema itself",
    '{"$ref": "#/$defs/a"}': "leads nowhere",
    '{"$ref": "#"}': "refers to itself",
    '{"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}': "itself",
    '{"type": "string", "pattern": "(?=a)"}': "more than a group",
    '{"type": "string", "pattern": "^a|b$"}': "needs a group",
    '{"type": "string", "pattern": "a(b"}': "ends too early",
    '{"type": "string", "pattern": "[b-a]"}': "before it begins",
    '{"type": "string", "pattern": "(a)\\\\1"}': "has no grammar",
    '{"type": "string", "pattern": "a{3000}"}': "cannot repeat",
    '{"type": "string", "pattern": "a", "maxLength": 3}': "say it in the pattern",
    '{"type": "string", "format": "iri"}': "the format 'iri' cannot be enforced",
    '{"type": "string", "maxLength": 5000}': "more than 2000",
    '{"type": "string", "minLength": 3, "maxLength": 2}': "more than its greatest",
    '{"type": "string", "minLength": "3"}': "must be a whole number",
    '{"type": "number", "minimum": 0.5}': "only whole bounds",
    '{"type": "number", "minimum": 3, "maximum": 2}': "no number lies between",
    '{"type": "number", "exclusiveMinimum": 3, "maximum": 3}': "no number lies between",
    '{"type": "integer", "minimum": 0.2, "maximum": 0.8}': "no whole number",
    '{"type": "number", "minimum": "1"}': "must be a number",
    '{"enum": []}': "must be a list",
    '{"type": "string", "enum": [1]}': "none of its values",
    '{"enum": ["a"], "maxLength": 1}': "beside listed values",
    '{"anyOf": [], "title": "t"}': "must be a list of schemas",
    '{"anyOf": [{}], "type": "string"}': "beside 'anyOf'",
    '{"oneOf": [{"type": "number"}, {"type": "integer"}]}': "alternatives 1 and 2",
    '{"oneOf": [{"type": "object"}, {"type": "object"}]}': "may overlap",
    '{"allOf": [{"type": "string"}, {"minLength": 2}]}': "only objects",
    '{"type": "array", "items": false, "minItems": 1}': "must have 1 items",
    '{"type": "object", "required": "a"}': "list of names",
    '{"type": "object", "required": ["a"], "additionalProperties": false}': "required, but is no property",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_enforced_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_schema(text)
    assert REFUSED[text] in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_nesting_without_end_is_refused() -> None:
    for text in ('{"items":' * 100_000, '{"items":' * 2000 + "{}" + "}" * 2000):
        with pytest.raises(UsageError):
            check_schema(text)


def test_a_good_schema_comes_back_as_it_is() -> None:
    assert check_schema(' {"type": "null"}\n') == ' {"type": "null"}\n'


# In the embedded engine

PLACE = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "n": {"type": "integer", "minimum": -3, "maximum": 250},
        "tags": {"type": "array", "items": {"enum": ["a", 'b "q"', None]}, "maxItems": 3},
    },
    "required": ["city", "n", "tags"],
}
QUESTION = Message(role="user", content="What is the capital of France?")


@pytest.fixture(scope="module", name="engine")
def _engine() -> Iterator[EmbeddedEngine]:
    with open_engine(demo_model_path(), load_params()) as engine:
        yield engine


def ask(engine: EmbeddedEngine, schema: Any, *messages: Message, **sampling: Any) -> tuple[str, str, list[ChatDelta]]:
    """Reasoning, answer and all deltas."""
    deltas = list(engine.chat(messages or [QUESTION], Sampling(json_schema=json.dumps(schema), **sampling)))
    texts = {"analysis": "", "final": "", "commentary": ""}
    for delta in deltas:
        if isinstance(delta, TextDelta):
            texts[delta.channel] += delta.text
    return texts["analysis"], texts["final"], deltas


def reason(deltas: list[ChatDelta]) -> str:
    assert isinstance(deltas[-1], EndDelta)
    return deltas[-1].finish_reason


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_an_answer_follows_the_schema(engine: EmbeddedEngine, temperature: float, seed: int) -> None:
    _, answer, deltas = ask(engine, PLACE, temperature=temperature, seed=seed, max_tokens=600, top_p=0.95, min_p=0.01)
    if reason(deltas) == "length":  # a model this hot may reason without end
        return
    jsonschema.validate(json.loads(answer), PLACE)
    assert reason(deltas) == "stop"


def test_the_reasoning_stays_as_it_is_without_a_schema(engine: EmbeddedEngine) -> None:
    plain = list(engine.chat([QUESTION], Sampling(temperature=0.0)))
    before = "".join(d.text for d in plain if isinstance(d, TextDelta) and d.channel == "analysis")
    reasoning, answer, deltas = ask(engine, PLACE, temperature=0.0)
    assert reasoning == before != ""
    assert answer.startswith("{")
    assert not [delta for delta in deltas if isinstance(delta, NoteDelta)]


def test_an_answer_that_is_cut_off_is_no_json_and_says_length(engine: EmbeddedEngine) -> None:
    _, answer, deltas = ask(engine, PLACE, temperature=0.0, max_tokens=30)
    assert reason(deltas) == "length"
    assert answer.startswith("{")
    with pytest.raises(ValueError):
        json.loads(answer)


def test_control_tokens_stay_out_of_strings(engine: EmbeddedEngine) -> None:
    for seed in range(12):
        _, answer, deltas = ask(
            engine, {"type": "string", "minLength": 40, "maxLength": 60}, temperature=5.0, seed=seed
        )
        if reason(deltas) == "stop":
            assert len(json.loads(answer)) >= 40
            assert not [text for text in engine.dialect.control_texts if text in answer]


def test_a_schema_that_is_no_schema_is_refused_before_anything_is_evaluated(engine: EmbeddedEngine) -> None:
    with pytest.raises(UsageError):
        engine.chat([QUESTION], Sampling(json_schema='{"type": "strng"}'))


def test_a_turn_after_one_with_a_schema_is_free_again(engine: EmbeddedEngine) -> None:
    ask(engine, PLACE, temperature=0.0)
    deltas = list(engine.chat([QUESTION], Sampling(temperature=0.0)))
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta) and d.channel == "final").endswith("Paris.")


def test_a_model_without_channels_answers_in_json_from_the_first_token(engine: EmbeddedEngine) -> None:
    dialect = engine.dialect
    plain = replace(dialect, harmony=None, template=replace(dialect.template, format="plain"))
    engine.dialect = plain
    try:
        for seed in range(3):
            reasoning, answer, deltas = ask(engine, PLACE, seed=seed)
            assert reasoning == ""
            assert reason(deltas) == "stop"
            jsonschema.validate(json.loads(answer), PLACE)
    finally:
        engine.dialect = dialect


# Where a token may stand


class Steered:
    """A parser that always says the same of the next token."""

    def __init__(self, parser: TurnParser, place: Place) -> None:
        self.parser, self.place = parser, place

    def instead_of(self, token_id: int, piece: bytes) -> tuple[int, ...]:
        return self.parser.instead_of(token_id, piece) if self.place == "header" else ()


@pytest.fixture(name="sampler")
def _sampler(engine: EmbeddedEngine) -> Iterator[AnswerSampler]:
    list(engine.chat([QUESTION], Sampling(max_tokens=1)))  # leaves logits behind
    dialect = engine.dialect
    tokens = AnswerTokens.of(dialect.control, dialect.ends, dialect.harmony)
    with answer_sampler(
        llama_cpp, engine._model, Sampling(seed=1, temperature=50.0), "root ::= [a-z]{400}", tokens
    ) as it:
        yield it


def drawn(engine: EmbeddedEngine, sampler: AnswerSampler, place: Place, n: int = 400) -> set[int | None]:
    parser: Any = Steered(engine.dialect.parser(), place)
    return {sampler.draw(engine._context.pointer, parser) for _ in range(n)}


def test_an_answer_holds_only_what_the_grammar_allows(engine: EmbeddedEngine, sampler: AnswerSampler) -> None:
    found = drawn(engine, sampler, "answer", 40)
    assert b"".join(engine._model.piece(token) for token in found if token is not None).decode().islower()


def test_reasoning_does_not_end_the_turn(engine: EmbeddedEngine, sampler: AnswerSampler) -> None:
    found = drawn(engine, sampler, "text", 3000)
    assert len(found) > 500
    assert not found & engine.dialect.ends


def test_a_call_may_end_the_turn(engine: EmbeddedEngine, sampler: AnswerSampler) -> None:
    assert drawn(engine, sampler, "call", 6000) & engine.dialect.ends


def test_no_text_stands_where_a_header_must(engine: EmbeddedEngine, sampler: AnswerSampler) -> None:
    parser = engine.dialect.parser()
    for token in drawn(engine, sampler, "header"):
        assert token is not None
        assert not parser.instead_of(token, engine._model.piece(token))


def test_where_nothing_is_allowed_the_turn_ends_with_a_note(engine: EmbeddedEngine) -> None:
    tokens = AnswerTokens.of(engine.dialect.control, engine.dialect.ends, engine.dialect.harmony)
    with answer_sampler(llama_cpp, engine._model, Sampling(), 'root ::= [\\U0000D800] "a"', tokens) as sampler:
        assert None in drawn(engine, sampler, "answer", 4)
    _, answer, deltas = ask(engine, {"const": "\ud800"}, temperature=0.0)
    assert [delta for delta in deltas if isinstance(delta, NoteDelta)]
    assert answer.startswith('"')
    assert reason(deltas) == "stop"


def test_a_grammar_that_llama_cpp_refuses_is_an_error(
    engine: EmbeddedEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    tokens = AnswerTokens.of(engine.dialect.control, engine.dialect.ends, engine.dialect.harmony)
    with (
        pytest.raises(EngineError),
        answer_sampler(llama_cpp, engine._model, Sampling(), "root ::= nothing", tokens),
    ):
        pass
    capfd.readouterr()


@pytest.mark.parametrize(
    ("data", "rest"),
    [(b"", b""), (b"a", b""), ("\u00e9".encode(), b""), (b"a\xc3", b"\xc3"), (b"\xf0\x9f", b"\xf0\x9f")]
    + [(bad, None) for bad in (b"\xf9", b'\xc3"', b"\xed\xa0\x80", b"\x80", b"\xc0\xaf")],
)
def test_what_is_left_of_a_character(data: bytes, rest: bytes | None) -> None:
    assert utf8_rest(data) == rest


def test_the_name_of_a_control_token_does_not_pass_for_text(engine: EmbeddedEngine) -> None:
    tokens = AnswerTokens.of(engine.dialect.control, engine.dialect.ends, engine.dialect.harmony)
    hot = Sampling(seed=1, temperature=100.0)
    list(engine.chat([QUESTION], Sampling(max_tokens=1)))
    # Most tokens are something else, so nearly every one is drawn again; the names of the control tokens would fit.
    with answer_sampler(llama_cpp, engine._model, hot, "root ::= [A-Z<|>_0-9a-z]{2000}", tokens) as sampler:
        assert not drawn(engine, sampler, "answer", 150) & engine.dialect.control
