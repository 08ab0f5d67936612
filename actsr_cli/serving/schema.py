"""What goes in and out of the service, as the OpenAPI description shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    Strict,
    StrictInt,
    StrictStr,
    Tag,
)

from actsr_cli.serving.limits import LONGEST_HISTORY, LONGEST_LIST, MOST_CANDIDATES, MOST_HISTORIES


def _text(value: str) -> str:
    """Check that a text can be written: JSON may hold halves of characters."""
    if not value.isprintable():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("Input should be a valid text of Unicode") from None
    return value


Text = Annotated[StrictStr, AfterValidator(_text)]
RawId = Text | StrictInt
Time = StrictInt | Annotated[FiniteFloat, Strict()] | Text
Items = Annotated[list[RawId], Field(max_length=LONGEST_HISTORY)]
Candidates = Annotated[list[RawId], Field(max_length=MOST_CANDIDATES)]
Length = Annotated[StrictInt, Field(ge=1, le=LONGEST_LIST, description="The most items of a list.")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class History(_Request):
    """A history with more than its items."""

    items: Items = Field(description="Raw item ids, oldest first.")
    timestamps: list[Time] | None = Field(
        None,
        max_length=LONGEST_HISTORY,
        description="The time of each item: seconds since 1970, or ISO dates. TiSASRec needs them.",
    )
    user: RawId | None = Field(None, description="The user, for a model that learns about users.")


def _kind(value: Any) -> str:
    return "ids" if isinstance(value, list) else "object"


AnyHistory = Annotated[Annotated[Items, Tag("ids")] | Annotated[History, Tag("object")], Discriminator(_kind)]


class _Choice(_Request):
    k: Length = 10
    seen: Literal["exclude", "rank"] = Field("exclude", description="Whether lists leave out items of the history.")
    only: Candidates | None = Field(None, description="The items that lists may contain; null allows all.")
    without: Candidates = Field(default_factory=list, description="Items that lists must not contain.")


class ForOne(_Choice):
    """A list for one history."""

    history: AnyHistory = Field(description="Raw item ids, oldest first, or an object.")


class ForMany(_Choice):
    """A list for each of several histories."""

    histories: list[AnyHistory] = Field(min_length=1, max_length=MOST_HISTORIES)


def _how_many(value: Any) -> str:
    return "many" if isinstance(value, ForMany) or (isinstance(value, dict) and "histories" in value) else "one"


RecommendRequest = Annotated[Annotated[ForOne, Tag("one")] | Annotated[ForMany, Tag("many")], Discriminator(_how_many)]
TAGS = {"ids", "object", "one", "many", "str", "int", "float", "function-after[_text(), str]"}
"""Steps of the place of an error that name a choice of this schema and no part of a request."""


class ExplainRequest(_Request):
    """What is explained."""

    history: AnyHistory = Field(description="Raw item ids, oldest first, or an object; at least one is known.")
    item: RawId | None = Field(None, description="The recommended item; null takes the first of the list.")


class Scored(BaseModel):
    """An item of a list."""

    item: str
    title: str = Field(description="Empty if unknown.")
    score: float


class OneList(BaseModel):
    """The list of one history, best first."""

    user: str = Field(description="The user that the request names, or empty.")
    by: Literal["model", "popularity"] = Field(description="popularity: the model knows no item of the history.")
    unknown: list[str] = Field(description="Items of the history that the model does not know and did not use.")
    items: list[Scored]


class Recommended(BaseModel):
    """A list for each history, in their order."""

    run: str = Field(description="The run whose model has answered.")
    unknown_candidates: list[str] = Field(description="Items of `only` and `without` that the model does not know.")
    lists: list[OneList]


class Similar(BaseModel):
    """The most similar items, best first."""

    run: str
    item: str
    items: list[Scored]


class FoundItem(BaseModel):
    """An item of the catalogue."""

    item: str
    title: str
    count: int = Field(description="Interactions in training.")


class Found(BaseModel):
    """The items that a search finds, most popular first; an item whose id is the query comes first."""

    run: str
    matches: int = Field(description="Number of all items that match; `items` are the first.")
    items: list[FoundItem]


class Contribution(BaseModel):
    """What one item of a history contributes to a recommendation."""

    item: str
    title: str
    attention: float | None = Field(description="Its share of the last layer's attention, mean over heads.")
    contribution: float | None = Field(
        description="By how much the log-probability of the target falls without the item; null for a single item."
    )
    gradients: float | None = Field(description="Its share by integrated gradients; null where there are none.")


class Explained(BaseModel):
    """An explanation of a recommendation; `items` are those that the model reads, oldest first."""

    run: str
    target: Scored = Field(description="The recommended item; its score is its log-probability among all items.")
    rank: float
    probability: float
    unknown: list[str]
    items: list[Contribution]


class Alive(BaseModel):
    """The process lives."""

    alive: Literal[True] = True


class Ready(BaseModel):
    """The model is loaded."""

    run: str
    items: int = Field(description="Number of items that the model knows.")
    needs_timestamps: bool = Field(description="Whether histories need timestamps.")


class Problem(BaseModel):
    """What is wrong, where, and what to do."""

    what: str
    where: str
    what_to_do: str


class Failure(BaseModel):
    """The body of every answer with an error."""

    error: Problem
