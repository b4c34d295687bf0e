"""JSON schemas as grammars for llama.cpp: what an answer must look like, decided token by token. Pure."""

from launcher.engines.grammar.schema import check_schema, grammar_of

__all__ = ["check_schema", "grammar_of"]
