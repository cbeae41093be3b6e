"""Inputs at the edge: each has the answer that theory gives it, or one clear line and code 2; never held without a measurement.

Every case is run with `--verify full`, with `--verify output` and without; the codes are expected in that order.
"""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import RequestRecord
from unlearn_cli.jobs import Options, Request, forget, train

LEVELS = (("--verify", "full"), ("--verify", "output"), ())
REFUSED = (2, 2, 2)
CPU = ("--device", "cpu", "--precision", "float32")
REFERENCE = ("--reference", "without-0.safetensors")


def draw(shipped, folder, keep):
    """A few digits: those positions of each class that `keep(part, class, position)` takes."""
    for part, count in (("train", 24), ("test", 30)):
        for name in map(str, range(10)):
            for i, path in enumerate(sorted((shipped / "digits" / part / name).iterdir())[:count]):
                if keep(part, name, i):
                    (folder / part / name).mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, folder / part / name)


@pytest.fixture(scope="module")
def lab(shipped, tmp_path_factory):
    """An original, a model that forgot by masking, and three references, all of a few digits."""
    place = tmp_path_factory.mktemp("lab")
    draw(shipped, place / "digits", lambda *_: True)
    save(place, "model", shipped / "model.safetensors")
    for seed in range(3):
        save(place, f"without-{seed}", shipped / "without-3.safetensors", shaken(seed))
    forget(str(place / "model.safetensors"), "mask", Request(("3",)), output=str(place / "mask.safetensors"))
    return place


@pytest.fixture
def here(lab, monkeypatch):
    monkeypatch.chdir(lab)
    return lab


def save(place, name, source, change=lambda tensors: None, **fields):
    """A checkpoint of the lab's images, its tensors and some fields of its record changed."""
    found = store.read(str(source))
    tensors = {key: tensor.clone() for key, tensor in found.tensors.items()}
    change(tensors)
    data = found.record.data.model_copy(update={"folder": "digits"})
    store.write(str(place / f"{name}.safetensors"), tensors, found.record.model_copy(update={"data": data} | fields), force=True)
    return f"{name}.safetensors"


def shaken(seed):
    draws = torch.Generator().manual_seed(seed)

    def change(tensors):
        for tensor in tensors.values():
            if tensor.dim() > 1:
                tensor += 0.02 * tensor.std() * torch.randn(tensor.shape, generator=draws)

    return change


def times(factor, part=""):
    def change(tensors):
        for name, tensor in tensors.items():
            if name.startswith(part) and tensor.is_floating_point() and "running" not in name:
                tensor *= factor

    return change


def constant(winner, below=False):
    def change(tensors):
        if below:
            times(0)(tensors)
        tensors["head.weight"].zero_()
        tensors["head.bias"].zero_()
        tensors["head.bias"][winner] = 50

    return change


def no_number(text):
    raise AssertionError(f"{text} in JSON")


def said(done):
    """What a command gave, once it is sure that it is an answer or one clear line."""
    assert done.code in (0, 1, 2)
    assert "Traceback" not in done.err
    assert "our mistake" not in done.err
    if not done.out:
        assert done.code == 2
        assert [line.split(":")[0] for line in done.err.splitlines()[-2:]] == ["Error", "Hint"]
        return SimpleNamespace(code=2, document=None, why=done.err.splitlines()[-2], limits={})
    document = json.loads(done.out, parse_constant=no_number)
    assert document["exit_code"] == done.code
    limits = {limit["metric"]: limit["outcome"] for limit in document["limits"]}
    worst = {"fail": 1, "not measurable": 2, "pass": 0}
    outcomes = set(limits.values())
    assert done.code == next((worst[word] for word in ("fail", "not measurable") if word in outcomes), 0)
    assert document["verdict"].startswith("Held") == (outcomes == {"pass"})
    for row in [*document["rows"], document]:
        for name, reason in row.get("reasons", {}).items():
            assert row[name] is None and reason
    for limit in document["limits"]:
        assert limit["outcome"] != "pass" or (limit["value"] is not None and limit["target"] is not None)
    return SimpleNamespace(code=done.code, document=document, why=document["verdict"], limits=limits)


@pytest.fixture
def judged(unlearn, here):
    """The three answers to one question of `evaluate`."""

    def call(checkpoint, *arguments):
        return [said(unlearn("evaluate", checkpoint, *arguments, *level, *CPU, "--json")) for level in LEVELS]

    return call


@pytest.fixture
def others(unlearn, here):
    """The answers of `relearn` and of `compare`."""

    def call(checkpoint, *arguments):
        relearned = unlearn("relearn", checkpoint, *arguments, "--set", "cap=1", *CPU, "--json")
        compared = unlearn("compare", "model.safetensors", checkpoint, *arguments, *CPU, "--json")
        return said(relearned), said(compared)

    return call


def codes(answers):
    return tuple(answer.code for answer in answers)


def everywhere(judged, others, *arguments):
    """Every command's answer to the same arguments."""
    return [*judged(*arguments), *others(*arguments)]


def values(document, name):
    return {row["role"]: row[name] for row in [*document["rows"], document] if name in row}


# models


def test_a_head_that_hides_is_the_control_here_and_is_found_out(judged, others):
    full, output, plain = judged("mask.safetensors", *REFERENCE)
    assert (full.limits["separation_recovery"], full.code, plain.code) == ("fail", 1, 0)
    assert output.limits["forget_accuracy"] == "pass"
    assert codes(others("mask.safetensors", *REFERENCE)) == (0, 0)


@pytest.mark.parametrize("winner, below", [(0, False), (3, False), (0, True)])
def test_a_model_that_always_says_the_same_is_measured_and_does_not_hold(judged, others, here, winner, below):
    name = save(here, "constant", here / "mask.safetensors", constant(winner, below))
    answers = judged(name, *REFERENCE)
    assert codes(answers) == (1, 1, 0)
    for answer in answers[:2]:
        assert answer.limits["retain_test_accuracy"] == "fail"
        assert answer.limits["forget_test_accuracy"] == ("fail" if winner == 3 else "pass")
    found = answers[0].document
    assert found["forget_accuracy"] == float(winner == 3)
    assert found["test_accuracy"] == 0.1
    assert found["membership_auc"] == found["entropy_auc"] == 0.5  # every image ties
    assert found["prediction_share"] == 1
    assert found["loss_divergence"] == 0
    if below:
        assert found["separation_recovery"] is None
        assert answers[0].limits["separation_recovery"] == "not measurable"
    else:
        assert found["separation_recovery"] == 1
    assert codes(others(name, *REFERENCE)) == (0, 0)


def test_the_original_unchanged_has_not_forgotten(judged):
    full, output, plain = judged("model.safetensors", "--class", "3", "--original", "model.safetensors", *REFERENCE)
    assert (full.code, output.code, plain.code) == (1, 1, 0)
    assert full.limits["forget_accuracy"] == full.limits["separation_recovery"] == "fail"
    assert plain.document["weight_distance"] == 0


@pytest.mark.parametrize("factor", [1e6, 1e30])
def test_outputs_that_are_no_numbers_are_refused_and_the_model_is_named(judged, others, here, factor):
    name = save(here, "exploded", here / "mask.safetensors", times(factor))
    for answer in everywhere(judged, others, name, *REFERENCE):
        assert answer.document is None
        assert "exploded.safetensors: the network's outputs are not finite" in answer.why


@pytest.mark.parametrize("factor", [1e6, 1e34])
def test_huge_finite_losses_are_measured_and_what_diverges_of_them_is_null_with_a_reason(judged, others, here, factor):
    name = save(here, "loud", here / "mask.safetensors", times(factor, "head"))
    quiet = judged("mask.safetensors", *REFERENCE)[2].document
    full, output, plain = judged(name, *REFERENCE)
    assert full.code == 1
    assert plain.document["forget_accuracy"] == quiet["forget_accuracy"]
    assert plain.document["retain_accuracy"] == pytest.approx(quiet["retain_accuracy"], abs=0.02)  # the bias is scaled too
    assert full.document["separation_recovery"] == 1
    if factor > 1e10:
        assert full.limits["revived_accuracy"] == "not measurable"
        assert "no longer finite" in full.document["reasons"]["revived_accuracy"]
    relearned, compared = others(name, *REFERENCE)
    assert compared.code == 0
    assert relearned.code == 0 or "no longer finite" in relearned.why


# references


def test_the_original_is_no_reference_under_any_name(judged, others, here):
    save_file(store.read("model.safetensors").tensors, "renamed.safetensors")
    for reference, more in (("model.safetensors", ()), ("renamed.safetensors", ("--arch", "compact,width=8"))):
        for answer in everywhere(judged, others, "mask.safetensors", "--reference", reference, *more):
            assert answer.document is None
            assert f"{reference} is no reference: it is what mask.safetensors was made from" in answer.why


def test_the_judged_model_is_no_reference_for_itself(judged, others):
    for answer in everywhere(judged, others, "mask.safetensors", "--reference", "mask.safetensors"):
        assert answer.document is None
        assert "mask.safetensors is no reference: it is mask.safetensors itself" in answer.why
    same = ("model.safetensors", "--class", "3", "--original", "model.safetensors", "--reference", "model.safetensors")
    for answer in judged(*same):
        assert "model.safetensors is no reference: it is model.safetensors itself" in answer.why


def without(place, name, **request):
    """A reference that says it was trained without something else."""
    found = store.read(str(place / "without-0.safetensors")).record
    step = found.last.model_copy(update={"request": RequestRecord(**request) if request else None})
    return save(place, name, place / "without-0.safetensors", shaken(9), lineage=[step])


def test_a_model_that_saw_the_forget_set_is_no_reference_and_one_that_saw_less_is(judged, unlearn, here):
    images = [f"train/3/{path.name}" for path in sorted((here / "digits/train/3").iterdir())]
    few = {"instances": images[:2], "instances_count": 2, "instances_digest": "0" * 64}
    whole = {"instances": images, "instances_count": len(images), "instances_digest": "0" * 64}
    for request, seen in (({}, "everything"), ({"classes": ["5"]}, "all but class 5"), (few, "all but 2 listed images")):
        for answer in judged("mask.safetensors", "--reference", without(here, "seeing", **request)):
            assert answer.document is None
            assert f"seeing.safetensors is no reference: it was trained on {seen}, says its record" in answer.why
    for request in ({"classes": ["3"]}, {"classes": ["3", "5"]}, whole):
        blind = ("--reference", without(here, "blind", **request), "--verify", "output")
        assert said(unlearn("evaluate", "mask.safetensors", *blind, *CPU, "--json")).document


def test_a_list_that_a_record_keeps_by_its_digest_alone_is_known_again(unlearn, here):
    from unlearn_cli.cases.requests import digest_of

    images = tuple(f"train/3/{path.name}" for path in sorted((here / "digits/train/3").iterdir()))
    digest = digest_of(images)
    for given, known in ((digest, True), ("0" * 64, False)):
        reference = without(here, "listed", instances_count=len(images), instances_digest=given)
        done = said(unlearn("evaluate", "mask.safetensors", "--reference", reference, "--verify", "output", *CPU, "--json"))
        assert (done.document is not None) == known


def test_the_same_reference_twice_counts_once_and_it_is_said(judged, others, here):
    shutil.copy("without-0.safetensors", "copy.safetensors")
    three = ("--reference", "without-0.safetensors", "--reference", "copy.safetensors", "--reference", "without-0.safetensors")
    once = judged("mask.safetensors", "--reference", "without-0.safetensors")
    for answer, alone in zip(judged("mask.safetensors", *three), once, strict=True):
        assert answer.document["limits"] == alone.document["limits"]
        assert answer.why == alone.why
        assert [row for row in answer.document["rows"] if row["role"] == "reference"] == alone.document["rows"][-1:]
        notes = [note for note in answer.document["notes"] if "counted once" in note]
        assert len(notes) == 2
        assert "copy.safetensors is the same model as without-0.safetensors: counted once" in notes
    for answer in others("mask.safetensors", *three):
        assert sum(row["role"] == "reference" for row in answer.document["rows"]) == 1
        assert any("copy.safetensors is the same model" in note for note in answer.document["notes"])
    distinct = judged("mask.safetensors", "--reference", "without-*.safetensors")[2].document
    assert sum(row["role"] == "reference" for row in distinct["rows"]) == 3


def test_the_same_shadow_twice_counts_once_too(unlearn, here):
    for seed in (1, 2):
        save(here, f"shadow-{seed}", here / "model.safetensors", shaken(seed))
    references = ("--reference", "without-0.safetensors", "--reference", "without-1.safetensors")

    def shadows(*names):
        given = [word for name in names for word in ("--shadow", name)]
        return said(unlearn("evaluate", "mask.safetensors", *references, *given, *CPU, "--json"))

    twice = shadows("shadow-1.safetensors", "shadow-1.safetensors").document
    assert twice["likelihood_ratio_auc"] is None
    assert "at least 2 shadow models" in twice["reasons"]["likelihood_ratio_auc"]
    assert shadows("shadow-1.safetensors", "shadow-2.safetensors").document["likelihood_ratio_auc"] is not None
    assert "mask.safetensors is no shadow: it is mask.safetensors itself" in shadows("mask.safetensors").why


@pytest.mark.parametrize("classes", ["1023456789", "abcdefghij"], ids=["another order", "other names"])
def test_a_reference_of_other_classes_is_refused(judged, others, here, classes):
    name = save(here, "foreign", here / "without-0.safetensors", classes=list(classes))
    for answer in everywhere(judged, others, "mask.safetensors", "--reference", name):
        assert answer.document is None
        assert "foreign.safetensors has other classes" in answer.why


def test_a_reference_of_another_architecture_is_compared_by_what_it_says_and_not_by_its_weights(judged, others, here):
    train("digits", "allcnn.safetensors", arch="allcnn", without=Request(("3",)), epochs=1, chosen={"width": 4},
          options=Options(device="cpu", precision="float32", force=True))  # fmt: skip
    full, output, plain = judged("mask.safetensors", "--reference", "allcnn.safetensors")
    assert output.limits["membership_auc"] in ("pass", "fail")
    assert plain.document["weights_to_reference"] is None
    assert "their architectures differ" in plain.document["reasons"]["weights_to_reference"]
    for name in ("activation_distance", "reference_divergence", "similarity_to_reference", "rmia_auc"):
        assert plain.document[name] is not None
    assert codes(others("mask.safetensors", "--reference", "allcnn.safetensors")) == (0, 0)


# images


FOLDERS = {
    "one test image, of the forgotten class": (lambda part, name, i: part == "train" or (name, i) == ("3", 0), (1, 2, 0)),
    "one test image, of another class": (lambda part, name, i: part == "train" or (name, i) == ("5", 0), (2, 2, 0)),
    "no test image of the forgotten class": (lambda part, name, i: part == "train" or name != "3", (2, 2, 0)),
    "test images of the forgotten class alone": (lambda part, name, i: part == "train" or name == "3", (1, None, 0)),
    "one training image of the forgotten class": (lambda part, name, i: (part, name) != ("train", "3") or i == 0, (1, 2, 0)),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_too_few_images_are_null_with_a_reason_and_never_a_limit_that_held(judged, others, shipped, here, kind):
    keep, expected = FOLDERS[kind]
    folder = here / kind.replace(" ", "-").replace(",", "")
    draw(shipped, folder, keep)
    data = ("--data", folder, "--reference", "without-0.safetensors")
    answers = judged("mask.safetensors", *data)
    assert all(code in (None, answer.code) for code, answer in zip(expected, answers, strict=True)), codes(answers)
    full, output, plain = answers
    there = {name: len(list(folder.glob(f"test/{name}/*"))) for name in "35"}
    empty = {name: count == 0 for name, count in there.items()}
    for name, metric in (("3", "forget_test_accuracy"), ("5", "retain_test_accuracy")):
        assert (plain.document[metric] is None) == empty[name]
        assert (output.limits[metric] == "not measurable") == (there[name] < 2)     # one image is a number, and no verdict
    if empty["3"]:
        assert full.limits["separation_recovery"] == full.limits["revived_accuracy"] == "not measurable"
    relearned, compared = others("mask.safetensors", *data)
    assert compared.code == 0
    assert (relearned.code == 2) == empty["3"]
    assert not empty["3"] or "no test images to look at" in relearned.why


def test_one_class_is_nothing_to_classify(judged, others, shipped, here):
    draw(shipped, here / "single", lambda part, name, i: name == "3")
    for answer in everywhere(judged, others, "mask.safetensors", "--data", "single"):
        assert answer.document is None
        assert "(10 classes) does not match the folders of single (1)" in answer.why


def test_a_single_listed_image_is_judged_by_what_one_image_can_tell(judged, others, unlearn, here):
    (here / "one.txt").write_text("train/3/" + sorted(path.name for path in (here / "digits/train/3").iterdir())[0])
    request = Request(instances=((here / "one.txt").read_text(),))
    options = Options(device="cpu", precision="float32", force=True)
    forget("model.safetensors", "neg-grad", request, output="one.safetensors", options=options)
    train("digits", "less.safetensors", arch="compact", without=request, epochs=1, chosen={"width": 8}, options=options)
    for more, code in (((), 2), (("--reference", "less.safetensors"), None)):
        full, output, plain = judged("one.safetensors", *more)
        assert plain.document["forget_accuracy"] in (0, 1)
        assert plain.document["membership_auc"] is None
        assert plain.document["forget_test_accuracy"] is None
        assert code in (None, output.code)
        assert output.limits.get("membership_auc", "not measurable") == "not measurable"
        assert {full.code, output.code} <= {1, 2}
    assert codes(others("one.safetensors", "--reference", "less.safetensors")) == (0, 0)


@pytest.mark.parametrize("what", ["classes", "images"])
def test_a_request_that_leaves_nothing_to_retain_is_refused(judged, unlearn, here, what):
    (here / "all.txt").write_text("\n".join(f"train/{path.parent.name}/{path.name}" for path in here.glob("digits/train/*/*")))
    asked = [word for name in "0123456789" for word in ("--class", name)] if what == "classes" else ["--instances", "all.txt"]
    answers = judged("model.safetensors", *asked)
    answers.append(said(unlearn("relearn", "model.safetensors", "--original", "model.safetensors", *asked, "--json")))
    answers.append(said(unlearn("compare", "model.safetensors", *asked, "--json")))
    for answer in answers:
        assert answer.document is None
        assert "every training image is to be forgotten" in answer.why


def test_images_that_went_away_are_asked_for(judged, others, here):
    name = save(here, "lost", here / "mask.safetensors")
    found = store.read(name)
    data = found.record.data.model_copy(update={"folder": "vanished"})
    store.write(name, found.tensors, found.record.model_copy(update={"data": data}), force=True)
    answers = judged(name, *REFERENCE)
    assert codes(answers) == REFUSED
    assert all("vanished is not there" in answer.why for answer in answers)
    assert others(name)[0].code == 2
