"""`evaluate`: what a model still knows of what it was to forget, and whether that keeps the limits."""

from collections.abc import Sequence

from unlearn_cli.cases import duplicates, requests
from unlearn_cli.cases.case import open_case
from unlearn_cli.cases.loading import Plain, load, original_of
from unlearn_cli.cases.measuring import Subjects, facts, read
from unlearn_cli.cases.references import check_original, distinct, refuse_twins
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs.judging import as_part, decided, judge_all
from unlearn_cli.metrics import blocks as by_block
from unlearn_cli.metrics import policy, registry, requirements
from unlearn_cli.metrics.report import Report

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
    only_last: bool = False,
    lists: Sequence[Request] = (),
    evidence: str | None = None,
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
        only_last: of several requests in the checkpoint's lineage, judge the last alone, not all of them and each.
        lists: lists that the checkpoint forgot and of which its record keeps the digest alone.
        evidence: what --keep-evidence wrote when it forgot; by default the file beside the checkpoint.
    """
    limits = requirements.parse(require)
    policy.check(verify)
    if record is not None:
        from unlearn_cli.jobs import deletion  # `forget` must not wait for it

        deletion.claim(record, [checkpoint, *references, *([original] if original else [])], options)
    loaded = load(checkpoint, plain, options, erased=request.classes, evidence=evidence)
    asked = open_case(loaded, request, only_last=only_last, lists=lists)
    kinds = [case.kind for case in asked.cases]
    if asked.request is not None:
        requirements.check_measurable(limits, bool(references), bool(original or verify or blocks), kinds,
                                      has_passes=True, has_shadow=bool(shadows))  # fmt: skip
    elif verify or blocks or record is not None or any(limit.metric not in ANYWHERE for limit in limits):
        raise UnlearnError(f"{checkpoint} has forgotten nothing yet.", "pass --class or --instances, to say what it should have.")
    before = original_of(loaded, plain, options, original) if original or verify or blocks else None
    if original:
        check_original(before, loaded)
    judged_models = [loaded, before] if before else [loaded]
    unseen = None if asked.request is None else asked
    others = distinct([load(name, plain, options, loaded) for name in references], judged_models, unseen)
    shadowing = distinct([load(name, plain, options, loaded) for name in shadows], judged_models, None, "shadow")
    if blocks and not (before or others):
        raise UnlearnError("--blocks compares with other models, and there is none.", "pass --original or --reference.")

    models = [*([before] if before else []), *others, loaded]
    roles = ["original"] * bool(before) + ["reference"] * len(others) + ["unlearned" if asked.own else "evaluated"]
    outputs = [read(model, options) for model in models]
    said = [(model.name, own.logits) for model, own in zip(models, outputs, strict=True)]
    if unseen is not None:
        refuse_twins([one for one, role in zip(said, roles, strict=True) if role == "reference"],
                     [one for one, role in zip(said, roles, strict=True) if role != "reference"])  # fmt: skip
    subjects = Subjects(models, roles, outputs, [read(one, options) for one in shadowing])
    main, parts = judge_all(asked, subjects, limits, verify, blocks, options)
    deciding = decided(main, parts)
    copied = duplicates.copies_of(loaded, asked.meant, options) if asked.request else None
    said = deciding.judgement.verdict + (f" Decided by {deciding.case.words}." if parts else "")
    notes = [note for model in [loaded, *others, *shadowing, *models[: bool(before)]] for note in model.notes]
    report = Report(
        command="evaluate",
        title=f"{loaded.name}: {'forgot' if asked.own else 'what it knows of'} {requests.in_words(asked.request)}",
        facts=facts(loaded, asked.case, options) | (duplicates.counted(copied) if copied else {}),
        columns=registry.columns(main.names, asked.case.kind),
        rows=main.rows,
        series=by_block.series(main.rows) if blocks else [],
        limits=main.judgement.limits,
        verdict=said + duplicates.in_verdict(copied),
        notes=[*asked.notes, *(duplicates.said(copied, asked.meant) if copied else ()), *notes],
        exit_code=deciding.judgement.exit_code,
        parts=[as_part(one) for one in parts],
    )
    if record is not None:
        deletion.write(record, report, asked, loaded, before, others, plain.test_fraction, options)
    return report
