"""--config: a YAML file whose keys are a command's long option names; what is typed wins over it.

Every value is the text in the file, as the command line would have it: `03` is no number, `no` and `null` are names. Each
option converts its own.
"""

from typing import Any

import typer

from unlearn_cli.errors import UnlearnError, did_you_mean, one_line

FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
KINDS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


def eager_config(context: typer.Context, path: str | None) -> str | None:
    """Make the file's values the defaults of the command's options, before the others are read."""
    if path is None or context.resilient_parsing:
        return path
    options = {p.opts[0].lstrip("-"): p for p in context.command.params if p.param_type_name == "option"}
    known = [name for name in options if name not in ("config", "help")]
    defaults = dict(context.default_map or {})
    for key, node in entries(document(path), path).items():
        name = key.replace("_", "-")
        if name not in known:
            hint = did_you_mean(name, known) or f"known: {', '.join(known)}."
            raise UnlearnError(f"{path} sets '{one_line(key)}', which `unlearn {context.command.name}` does not have.", hint)
        defaults[options[name].name] = as_option(node, options[name], path, key)
    context.default_map = defaults
    return path


def document(path: str):
    """The mapping in the file, as YAML nodes whose scalars are text.

    Raises:
        UnlearnError: there is no such file, it is not YAML, or it holds anything but one mapping.
    """
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            root = yaml.compose(file, Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise UnlearnError(f"{path}: {reason.lower()}.", "give a YAML file.") from None
    except (yaml.YAMLError, RecursionError) as error:
        first = (str(error) or "too deep").splitlines()[0]
        raise UnlearnError(f"{path} is not YAML of one document ({first}).", "write it as `name: value` lines.") from None
    if root is not None:
        check_tag(root, path)
    if root is None or root.id != "mapping":
        raise UnlearnError(f"{path} holds no mapping.", "write it as `name: value` lines.")
    return root


def entries(mapping, path: str) -> dict[str, Any]:
    """The nodes of a mapping by key; `test_fraction` and `test-fraction` are one key.

    Raises:
        UnlearnError: a key is given twice, or is no text.
    """
    found, seen = {}, {}
    for key_node, node in mapping.value:
        key = text(key_node, path, "a key")
        if key == "<<":
            raise UnlearnError(f"{path} merges another mapping (<<), which is not read.", "write its lines out.")
        same = key.replace("-", "_")
        if same in seen:
            also = f" (first as '{one_line(seen[same])}')" if seen[same] != key else ""
            raise UnlearnError(f"{path} sets '{one_line(key)}' twice{also}.", "keep one; several values are a list: [one, two].")
        seen[same], found[key] = key, node
    return found


def as_option(node, option, path: str, key: str) -> Any:
    """A value as the command line would give it; `set` may be a mapping, a repeating option one value or a list."""
    check_tag(node, path)
    if node.id == "mapping":
        if key != "set":
            raise UnlearnError(f"{path}: {key} cannot be a mapping.", "only `set` is one.")
        if not node.value:
            raise empty(path, key)
        return [f"{name}={text(value, path, f'{key}: {name}')}" for name, value in entries(node, path).items()]
    if node.id == "sequence":
        if not option.multiple:
            raise UnlearnError(f"{path}: {key} takes one value, not a list.", "write one value.")
        if not node.value:
            raise empty(path, key)
        return [text(item, path, key) for item in node.value]
    value = text(node, path, key)
    if getattr(option, "is_flag", False):
        if value.lower() not in FLAGS:
            raise UnlearnError(f"{path}: {key} is '{one_line(value)}', and can only be true or false.", "write true or false.")
        return FLAGS[value.lower()]
    return [value] if option.multiple else value


def text(node, path: str, key: str) -> str:
    """The text of a scalar, which must have some."""
    check_tag(node, path)
    if node.id != "scalar":
        raise UnlearnError(f"{path}: {key} holds a list or a mapping where one value belongs.", "write one value.")
    if not node.value.strip():
        raise empty(path, key)
    return node.value


def empty(path: str, key: str) -> UnlearnError:
    return UnlearnError(f"{path}: {key} has no value.", "give it one, or take the line out: an empty value asks for nothing.")


def check_tag(node, path: str) -> None:
    """Refuse what says of itself that it is something else than text, a list or a mapping."""
    if node.tag not in KINDS:
        raise UnlearnError(f"{path} is not YAML of plain text: it has the tag {one_line(node.tag)}.", "leave the tag out.")
