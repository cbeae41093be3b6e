"""The model card of an unlearned checkpoint: what was forgotten, how, from what, and what that is worth."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn_cli.checkpoints.record import Record, RequestRecord, Step
from unlearn_cli.errors import one_line

KEPT = ("license", "license_name", "license_link", "base_model", "library_name")
"""What a new card takes over from the old one."""

LARGEST = 1 << 20
"""Bytes of a card that are read."""

NOT_A_GUARANTEE = (
    "A verdict is evidence, not a guarantee: it says that what was measured does not show the forgotten images, on the data "
    "that it was measured with. It does not say that no other measurement could."
)


def front_matter(path: Path) -> dict[str, Any]:
    """What a card says between its first lines `---`, as far as a new one takes it over; nothing where that cannot be read."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")[:LARGEST]
        found = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", text, re.DOTALL)
        told = yaml.safe_load(found[1]) if found else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return {}
    told = told if isinstance(told, Mapping) else {}
    return {key: told[key] for key in KEPT if isinstance(told.get(key), str)}


def text(record: Record, config: Mapping[str, Any], origin: str, before: Mapping[str, Any]) -> str:
    """The card of a checkpoint.

    Args:
        config: of its library.
        origin: what it was made from, as `hf://ORGANISATION/NAME` or a folder's name.
        before: what the card of that says (`front_matter`).
    """
    last = record.lineage[-1]
    asked = [step for step in record.lineage if step.request]
    lines = [
        *_front(record, config, origin, before),
        f"# {_words(origin.rpartition('/')[2])}, unlearned",
        "",
        f"This checkpoint was made from `{_code(origin)}` by unlearning. It was asked to forget:",
        "",
        *(f"- {_request(step.request)}" for step in asked),
        "",
        f"Architecture: `{_code(record.architecture)}`, {len(record.classes):,} classes.",
        "",
        "## How",
        "",
        f"Method `{_code(last.method)}`, seed {last.seed}, {last.seconds:.1f} seconds on {_words(last.device)} in "
        f"{_words(last.precision)}; it read {_read(last)}.",
        "",
        *_settings(last),
        "## Where it comes from",
        "",
        "| step | what | method | asked | made from | digest of that |",
        "|---|---|---|---|---|---|",
        *(_row(number, step) for number, step in enumerate(record.lineage, 1)),
        "",
        "The whole record lies in `model.safetensors`, under the metadata key `unlearn`; `unlearn inspect` shows it. Digests are "
        "SHA-256 over all tensors.",
        "",
        "## What it is worth",
        "",
        "`unlearn evaluate` judges it: whether what was forgotten still shows in its outputs, its features, its losses, or comes "
        "back sooner than in a model that never knew it.",
        "",
        NOT_A_GUARANTEE,
        "",
    ]
    return "\n".join(lines)


def _front(record: Record, config: Mapping[str, Any], origin: str, before: Mapping[str, Any]) -> list[str]:
    """YAML that model hubs read: what it was made from first of all, the licence as it came."""
    import yaml

    own = re.sub(r"@.*", "", origin.removeprefix("hf://"))
    base = own if origin.startswith("hf://") or len(record.lineage) < 2 else before.get("base_model", own)
    known = {key: before[key] for key in KEPT if key.startswith("license") and key in before}
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base):
        known["base_model"] = base
    wraps = any("TimmWrapper" in str(one) for one in config.get("architectures") or ())
    library = "transformers" if wraps else record.architecture.partition("/")[0]
    known |= {"library_name": before.get("library_name", library), "pipeline_tag": "image-classification",
              "tags": ["unlearning", "image-classification"]}  # fmt: skip
    return ["---", yaml.safe_dump(known, sort_keys=False, allow_unicode=True).rstrip(), "---", ""]


def _request(request: RequestRecord) -> str:
    if request.classes:
        word = "class" if len(request.classes) == 1 else "classes"
        return f"the {word} {', '.join(f'`{_code(name)}`' for name in request.classes)}"
    count = request.instances_count
    return f"{count:,} image{'' if count == 1 else 's'}; the digest of their list is `{request.instances_digest}`"


def _settings(step: Step) -> list[str]:
    if not step.settings:
        return []
    return ["| setting | value |", "|---|---|", *(f"| `{_code(k)}` | {_cell(v)} |" for k, v in step.settings.items()), ""]


def _row(number: int, step: Step) -> str:
    asked = _request(step.request) if step.request else ""
    source = f"`{_code(step.source.name)}`" if step.source else ""
    digest = f"`{step.source.digest}`" if step.source else ""
    return f"| {number} | {step.operation} | `{_code(step.method)}` | {asked} | {source} | {digest} |"


def _read(step: Step) -> str:
    return ", ".join(f"{count:,} {_words(name)} images" for name, count in step.images_read.items()) or "no images"


def _cell(value: object) -> str:
    return _words(str(value))


def _words(text: str) -> str:
    """Foreign words as plain text: nothing in them starts markup, a link or a table's next cell."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", one_line(text))


def _code(text: str) -> str:
    """Foreign words between backticks."""
    return one_line(text).replace("`", "'").replace("|", "\\|")
