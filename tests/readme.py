"""Rewrite the parts of README.md that the code knows better: `python -m tests.readme`.

A part lies between `<!-- generated: name -->` and `<!-- end -->`; `test_docs.py` fails when one is out of date.
"""

import re
from importlib import import_module
from inspect import getdoc
from pathlib import Path

import typer

from tests import results
from unlearn_cli import methods, models
from unlearn_cli.cli.app import app
from unlearn_cli.jobs.relearn import ATTACKS, settings_of
from unlearn_cli.metrics import registry
from unlearn_cli.settings import Setting, typed

README = Path(__file__).parents[1] / "README.md"
PART = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHARED_BY = 3
"""Options that at least so many commands have are listed once, below the commands."""


def commands() -> dict:
    """Every command, as Typer parses it."""
    return typer.main.get_command(app).commands


def options(command) -> list:
    return [p for p in command.params if p.param_type_name == "option"]


def options_part() -> str:
    """A table of arguments and own options per command, then one of the options that they share."""
    count, shared = {}, {}
    for command in commands().values():
        for option in options(command):
            key = (option.opts[0], option.help)
            count[key] = count.get(key, 0) + 1
            shared[key] = option
    shared = {key: option for key, option in shared.items() if count[key] >= SHARED_BY}
    text = []
    for name, command in commands().items():
        own = [p for p in command.params if p.param_type_name == "argument" or (p.opts[0], p.help) not in shared]
        also = [f"`{p.opts[0]}`" for p in options(command) if (p.opts[0], p.help) in shared]
        text += [f"### unlearn {name}", "", first_paragraph(command.help), "", *parameters(own), ""]
        text += [f"And the shared {', '.join(also)}.", ""] if also else []
    return "\n".join([*text, "### Shared options", "", *parameters(shared.values()), ""])


def first_paragraph(text: str) -> str:
    """The help of a command; a path typed as CHECKPOINT stays as it is."""
    paragraph, _, example = text.partition("\n\n")
    example = example.removeprefix("Example: ").strip()
    return paragraph.replace("\n", " ") + (f"\n\n```bash\n{example}\n```" if example else "")


def parameters(params) -> list[str]:
    return table(["option", "meaning", "default"], [[spelled(p), p.help, default(p)] for p in params])


def spelled(p) -> str:
    if p.param_type_name == "argument":
        return f"`{p.metavar}`"
    value = "" if getattr(p, "is_flag", False) else " " + (p.metavar or "VALUE")
    return ", ".join(f"`{name}{value if name == p.opts[0] else ''}`" for name in p.opts)


def default(p) -> str:
    if p.required:
        return "required"
    return "" if p.default is None or p.default is False else f"`{p.default}`"


def methods_part() -> str:
    """What each method does, then the settings of each."""
    found = [methods.get(name) for name in methods.names()]
    rows = []
    for m in found:
        opened = [f"{split} with `{name}`" for name, split in m.opens.items()]
        opened += [f"{split} for listed images" for split in m.instances_read]
        reads = ", ".join([*m.reads, *opened]) or "no images"
        rows.append([f"[`{m.name}`](#{m.name}-settings)", m.summary, ", ".join(m.scope), reads, m.paper])
    text = table(["method", "what happens to the weights", "forgets", "reads", "source"], rows)
    for m in found:
        text += ["", f"#### {m.name} settings", "", *settings_table(m.settings)]
    return "\n".join(text) + "\n"


def settings_table(settings: dict[str, Setting]) -> list[str]:
    if not settings:
        return ["None."]
    rows = [[f"`{s.name}`", s.default_in_words(code), s.range.replace("|", "or"), s.meaning] for s in settings.values()]
    return table(["setting", "default", "allowed", "meaning"], rows)


def attacks_part() -> str:
    """The settings of every attack of `relearn`."""
    text = []
    for attack in ATTACKS:
        text += [f"`--attack {attack}`", "", *settings_table(settings_of(attack)), ""]
    return "\n".join(text[:-1]) + "\n"


def code(text: str) -> str:
    return f"`{text}`"


def architectures_part() -> str:
    """The architectures with their own settings, then the recipe of each."""
    names = models.names()
    sizes = {name: sum(p.numel() for p in models.build(name, 10).parameters()) for name in names}
    rows = []
    for name in names:
        about = getdoc(import_module(f"{models.__name__}.{name}")).partition("\n")[0]
        own = "; ".join(f"`{s.name}={s.default}`: {s.help}" for s in models.settings(name).values())
        rows.append([f"`{name}`", about, own, f"{sizes[name] / 1e6:.2f} M"])
    text = table(["architecture", "what it is", "settings", "parameters for 10 classes"], rows)
    text += ["", "The recipe that `train` follows, where `--set` says nothing else:", ""]
    recipes = [models.recipe(name) for name in names]
    rows = [
        [f"`{s.name}`", *(code(typed(recipe.acting[s.name])) if s.name in recipe.acting else "" for recipe in recipes),
         s.range.replace("|", "or"), s.meaning]
        for s in models.recipe_settings().values()
    ]
    return "\n".join(text + table(["setting", *names, "allowed", "meaning"], rows)) + "\n"


def metrics_part() -> str:
    """Every metric with its unit, its good direction for classes and for listed images, and its source."""
    rows = []
    for m in registry.known().values():
        images = "not defined" if "class" in m.needs else direction(m.direction("images"))
        needs = ", ".join(need for need in m.needs if need not in ("class", "images", "relearn"))
        classes = "not defined" if "images" in m.needs else direction(m.better)
        rows.append([f"`{m.name}`", m.help, m.unit, classes, images, needs, m.source])
    head = ["metric", "meaning", "unit", "better, for classes", "better, for images", "needs", "source"]
    return "\n".join(table(head, rows)) + "\n"


def direction(word: str) -> str:
    return "near the reference's" if word == "reference" else word


def table(head: list[str], rows) -> list[str]:
    lines = [
        head,
        ["---"] * len(head),
        *([str(cell).replace("|", "\\|").replace("<class>", "CLASS") for cell in row] for row in rows),
    ]
    return ["| " + " | ".join(line) + " |" for line in lines]


def every_class_part() -> str:
    return "\n".join(table(*results.every_class())) + "\n"


def behaviour_part() -> str:
    text = []
    for network, request, title in results.behaviours():
        text += [f"**{title}**", "", *table(*results.behaviour(network, request)), ""]
    return "\n".join(text[:-1]) + "\n"


def other_networks_part() -> str:
    text = []
    for network, differs, found in results.other_networks():
        text += [f"**{network}**", "", f"What differs from the papers: {differs}.", "", *table(*found), ""]
    return "\n".join(text[:-1]) + "\n"


def verdicts_part() -> str:
    return "\n".join(table(*results.verdicts())) + "\n"


PARTS = {
    "every_class": every_class_part,
    "behaviour": behaviour_part,
    "other_networks": other_networks_part,
    "verdicts": verdicts_part,
    "options": options_part,
    "methods": methods_part,
    "architectures": architectures_part,
    "metrics": metrics_part,
    "attacks": attacks_part,
}


def renewed(text: str) -> str:
    """The README with every generated part made anew."""
    return PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
