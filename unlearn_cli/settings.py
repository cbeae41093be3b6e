"""Settings declared by a signature: keyword-only parameters with a help text and a range, parsed from text or YAML."""

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from unlearn_cli.errors import UnlearnError, did_you_mean

LARGEST = 1e30
"""Of any setting: beyond it products leave float32."""


def setting(help: str, **limits: Any) -> FieldInfo:
    """The meaning of a setting and its range (ge, gt, le, lt), for the annotation of a parameter."""
    return Field(description=help, **limits)


@dataclass(frozen=True)
class Setting:
    """A setting as declared: name, annotated type, default."""

    name: str
    type: Any
    default: Any

    @cached_property
    def _field(self) -> FieldInfo:
        return next(part for part in get_args(self.type)[1:] if isinstance(part, FieldInfo))

    @property
    def help(self) -> str:
        return self._field.description or ""

    @property
    def range(self) -> str:
        """The allowed values in words: `>= 0 and <= 1`, or the choices."""
        plain = get_args(self.type)[0]
        if isinstance(plain, types.UnionType):
            plain = next(part for part in get_args(plain) if part is not type(None))
        if get_origin(plain) is Literal:
            return " | ".join(map(str, get_args(plain)))
        limits = {}
        for part in self._field.metadata:
            limits |= {k: getattr(part, k) for k in ("ge", "gt", "le", "lt") if getattr(part, k, None) is not None}
        low = f">= {limits['ge']}" if "ge" in limits else f"> {limits['gt']}" if "gt" in limits else ""
        high = f"<= {limits['le']}" if "le" in limits else f"< {limits['lt']}" if "lt" in limits else ""
        words = {bool: "true | false", int: "a whole number", float: "a number"}
        kind = words.get(plain, getattr(plain, "__name__", str(plain)))
        return " ".join(part for part in (kind, " and ".join(part for part in (low, high) if part)) if part)

    def parse(self, value: Any) -> Any:
        """The value, converted from text or YAML and checked against type and range."""
        adapter = TypeAdapter(self.type)
        try:
            optional = type(None) in get_args(get_args(self.type)[0])
            if optional and isinstance(value, str) and value.lower() in ("none", "null"):
                value = None
            parsed = adapter.validate_strings(value) if isinstance(value, str) else adapter.validate_python(value)
        except ValidationError:
            default = "" if self.default is inspect.Parameter.empty else f" (default {self.default})"
            raise UnlearnError(f"{self.name}={value} is not allowed.", f"allowed: {self.range}{default}.") from None
        if isinstance(parsed, float) and parsed - parsed != 0:
            raise UnlearnError(f"{self.name}={value} is not finite.", f"allowed: {self.range}.")
        if isinstance(parsed, float) and abs(parsed) > LARGEST:
            raise UnlearnError(f"{self.name}={value} is too large to compute with.", f"allowed: {self.range}, up to {LARGEST:g}.")
        return parsed


def declared(function: Callable) -> dict[str, Setting]:
    """The settings of a function: its keyword-only parameters, in the order of its signature."""
    hints = get_type_hints(function, include_extras=True)
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {p.name: Setting(p.name, hints[p.name], p.default) for p in keywords}


def parse(known: dict[str, Setting], given: dict[str, Any], owner: str) -> dict[str, Any]:
    """The given settings, checked.

    Raises:
        UnlearnError: OWNER has no such setting, or the value is out of its range.
    """
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or (f"its settings: {', '.join(known)}." if known else "it has none.")
            raise UnlearnError(f"{owner} has no setting called '{name}'.", hint)
    return {name: known[name].parse(value) for name, value in given.items()}


def from_text(texts: list[str] | tuple[str, ...]) -> dict[str, str]:
    """`name=value` texts, as --set takes them, as a mapping."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UnlearnError(f"'{text}' is no setting.", "write it as --set name=value.")
        name, value = name.strip().replace("-", "_"), value.strip()
        if name in pairs:
            raise UnlearnError(f"the setting '{name}' is given twice: {pairs[name]} and {value}.", "give it once.")
        pairs[name] = value
    return pairs
