"""Base classes of the sections of a configuration, and of sections whose keys depend on a choice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from actsr_cli.errors import nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


def formed_like(pattern: str, wanted: str) -> AfterValidator:
    """A validator that refuses a text unless it matches `pattern`; its error names what is `wanted`."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {wanted}")
        return text

    return AfterValidator(check)


class Section(BaseModel):
    """A group of keys; an unknown key is an error, and a config is never changed in place.

    pydantic builds a section's validator when it is first used: a command needs few of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, defer_build=True)


def entry_points(*, group: str) -> EntryPoints:
    """The entry points of a group, from the metadata of all installed packages."""
    from importlib.metadata import entry_points  # slow to import, and needed for names that are not built in only

    return entry_points(group=group)


class Choice(Section):
    """One choice of a section with several choices, each with its own keys.

    The key that names the choice is always written, even if defaults are left out: the other keys depend on it.

    Attributes:
        named_by: the key that names the choice.
    """

    named_by: ClassVar[str]

    @property
    def choice(self) -> str:
        """The name of the choice."""
        return str(getattr(self, self.named_by))

    @model_serializer(mode="wrap")
    def _named(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {self.named_by: self.choice, **handler(self)}


C = TypeVar("C", bound=Choice)
R = TypeVar("R", bound=Choice)


class Choices(Generic[C]):
    """The options classes of a section by the name of the choice. They are looked up when a config is read.

    Args:
        section: the section's name.
        base: the base of all its options classes.
        default: the choice if none is named.
        own: the options class of custom choices: a `package.module:Class`, or the name of an entry point.
        group: the entry point group in which installed packages register their choices.

    Attributes:
        by_name: the registered classes.
        made: classes of what a command makes; nobody can choose them, but a config may name them.
    """

    def __init__(
        self, section: str, base: type[C], default: str, *, own: type[C] | None = None, group: str | None = None
    ) -> None:
        self.section = section
        self.named_by = base.named_by
        self.default = default
        self.own = own
        self.group = group
        self.by_name: dict[str, type[C]] = {}
        self.made: dict[str, type[C]] = {}

    def register(self, options: type[R]) -> type[R]:
        """Register an options class; the default of its key `named_by` is the choice's name. A class decorator."""
        self.by_name[options.model_fields[self.named_by].default] = options  # type: ignore[assignment]
        return options

    def register_made(self, options: type[R]) -> type[R]:
        """Register an options class of what a command makes; see `register`."""
        self.made[options.model_fields[self.named_by].default] = options  # type: ignore[assignment]
        return options

    @property
    def classes(self) -> tuple[type[C], ...]:
        """All options classes; the one of custom choices comes last."""
        return (*self.by_name.values(), *(() if self.own is None else (self.own,)))

    def points(self) -> dict[str, str]:
        """Choices of installed packages: `module:Class` by name, without names of built-in choices."""
        return {name: target for name, target in self._points() if name not in self.by_name}

    def hidden(self) -> list[str]:
        """Names of installed packages' choices that a built-in choice has too, so that they cannot be chosen."""
        return [name for name, _ in self._points() if name in self.by_name]

    def _points(self) -> list[tuple[str, str]]:
        return [(point.name, point.value) for point in entry_points(group=self.group)] if self.group else []

    def find(self, name: object) -> type[C]:
        """The options class of a choice.

        Raises:
            ValueError: there is no such choice; the message names the nearest.
        """
        known = (self.by_name | self.made).get(name) if isinstance(name, str) else None
        if known is not None:
            return known
        if self.own is not None and isinstance(name, str) and (":" in name or name in self.points()):
            return self.own
        raise ValueError(f"there is no such {self.section}; {nearest(str(name), [*self.by_name, *self.points()])}")

    def owners(self, key: str) -> list[str]:
        """Names of the built-in choices that have a key."""
        return [name for name, options in self.by_name.items() if key in options.model_fields]

    def named(self, values: object) -> object:
        """A section's values as a mapping; a plain text is the name of the choice."""
        return {self.named_by: values} if isinstance(values, str) else values

    def read(self, values: object) -> object:
        """Convert values of the section to an object of the choice's class; runs before pydantic's own validation."""
        values = self.named(values)
        if not isinstance(values, Mapping):
            return values
        name = values.get(self.named_by, self.default)
        try:
            options = self.find(name)
        except ValueError as error:
            problem = PydanticCustomError("no_such_choice", "{problem}", {"problem": str(error)})
            details = InitErrorDetails(type=problem, loc=(self.named_by,), input=name)
            raise ValidationError.from_exception_data(self.section, [details]) from error
        return options.model_validate(dict(values))
