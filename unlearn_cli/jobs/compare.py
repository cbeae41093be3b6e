"""`compare`: finished checkpoints side by side, or methods run on one checkpoint and then the same table."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from unlearn_cli.cases import attacks, requests
from unlearn_cli.cases.case import Asked, Case, open_case, selection_of
from unlearn_cli.cases.evidence import owners
from unlearn_cli.cases.loading import Loaded, Plain, forgotten_by, load, original_of
from unlearn_cli.cases.measuring import measures, read
from unlearn_cli.cases.references import distinct
from unlearn_cli.checkpoints import store
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import comparison, trials
from unlearn_cli.metrics import policy, ranking, registry, requirements, standing, verdict
from unlearn_cli.metrics.registry import Outputs
from unlearn_cli.metrics.report import Report, Row, Standing

ROLES = ("original", "reference", "unlearned")
"""In the order of the table."""


def compare(
    checkpoints: Sequence[str],
    *,
    run_methods: Sequence[str] = (),
    seeds: int = 1,
    fresh: bool = False,
    references: Sequence[str] = (),
    verify: str | None = None,
    sort: str | None = None,
    all_metrics: bool = False,
    request: Request = Request(),
    lists: Sequence[Request] = (),
    evidence: str | None = None,
    settings: dict[str, Any] | None = None,
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """One table over CHECKPOINTS; each is original, reference or unlearned by its own lineage.

    Args:
        run_methods: instead, run these on the one checkpoint given, each with `seeds` seeds from that of the options
            on, and compare the results. Each run is kept in the cache folder, so that the next comparison goes on.
        fresh: run them again, even where they are kept.
        references: further models trained without the forget set.
        verify: "full" or "output": judge each row by the built-in policy; a reference by the other references. The exit
            code stays 0: a table is no gate.
        sort: the metric that orders the unlearned rows, best first.
        all_metrics: a table of all metrics, not of those that matter most.
        lists: lists that the checkpoints forgot and of which their records keep the digest alone.
        evidence: what was kept when one of them forgot; by default the files beside them.
        settings: of the methods, `name` for all that have it or `method.name` for one.
    """
    if run_methods and len(checkpoints) != 1:
        raise UnlearnError("--methods runs on one checkpoint.", "give the original alone, and references with --reference.")
    policy.check(verify)
    if sort:
        requirements.metric_called(sort)
    trials.check(run_methods, settings or {})
    first, loaded, roles = _open(checkpoints, references, bool(verify), plain, options, bool(run_methods), request.classes,
                                 evidence)  # fmt: skip
    aside = max(selection_of(model.record) for model in loaded)
    asked = _case(loaded, roles, request, lists, aside)
    case = asked.case
    tried = trials.trials(run_methods, settings or {}, case.kind)
    carved = max([aside, *(trial.carves(case.kind) for trial in tried)])
    if carved > aside:
        asked = _case(loaded, roles, request, lists, carved)
        case = asked.case
    loaded, roles = _each_reference_once(loaded, roles, asked)
    for trial in tried:
        trial.method.check_scope(case.target.scope)
    names = _metrics(verify, case)
    given = {role: role in roles for role in ROLES}
    column = comparison.sorting(sort, names, given, case.kind) if sort else None

    outputs = [read(model, options) for model in loaded]
    against = [x for x, role in zip(outputs, roles, strict=True) if role == "reference"]
    base = next((x for x, role in zip(outputs, roles, strict=True) if role == "original"), None)
    revives = any("revival" in registry.known()[name].needs for name in names)

    def measured(model: Loaded, own: Outputs):
        others = [x for x in against if x is not own]
        more = {"curves": {"revival": attacks.revival(model, case, options)}} if revives else {}
        return measures(model, own, case, base, others, options.seed, names, **more)

    rows = [Row(model.name, role, measured(model, own)) for model, own, role in zip(loaded, outputs, roles, strict=True)]
    if verify:
        rows = [replace(row, levels=_levels(verify, case, row.measures, _others(row, rows))) for row in rows]
    kept = 0
    for trial in tried:
        found = []
        for seed in range(options.seed, options.seed + seeds):
            model, known = trials.run(first, trial, case.target, replace(options, seed=seed), fresh)
            found.append(measured(model, read(model, options)))
            kept += known
        levels = standing.together([_levels(verify, case, one, rows) for one in found]) if verify else {}
        rows.append(Row(trial.name, "unlearned", comparison.mean(found), levels))
    rows = comparison.with_distances(sorted(rows, key=lambda row: ROLES.index(row.role)))
    unsorted = comparison.unsorted(column, rows) if column else ""
    return Report(
        command="compare",
        title=f"Forgetting {requests.in_words(case.request)}",
        facts={"data": str(first.folder.root), "checkpoints": len(loaded)}
        | ({"seeds": seeds} if tried else {})
        | ({"sorted_by": comparison.in_words(column)} if column and not unsorted else {}),
        columns=comparison.columns(names, rows, case.kind, sort, all_metrics),
        rows=ranking.best_first(column, rows) if column else rows,
        notes=[*asked.notes, *(note for model in loaded for note in model.notes),
               *_remarks(asked, roles, kept, len(tried) * seeds, unsorted)],
    )  # fmt: skip


def _open(
    checkpoints, references, judges: bool, plain: Plain, options: Options, original: bool, erased: Collection[str],
    evidence: str | None,
) -> tuple[Loaded, list[Loaded], list[str]]:
    """The first checkpoint, and all of them with their roles; for a judgement also the original that lies beside."""
    erased = [*erased, *(name for other in checkpoints[1:] for name in forgotten_by(store.read(other).record))]
    mine = owners(evidence, checkpoints) if evidence else []
    first = load(checkpoints[0], plain, options, original=original, erased=erased, evidence=evidence if 0 in mine else None)
    others = enumerate(checkpoints[1:], 1)
    loaded = [first, *(load(name, plain, options, first, evidence=evidence if i in mine else None) for i, name in others)]
    roles = [_role(model) for model in loaded]
    if judges and "original" not in roles:
        unlearned = [model for model, role in zip(loaded, roles, strict=True) if role == "unlearned"]
        found = next((found for model in unlearned if (found := original_of(model, plain, options))), None)
        loaded, roles = ([found, *loaded], ["original", *roles]) if found else (loaded, roles)
    more = [load(name, plain, options, first) for name in references]
    shared = next((model.evidence for model in loaded if model.evidence), None)
    for model in [*loaded, *more]:  # a reference keeps none, and left out what the others forgot
        model.evidence = model.evidence or shared
    return first, loaded + more, roles + ["reference"] * len(more)


def _role(model: Loaded) -> str:
    """Trained on everything and asked for nothing: original; trained without something: reference; otherwise unlearned."""
    last = model.record.last
    if last is None or (last.operation == "train" and model.record.request is None):
        return "original"
    return "reference" if (last.operation == "train" and last.request) or last.method == "retrain" else "unlearned"


def _case(loaded: list[Loaded], roles: list[str], given: Request, lists: Sequence[Request], carved: float) -> Asked:
    """The one request that all these checkpoints share, on test images that chose nothing for any of them."""
    cases = {}
    for model, role in zip(loaded, roles, strict=True):
        if role != "original" or given:
            asked = open_case(model, given, carved, lists=lists)
            if asked.request is not None:
                cases[asked.request.model_dump_json()] = (asked, model.name)
    if len(cases) > 1:
        (one, a), (two, b), *_ = cases.values()
        said = f"{a} forgot {requests.in_words(one.request)}, {b} {requests.in_words(two.request)}"
        raise UnlearnError(f"these checkpoints forgot different things: {said}.", "compare those of one request.")
    if not cases:
        raise UnlearnError("none of these checkpoints has forgotten anything.", "pass --class or --instances.")
    return next(iter(cases.values()))[0]


def _each_reference_once(loaded: list[Loaded], roles: list[str], asked: Asked) -> tuple[list[Loaded], list[str]]:
    """The models and their roles without references that repeat."""
    pairs = list(zip(loaded, roles, strict=True))
    subjects = [model for model, role in pairs if role != "reference"]
    others = {id(model) for model in distinct([m for m, role in pairs if role == "reference"], subjects, asked)}
    kept = [(model, role) for model, role in pairs if role != "reference" or id(model) in others]
    return [model for model, _ in kept], [role for _, role in kept]


def _metrics(verify: str | None, case: Case) -> list[str]:
    """All metrics but the costly ones, and of those what the policy asks for."""
    asked = {limit.metric for limit in policy.limits(verify, case.kind, 2)} if verify else set()
    return [name for name, metric in registry.known().items() if not metric.is_costly or name in asked]


def _others(row: Row, rows: list[Row]) -> list[Row]:
    """Those that a row is judged by: no reference judges itself."""
    return [other for other in rows if other is not row or other.role != "reference"]


def _levels(verify: str, case: Case, own: dict, rows: Sequence[Row]) -> dict[str, Standing]:
    """What the policy says of measures beside the rows of others: the references that judge, and the original."""
    references = [row.measures for row in rows if row.role == "reference"]
    original = next((row.measures for row in rows if row.role == "original"), None)
    judged = verdict.judge(policy.limits(verify, case.kind, len(references)), own, references, original)
    return standing.standings(judged.limits)


def _remarks(asked: Asked, roles: list[str], kept: int, runs: int, unsorted: str) -> list[str]:
    """What the reader should know of the table."""
    found = [unsorted] if unsorted else []
    if asked.kinds > 1:
        found.append(f"of all that was asked, {asked.case.words} alone is compared")
    if kept:
        found.append(f"{kept} of {runs} runs were kept from before; --fresh runs them again")
    if "reference" not in roles:
        found.append("distances to a retrained model need one: --reference FILE")
    return found
