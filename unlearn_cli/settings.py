"""Settings declared by a signature: keyword-only parameters with a help text and a range, parsed from text or YAML.

A declaration also says when a setting acts, so that one that could not is refused and never recorded as used.
"""

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.kinds import IN_WORDS, Kind

LARGEST = 1e30
"""Of any setting: beyond it products leave float32."""


@dataclass(frozen=True)
class Rules:
    """What a declaration says beside help and range; the arguments of `setting`."""

    only: Kind | None = None
    when: dict[str, Any] = field(default_factory=dict)
    classes: Any = None
    images: Any = None
    computed: str = ""
    none: str = ""
    opens: dict[Any, str] = field(default_factory=dict)
    afterwards: dict[Any, Callable] = field(default_factory=dict)


def setting(
    help: str,
    *,
    only: Kind | None = None,
    when: dict[str, Any] | None = None,
    classes: Any = None,
    images: Any = None,
    computed: str = "",
    none: str = "",
    opens: dict[Any, str] | None = None,
    afterwards: dict[Any, Callable] | None = None,
    **limits: Any,
) -> FieldInfo:
    """The meaning of a setting, its range (ge, gt, le, lt) and when it acts, for the annotation of a parameter.

    Args:
        only: the kind of request for which it acts; for both where that is left out.
        when: the values of other settings, one each or a tuple of them, with which it acts.
        classes, images: the default for requests of that kind, where it is not the signature's.
        computed: what a default of None stands for: the method finds the value, and tells it by `run.settle`.
        none: what None means where it is a value like any other.
        opens: the values that let a method read one more split, and which.
        afterwards: the values after which something is done to the model at the end, a function of (run, model, splits).
    """
    rules = Rules(only, when or {}, classes, images, computed, none, opens or {}, afterwards or {})
    return Field(description=help, json_schema_extra={"rules": rules}, **limits)


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
    def rules(self) -> Rules:
        return (self._field.json_schema_extra or {}).get("rules", Rules())

    @property
    def limits(self) -> dict[str, float]:
        """The ends of its range, by ge, gt, le and lt."""
        return {word: value for part in self._field.metadata for word in ("ge", "gt", "le", "lt")
                if (value := getattr(part, word, None)) is not None}  # fmt: skip

    @property
    def plain(self) -> Any:
        """Its type, but for None."""
        plain = get_args(self.type)[0]
        if isinstance(plain, types.UnionType):
            plain = next(part for part in get_args(plain) if part is not type(None))
        return plain

    @property
    def range(self) -> str:
        """The allowed values in words: `>= 0 and <= 1`, or the choices."""
        plain, limits = self.plain, self.limits
        if get_origin(plain) is Literal:
            return " | ".join(map(str, get_args(plain)))
        low = f">= {limits['ge']}" if "ge" in limits else f"> {limits['gt']}" if "gt" in limits else ""
        high = f"<= {limits['le']}" if "le" in limits else f"< {limits['lt']}" if "lt" in limits else ""
        words = {bool: "true | false", int: "a whole number", float: "a number"}
        kind = words.get(plain, getattr(plain, "__name__", str(plain)))
        return " ".join(part for part in (kind, " and ".join(part for part in (low, high) if part)) if part)

    @property
    def meaning(self) -> str:
        """Its help, and what else the declaration says of it in words."""
        rules, more = self.rules, []
        if rules.only:
            more.append(f"only for {IN_WORDS[rules.only]}")
        more += [f"only {condition}" for condition in self.conditions]
        if rules.none:
            more.append(f"none: {rules.none}")
        return "; ".join([self.help, *more])

    @property
    def conditions(self) -> list[str]:
        """What other settings have to be for it to act: `with optimizer=sgd`, or `without blocks`."""
        return [f"without {name}" if values is None else f"with {name}={' or '.join(map(typed, _several(values)))}"
                for name, values in self.rules.when.items()]  # fmt: skip

    def default_for(self, kind: Kind | None) -> Any:
        """Its default for a request of a kind."""
        own = getattr(self.rules, kind) if kind else None
        return self.default if own is None else own

    def default_in_words(self, code: Callable[[str], str] = str) -> str:
        """Its default as it may be typed, or what takes its place; both where the kinds of requests differ.

        Args:
            code: how what may be typed is set apart.
        """

        def words(kind: Kind) -> str:
            value = self.default_for(kind)
            return self.rules.computed if value is None and self.rules.computed else code(typed(value))

        if self.rules.only:
            return words(self.rules.only)
        classes, images = words("classes"), words("images")
        return classes if classes == images else f"{classes}; for {IN_WORDS['images']} {images}"

    def idle(self, values: dict[str, Any], kind: Kind | None, owner: str) -> str:
        """Why it does nothing for a request of a kind and beside these values; empty where it acts."""
        if kind and self.rules.only not in (None, kind):
            only, asked = IN_WORDS[self.rules.only], IN_WORDS[kind]
            return f"{owner}'s setting {self.name} acts for {only} only; this request names {asked}."
        for (name, wanted), condition in zip(self.rules.when.items(), self.conditions, strict=True):
            if values[name] not in _several(wanted):
                return f"{owner}'s setting {self.name} acts {condition} only; here {name} is {typed(values[name])}."
        return ""

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


def typed(value: Any) -> str:
    """A value as it may be typed after `--set name=`."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()


def _several(values: Any) -> tuple:
    return values if isinstance(values, tuple) else (values,)


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


def complete(known: dict[str, Setting], given: dict[str, Any], owner: str, kind: Kind | None = None) -> dict[str, Any]:
    """Every setting that acts for a request of a kind, with its value: the given ones checked, the others at their defaults.

    Raises:
        UnlearnError: as `parse` does, or a given setting could do nothing.
    """
    values = _filled(known, given, owner, kind)
    idle = {name: why for name, setting in known.items() if (why := setting.idle(values, kind, owner))}
    for name in given:
        if name in idle:
            raise UnlearnError(idle[name], "leave it out.")
    return {name: value for name, value in values.items() if name not in idle}


def acting(known: dict[str, Setting], given: dict[str, Any], owner: str, kind: Kind | None = None) -> dict[str, Any]:
    """Those of the given settings that act for a request of a kind."""
    values = _filled(known, given, owner, kind)
    return {name: value for name, value in given.items() if not known[name].idle(values, kind, owner)}


def _filled(known: dict[str, Setting], given: dict[str, Any], owner: str, kind: Kind | None) -> dict[str, Any]:
    checked = {name: value for name, value in parse(known, given, owner).items() if value is not None or known[name].rules.none}
    return {name: setting.default_for(kind) for name, setting in known.items()} | checked


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
