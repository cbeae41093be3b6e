"""`--verify`: models that pretend fail it, models retrained with other seeds hold it."""

import shutil
from dataclasses import replace

import pytest

from tests import pretenders
from tests.splitting import split
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.cases.unlearning import in_own_types
from unlearn_cli.checkpoints import store
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import Options, evaluate, forget, train

CPU = Options(device="cpu", precision="float32")
THREE = Request(("3",))
AT_THE_OUTPUT = {"hot", "misled", "overdone", "shaken", "renamed", "swapped", "relearned_head"}
"""Those that can be told apart by what they say."""


@pytest.fixture(scope="module")
def lab(shipped, tmp_path_factory):
    """The original, five references, and two retrained models that set no band."""
    place = tmp_path_factory.mktemp("lab")
    shutil.copy(shipped / "model.safetensors", place)
    (place / "digits").symlink_to(shipped / "digits")
    settings = {"width": 8, "lr": 0.1, "batch_size": 64}
    for seed in range(7):
        train(str(shipped / "digits"), arch="compact", output=str(place / f"retrained-{seed}.safetensors"), without=THREE, epochs=8,
              chosen=settings, options=replace(CPU, seed=10 + seed))  # fmt: skip
    return place


def judged(lab, checkpoint, verify, **more):
    references = [str(lab / f"retrained-{seed}.safetensors") for seed in range(5)]
    given = {"references": references, "original": str(lab / "model.safetensors"), "request": THREE, "options": CPU} | more
    return evaluate(str(checkpoint), verify=verify, **given)


def pretended(lab, pretend):
    loaded = load(str(lab / "model.safetensors"), Plain(), CPU)
    run = loaded.run(CPU)
    with run.adopted(loaded.model, loaded.head) as model:
        pretend(run, model, split(loaded.folder, THREE, ALL, 0.0))
    return store.write(str(lab / f"{pretend.__name__}.safetensors"), in_own_types(loaded), loaded.record, force=True)


@pytest.mark.parametrize("pretend", [*pretenders.OF_ANY, *pretenders.OF_THE_HEAD], ids=lambda f: f.__name__)
def test_a_model_that_pretends_is_found_out_and_the_number_is_named(lab, pretend):
    path = pretended(lab, pretend)
    report = judged(lab, path, "full")
    assert report.exit_code == 1
    missed = [limit for limit in report.limits if limit.outcome == "fail"]
    assert any(limit.metric in report.verdict for limit in missed)
    by_its_words = any(limit.level == "output" for limit in missed)
    assert by_its_words or pretend.__name__ not in AT_THE_OUTPUT
    assert not by_its_words or pretend.__name__ not in ("masked", "biased")
    assert judged(lab, path, "output").exit_code == int(by_its_words)


@pytest.mark.parametrize("seed", [5, 6])
def test_a_retrained_model_with_another_seed_holds_every_limit(lab, seed):
    report = judged(lab, lab / f"retrained-{seed}.safetensors", "full")
    assert report.exit_code == 0, report.verdict
    assert report.verdict.endswith("Output level: held. Feature level: held.")


def test_a_head_only_method_passes_the_output_level_knowingly_and_no_other(lab):
    path = str(lab / "mask.safetensors")
    forget(str(lab / "model.safetensors"), "mask", THREE, output=path, options=replace(CPU, force=True))
    report = judged(lab, path, "output", original=None, request=Request())  # beside it, and remembered
    assert report.exit_code == 0
    assert "Feature level: not asked" in report.verdict
    assert judged(lab, path, "full").exit_code == 1


def test_without_a_reference_the_features_cannot_be_judged_and_nothing_is_shown(lab):
    path = str(lab / "mask.safetensors")
    forget(str(lab / "model.safetensors"), "mask", THREE, output=path, options=replace(CPU, force=True))
    report = judged(lab, path, "full", references=())
    assert report.exit_code == 2
    assert "separation_recovery could not be judged: needs a reference model" in report.verdict
    assert judged(lab, path, "output", references=()).exit_code == 0


def test_a_verdict_promises_nothing(lab):
    for verify in ("output", "full"):
        said = judged(lab, lab / "retrained-5.safetensors", verify).verdict.lower()
        assert "certif" not in said
        assert "guarant" not in said


def test_another_word_is_refused(lab):
    with pytest.raises(UnlearnError, match="--verify all is not known"):
        judged(lab, lab / "retrained-5.safetensors", "all")
