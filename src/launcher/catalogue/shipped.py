"""The catalogue that ships with the launcher: `configs/catalogue.toml`, read and looked things up in."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from launcher.catalogue.recipes import RaisedLayers, Recipe, check_recipe, recipe_weights
from launcher.catalogue.types import FilePart, ModelFile, ModelSpec, ModelWeights
from launcher.errors import DamagedFileError
from launcher.records import RecordError, from_jsonable

FILE_NAME = "catalogue.toml"
SCHEMA = 1
HEADER_BYTES = range(12_500_000, 13_600_000)
"""What a whole GPT OSS file is larger than its tensors: 13,006,016 to 13,023,584 in all that are known, nearly all of
it the vocabulary, plus room for a longer chat template. Two recipes differ by 4 million bytes or more, or are equal."""
_RECIPE_OF_LABEL = {"MXFP4": "Q8_0", "MXFP4_MOE": "Q8_0"}
"""Labels that name the experts' type and mean another for the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippedRepo:
    """A repository to list, and the release that it holds."""

    repo: str
    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippedRecipe:
    """A Recipe as the file spells it: totals that stand for unknown types are given by model."""

    token_embd: str
    output: str
    attn_q: str
    attn_k: str
    attn_v: str
    attn_output: str
    attn_v_raised: str | None = None
    raised_layers: RaisedLayers = "none"
    attention_bytes: Mapping[str, int] = field(default_factory=dict)

    def for_model(self, model: str) -> Recipe:
        """This recipe for one release."""
        return Recipe(
            token_embd=self.token_embd,
            output=self.output,
            attn_q=self.attn_q,
            attn_k=self.attn_k,
            attn_v=self.attn_v,
            attn_output=self.attn_output,
            attn_v_raised=self.attn_v_raised,
            raised_layers=self.raised_layers,
            attention_bytes=self.attention_bytes.get(model),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippedPart:
    """One file on the hub, as far as it is known."""

    path: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippedFile:
    """One GGUF that was on the hub when the catalogue was written."""

    repo: str
    quant: str
    recipe: str
    parts: tuple[ShippedPart, ...]
    revision: str | None = None
    total_bytes: int | None = None
    size_basis: Literal["listed", "computed"] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipped:
    """The whole file. Order is order of preference."""

    schema: int
    as_of: str
    repos: tuple[ShippedRepo, ...]
    models: Mapping[str, ModelSpec]
    recipes: Mapping[str, ShippedRecipe]
    files: tuple[ShippedFile, ...]

    def model_of(self, repo: str) -> str | None:
        """The release that a listed repository holds."""
        return next((known.model for known in self.repos if known.repo == repo), None)

    def model_files(self, repo: str) -> tuple[ModelFile, ...]:
        """What a repository held, without weights: see `recipe_for`."""
        model = self.model_of(repo)
        if model is None:
            return ()
        return tuple(
            ModelFile(
                model=model,
                quant=file.quant,
                repo=repo,
                revision=file.revision,
                parts=tuple(
                    FilePart(path=part.path, size_bytes=part.size_bytes, sha256=part.sha256) for part in file.parts
                ),
                dense_bpw=None,
            )
            for file in self.files
            if file.repo == repo
        )


class RecipeBook:
    """Weight tables from recipes, each worked out once."""

    def __init__(self, shipped: Shipped, isa: Collection[str]) -> None:
        self._shipped = shipped
        self._isa = isa
        self._weights: dict[tuple[str, str], ModelWeights] = {}
        self._by_sha256: dict[str, ShippedFile] = {}
        self._by_path: dict[tuple[str, str], ShippedFile] = {}
        self._by_label: dict[tuple[str, str], str] = {}
        for file in shipped.files:
            self._by_path[file.repo, file.parts[0].path] = file
            self._by_label.setdefault((shipped.model_of(file.repo) or "", file.quant.upper()), file.recipe)
            self._by_sha256.update({part.sha256: file for part in file.parts if part.sha256})

    def weights(self, file: ModelFile) -> ModelWeights | None:
        """The weight table of a file whose header is not at hand; None where nothing known fits it.

        Matched by content hash, else by repository and path, else by quant label: the last two only if the file's size
        is that of the recipe's tensors and a header, since repositories change under fixed names.
        """
        spec = self._shipped.models.get(file.model)
        if spec is None:
            return None
        for part in file.parts:
            known = self._by_sha256.get(part.sha256 or "")
            if known is not None:
                return self._expand(spec, known.recipe)
        named = self._by_path.get((file.repo or "", file.parts[0].path))
        if named is not None:
            found = self._expand(spec, named.recipe)
            if file.size_bytes is None or _has_size(file.size_bytes, found):
                return found
        if file.size_bytes is None:
            return None
        recipe = self._by_label.get((file.model, file.quant.upper())) or recipe_of_label(file.quant)
        if recipe not in self._shipped.recipes:
            return None
        found = self._expand(spec, recipe)
        return found if _has_size(file.size_bytes, found) else None

    def _expand(self, spec: ModelSpec, recipe: str) -> ModelWeights:
        if (spec.id, recipe) not in self._weights:
            self._weights[spec.id, recipe] = recipe_weights(
                spec, self._shipped.recipes[recipe].for_model(spec.id), self._isa
            )
        return self._weights[spec.id, recipe]


def recipe_of_label(label: str) -> str:
    """The recipe that a quant label stands for, known or not: `MXFP4` names the experts' type, and means Q8_0."""
    return _RECIPE_OF_LABEL.get(label.upper(), label.upper())


def _has_size(file_bytes: int, weights: ModelWeights) -> bool:
    return file_bytes - weights.total_bytes in HEADER_BYTES


def read_shipped(configs: Path) -> Shipped:
    """Read `catalogue.toml` in the configs folder.

    Raises:
        DamagedFileError: it is missing, not TOML, or says something that it should not.
    """
    path = configs / FILE_NAME
    try:
        return parse_shipped(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"the shipped catalogue cannot be read: {error}", path=str(path)) from error


def parse_shipped(text: str) -> Shipped:
    """Parse and check the catalogue's text. Raises ValueError that names the entry (RecordError, TOMLDecodeError)."""
    data: dict[str, Any] = tomllib.loads(text)
    models = data.get("models")
    if isinstance(models, dict):
        data["models"] = {
            name: {"id": name, **model} if isinstance(model, dict) else model for name, model in models.items()
        }
    shipped = from_jsonable(Shipped, data)
    if shipped.schema != SCHEMA:
        raise RecordError(f"schema: expected {SCHEMA}, found {shipped.schema}")
    for name, recipe in shipped.recipes.items():
        try:
            check_recipe(recipe.for_model(""))
        except ValueError as error:
            raise RecordError(f"recipes.{name}: {error}") from None
    for repo in shipped.repos:
        if repo.model not in shipped.models:
            raise RecordError(f"repos: {repo.repo} holds {repo.model}, which is not in models")
    for file in shipped.files:
        if shipped.model_of(file.repo) is None:
            raise RecordError(f"files: {file.repo} is not in repos")
        if file.recipe not in shipped.recipes or not file.parts:
            raise RecordError(f"files: {file.repo}:{file.quant} has no known recipe or no parts")
    return shipped
