"""`evaluate`: what a model still knows of what it was to forget, and whether that keeps the limits."""

from collections.abc import Sequence

from unlearn_cli.cases import attacks, requests
from unlearn_cli.cases.case import open_case
from unlearn_cli.cases.loading import Plain, load, original_of
from unlearn_cli.cases.measuring import facts, measured, measures, read
from unlearn_cli.cases.references import distinct
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics import blocks as by_block
from unlearn_cli.metrics import policy, registry, requirements, verdict
from unlearn_cli.metrics.report import Report, Row

ANYWHERE = ("test_accuracy", "top_two_accuracy")
"""Metrics of a model that nobody asked to forget."""


def evaluate(
    checkpoint: str,
    *,
    original: str | None = None,
    references: Sequence[str] = (),
    shadows: Sequence[str] = (),
    verify: str | None = None,
    require: Sequence[str] = (),
    blocks: bool = False,
    record: str | None = None,
    request: Request = Request(),
    plain: Plain = Plain(),
    options: Options = Options(),
) -> Report:
    """Measure CHECKPOINT on all its images and judge the limits.

    Args:
        original: the model before it forgot; for `verify` and `blocks` by default the file that the record names, found beside.
        references: models trained without the forget set.
        shadows: models that were trained with the forget set and forgot it by the same method, with other seeds.
        verify: "full" or "output", the levels of the built-in policy that are asked for (`metrics.policy`).
        require: further limits such as `forget_test_accuracy<=0.01` or `forget_accuracy=reference±0.05`.
        blocks: whether to compare the networks block by block with the original's and the references'.
        record: a JSON file for the deletion record: the request, the models, the data and the numbers.
        request: what was to be forgotten, where the checkpoint does not remember it.
    """
    limits = requirements.parse(require)
    policy.check(verify)
    if record is not None:
        from unlearn_cli.jobs import deletion  # `forget` must not wait for it

        deletion.claim(record, [checkpoint, *references, *([original] if original else [])], options)
    loaded = load(checkpoint, plain, options)
    case = open_case(loaded, request)
    if case.request is not None:
        requirements.check_measurable(limits, bool(references), bool(original or verify or blocks), case.kind,
                                      has_passes=True, has_shadow=bool(shadows))  # fmt: skip
    elif verify or blocks or record is not None or any(limit.metric not in ANYWHERE for limit in limits):
        raise UnlearnError(f"{checkpoint} has forgotten nothing yet.", "pass --class or --instances, to say what it should have.")
    before = original_of(loaded, plain, options, original) if original or verify or blocks else None
    subjects = [loaded, before] if before else [loaded]
    others = distinct([load(name, plain, options, loaded) for name in references], subjects, case.splits.get("forget"))
    shadowing = distinct([load(name, plain, options, loaded) for name in shadows], subjects, None, "shadow")
    if blocks and not (before or others):
        raise UnlearnError("--blocks compares with other models, and there is none.", "pass --original or --reference.")
    if verify:
        limits = policy.limits(verify, case.kind, len(others)) + limits

    changed = case.request is None or loaded.record.request == case.request
    models = [*([before] if before else []), *others, loaded]
    roles = ["original"] * bool(before) + ["reference"] * len(others) + ["unlearned" if changed else "evaluated"]
    outputs = [read(model, options) for model in models]
    base = outputs[0] if before else None
    beside = [read(shadow, options) for shadow in shadowing]
    names = measured({limit.metric for limit in limits}, case, bool(shadows), blocks)
    more = attacks.attacked(models, roles, case, names, options)

    def row(i: int) -> Row:
        rest = [x for j, x in enumerate(outputs) if roles[j] == "reference" and j != i]
        found = measures(models[i], outputs[i], case, base, rest, options.seed, names, shadows=beside, **more[i])
        return Row(models[i].name, roles[i], found)

    *rows, mine = map(row, range(len(models)))
    judged = verdict.judge(
        limits, mine.measures, [r.measures for r in rows if r.role == "reference"],
        next((r.measures for r in rows if r.role == "original"), None),
    )  # fmt: skip
    report = Report(
        command="evaluate",
        title=f"{loaded.name}: {'forgot' if changed else 'what it knows of'} {requests.in_words(case.request)}",
        facts=facts(loaded, case, options),
        columns=registry.columns(names, case.kind),
        rows=[*rows, mine],
        series=by_block.series([*rows, mine]) if blocks else [],
        limits=judged.limits,
        verdict=judged.verdict,
        notes=[note for model in [loaded, *others, *shadowing, *([before] if before else [])] for note in model.notes],
        exit_code=judged.exit_code,
    )
    if record is not None:
        deletion.write(record, report, case, loaded, before, others, plain.test_fraction, options)
    return report
