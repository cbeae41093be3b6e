"""--config: a YAML file whose keys are a command's long option names; what is typed wins over it."""

from typing import Any

import typer

from unlearn_cli.errors import UnlearnError, did_you_mean


def eager_config(context: typer.Context, path: str | None) -> str | None:
    """Make the file's values the defaults of the command's options, before the others are read."""
    if path is None or context.resilient_parsing:
        return path
    options = {p.opts[0].lstrip("-"): p for p in context.command.params if p.param_type_name == "option"}
    known = [name for name in options if name not in ("config", "help")]
    defaults = dict(context.default_map or {})
    for key, value in _read(path).items():
        name = str(key).replace("_", "-")
        if name not in known:
            hint = did_you_mean(name, known) or f"known: {', '.join(known)}."
            raise UnlearnError(f"{path} sets '{key}', which `unlearn {context.command.name}` does not have.", hint)
        defaults[options[name].name] = _as_option(value, options[name], path, key)
    context.default_map = defaults
    return path


def _read(path: str) -> dict[str, Any]:
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise UnlearnError(f"{path}: {reason.lower()}.", "give a YAML file.") from None
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise UnlearnError(f"{path} is not YAML ({first}).", "write it as `name: value` lines.") from None
    if not isinstance(document, dict):
        raise UnlearnError(f"{path} holds no mapping.", "write it as `name: value` lines.")
    return document


def _as_option(value: Any, option, path: str, key: str) -> Any:
    """A YAML value as the command line would give it; `set` may be a mapping, a repeating option one value or a list."""
    if isinstance(value, dict):
        if key != "set":
            raise UnlearnError(f"{path}: {key} cannot be a mapping.", "only `set` is one.")
        return [f"{name}={_text(v)}" for name, v in value.items()]
    if value is None:
        return None
    if option.multiple:
        return [_text(v) for v in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        raise UnlearnError(f"{path}: {key} takes one value, not a list.", "write one value.")
    return value if isinstance(value, bool) else _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "none" if value is None else str(value)
