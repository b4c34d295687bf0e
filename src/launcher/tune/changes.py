"""Arithmetic of changes: what they name, both together, what of them a plan has anyway. Pure."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from launcher.planner.tuned import any_change, changed_params, changes_text
from launcher.planner.types import Changes, LoadParams


def with_changes(params: LoadParams, changes: Changes) -> LoadParams:
    """The parameters with all that the changes name, and with what follows from it, as later plans will have them."""
    return changed_params(params, changes) if any_change(changes) else params


def given(changes: Changes) -> dict[str, Any]:
    """What the changes name, by field."""
    named = ((field.name, getattr(changes, field.name)) for field in fields(changes))
    return {name: value for name, value in named if value is not None}


def merged(first: Changes, then: Changes) -> Changes:
    """Both; where they name the same, the later."""
    return replace(first, **given(then))


def beside(params: LoadParams, changes: Changes) -> Changes:
    """The changes without those that these parameters have anyway."""
    return Changes(**{name: value for name, value in given(changes).items() if getattr(params, name) != value})


def spelt(changes: Changes) -> str:
    """`n_ubatch 256, flash_attn off`; empty of none."""
    return changes_text(changes) if any_change(changes) else ""
