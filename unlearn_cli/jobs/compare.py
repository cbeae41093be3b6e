"""`compare`: finished checkpoints side by side, or methods run on one checkpoint and then the same table."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from unlearn_cli import methods
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Step
from unlearn_cli.data.splits import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.jobs import requests
from unlearn_cli.jobs.evaluate import Case, measures, open_case, read, selection_of
from unlearn_cli.jobs.forget import SELECTION, unlearn, what_happened
from unlearn_cli.jobs.loading import Loaded, Plain, load
from unlearn_cli.jobs.references import distinct
from unlearn_cli.metrics import registry
from unlearn_cli.metrics.report import Measure, Report, Row


def compare(
    checkpoints: Sequence[str],
    *,
    run_methods: Sequence[str] = (),
    seeds: int = 1,
    references: Sequence[str] = (),
    request: Request = Request(),
    settings: dict[str, Any] | None = None,
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """One table over CHECKPOINTS; each is original, reference or unlearned by its own lineage.

    Args:
        run_methods: instead, run these on the one checkpoint given, each with `seeds` seeds from that of the options
            on, and compare the results (nothing is written).
        references: further models trained without the forget set.
        settings: of the methods, `name` for all that have it or `method.name` for one.
    """
    if run_methods and len(checkpoints) != 1:
        raise UnlearnError("--methods runs on one checkpoint.", "give the original alone, and references with --reference.")
    chosen = {name: methods.get(name) for name in run_methods}
    _check_meant(settings or {}, chosen)
    values = {name: method.parse(_own(method, settings or {})) for name, method in chosen.items()}
    first = load(checkpoints[0], plain, options)
    loaded = [first, *(load(name, plain, options, first) for name in checkpoints[1:])]
    roles = [_role(model) for model in loaded]
    loaded += [load(name, plain, options, first) for name in references]
    roles += ["reference"] * len(references)
    instances = bool(request.instances)
    carves = any("selection" in method.reads_with(values[name], instances) for name, method in chosen.items())
    carved = max([SELECTION if carves else 0.0, *(selection_of(model.record) for model in loaded)])
    case = _case(loaded, roles, request, carved)
    loaded, roles = _each_reference_once(loaded, roles, case)
    for method in chosen.values():
        method.check_scope(len(case.forgotten))

    outputs = [read(model, options) for model in loaded]
    against = [x for x, role in zip(outputs, roles, strict=True) if role == "reference"]
    base = next((x for x, role in zip(outputs, roles, strict=True) if role == "original"), None)
    names = [name for name, metric in registry.known().items() if not metric.is_costly]

    def row(model: Loaded, own, role: str) -> Row:
        others = [x for x in against if x is not own]
        return Row(model.name, role, measures(model, own, case, base, others, options.seed, names))

    rows = [row(model, own, role) for model, own, role in zip(loaded, outputs, roles, strict=True)]
    for name, method in chosen.items():
        wanted = requests.asked(request, first.record, first.folder)[0]
        tried = []
        for seed in range(options.seed, options.seed + seeds):
            model = _forgotten(first, method, values[name], wanted, replace(options, seed=seed), checkpoints[0], plain)
            tried.append(row(model, read(model, options), "unlearned").measures)
        rows.append(Row(name, "unlearned", _mean(tried)))
    return Report(
        command="compare",
        title=f"Forgetting {requests.in_words(case.request)}",
        facts={"data": str(first.folder.root), "checkpoints": len(loaded)} | ({"seeds": seeds} if chosen else {}),
        columns=registry.columns(names, case.is_class),
        rows=sorted(rows, key=lambda r: ("original", "reference", "unlearned").index(r.role)),
        notes=[note for model in loaded for note in model.notes],
    )


def _own(method: methods.Method, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings meant for one method."""
    own = {k: v for k, v in settings.items() if k in method.settings}
    prefix = method.name.replace("-", "_") + "."
    return own | {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}


def _check_meant(settings: dict[str, Any], chosen: dict[str, methods.Method]) -> None:
    """Refuse a setting that none of the chosen methods takes."""
    known = [own for method in chosen.values() for name in method.settings
             for own in (name, f"{method.name.replace('-', '_')}.{name}")]  # fmt: skip
    prefixes = tuple(method.name.replace("-", "_") + "." for method in chosen.values())
    for name in settings:
        if name not in known and not name.startswith(prefixes):  # `lau.x` is for lau itself to refuse
            hint = did_you_mean(name, known) or "`unlearn methods NAME` lists a method's settings."
            raise UnlearnError(f"no method given with --methods has a setting called '{name}'.", hint)


def _role(model: Loaded) -> str:
    """Trained on everything: original; trained without something: reference; otherwise unlearned."""
    last = model.record.last
    if last is None or (last.operation == "train" and last.request is None):
        return "original"
    return "reference" if last.operation == "train" or last.method == "retrain" else "unlearned"


def _case(loaded: list[Loaded], roles: list[str], given: Request, carved: float) -> Case:
    """The one request that all these checkpoints share, on test images that chose nothing for any of them."""
    cases = {}
    for model, role in zip(loaded, roles, strict=True):
        if role != "original" or given.classes or given.instances:
            case = open_case(model, given, carved)
            if case.request is not None:
                cases[case.request.model_dump_json()] = (case, model.name)
    if len(cases) > 1:
        (one, a), (two, b), *_ = cases.values()
        said = f"{a} forgot {requests.in_words(one.request)}, {b} {requests.in_words(two.request)}"
        raise UnlearnError(f"these checkpoints forgot different things: {said}.", "compare those of one request.")
    if not cases:
        raise UnlearnError("none of these checkpoints has forgotten anything.", "pass --class or --instances.")
    return next(iter(cases.values()))[0]


def _each_reference_once(loaded: list[Loaded], roles: list[str], case: Case) -> tuple[list[Loaded], list[str]]:
    """The models and their roles without references that repeat."""
    pairs = list(zip(loaded, roles, strict=True))
    subjects = [model for model, role in pairs if role != "reference"]
    others = {id(model) for model in distinct([m for m, role in pairs if role == "reference"], subjects, case.splits["forget"])}
    kept = [(model, role) for model, role in pairs if role != "reference" or id(model) in others]
    return [model for model, _ in kept], [role for _, role in kept]


def _forgotten(first, method, values, request: Request, options: Options, name: str, plain: Plain) -> Loaded:
    """A fresh copy of the checkpoint after a method, in memory alone."""
    model = load(name, plain, options, first)
    run, tensors, carved = unlearn(model, method, values, request, options)
    step = Step(operation="forget", method=method.name, settings=values, selection_fraction=carved, **what_happened(run))
    checkpoint = replace(model.checkpoint, tensors=tensors, digest=store.digest(tensors))
    return replace(model, checkpoint=checkpoint, record=model.record.after(step))


def _mean(tried: list[dict[str, Measure]]) -> dict[str, Measure]:
    """Mean over seeds, the sample standard deviation beside it."""
    if len(tried) == 1:
        return tried[0]
    means = {}
    for name in tried[0]:
        values = [t[name].value for t in tried]
        if any(value is None for value in values):
            means[name] = next(t[name] for t in tried if t[name].value is None)
            continue
        mean = sum(values) / len(values)
        spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        means[name] = Measure(mean, detail={"seeds": len(values), "std": spread})
    return means
