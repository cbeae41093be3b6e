"""The main job as a user runs it: forget a class, see that it worked, and fail a build when it did not."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from unlearn_cli.checkpoints import store

LIMITS = ("--require", "forget_test_accuracy<=0.01", "--require", "unlearning_score>=0.9")
FORGET = ("forget", "--method", "lau", "--class", "3")


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def forgotten(shipped):
    """The shipped model after LAU on class 3, beside the original."""
    from unlearn_cli import jobs

    name = str(shipped / "model.lau-class-3.safetensors")
    jobs.forget(str(shipped / "model.safetensors"), "lau", jobs.Request(("3",)), output=name)
    return name


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def tensors(name):
    return store.read(str(name)).tensors


# forget


def test_forget_writes_beside_the_input_and_prints_only_the_name(unlearn, here):
    before = (here / "model.safetensors").read_bytes()
    done = unlearn(*FORGET, "model.safetensors")
    assert (done.code, done.out) == (0, "model.lau-class-3.safetensors\n")
    assert (here / "model.lau-class-3.safetensors").is_file()
    assert (here / "model.safetensors").read_bytes() == before
    assert "every image forgotten" in done.err


def test_the_same_command_writes_the_same_tensors(unlearn, here):
    for name in ("a", "b"):
        assert unlearn(*FORGET, "model.safetensors", "-o", f"{name}.safetensors").code == 0
    assert same(tensors("a.safetensors"), tensors("b.safetensors"))


def test_the_output_remembers_where_it_came_from_and_what_was_done(unlearn, here):
    unlearn(*FORGET, "model.safetensors", "-o", "out.safetensors", "--set", "epochs=31", "--seed", "5")
    original, found = store.read("model.safetensors"), store.read("out.safetensors")
    trained, step = found.record.lineage
    assert trained == original.record.last
    assert (step.operation, step.method, step.request.classes) == ("forget", "lau", ["3"])
    assert (step.source.name, step.source.digest) == ("model.safetensors", original.digest)
    assert (step.settings["epochs"], step.settings["alpha"], step.seed) == (31, 0.6, 5)
    assert step.images_read == {"forget": 147}
    assert step.seconds > 0
    assert step.versions["torch"] == torch.__version__


def test_an_output_elsewhere_still_finds_the_images(unlearn, here):
    (here / "deep" / "er").mkdir(parents=True)
    unlearn(*FORGET, "model.safetensors", "-o", "deep/er/out.safetensors")
    assert unlearn("evaluate", "deep/er/out.safetensors", *LIMITS).code == 0


def test_settings_scopes_and_names_of_other_methods_show_in_the_output(unlearn, here):
    done = unlearn("forget", "--method", "mask", "--class", "3", "--class", "5", "model.safetensors")
    assert done.out == "model.mask-class-3-5.safetensors\n"
    step = store.read("model.mask-class-3-5.safetensors").record.last
    assert (step.request.classes, step.images_read, step.settings) == (["3", "5"], {}, {})


def test_single_images_can_be_forgotten(unlearn, here):
    images = sorted((here / "digits/train/3").iterdir())[:5]
    (here / "list.txt").write_text("# five\n" + "".join(f"train/3/{path.name}\n" for path in images))
    options = ("--set", "epochs=1", "--instances", "list.txt")
    done = unlearn("forget", "--method", "fine-tune", "model.safetensors", *options)
    assert (done.code, done.out) == (0, "model.fine-tune-instances-5.safetensors\n")
    step = store.read("model.fine-tune-instances-5.safetensors").record.last
    assert step.request.instances == [f"train/3/{path.name}" for path in images]
    assert step.images_read == {"retain": 1442 - 5}
    shown = unlearn("evaluate", "model.fine-tune-instances-5.safetensors", "--json")
    assert json.loads(shown.out)["forget_accuracy"] is not None


def test_the_log_is_a_row_per_epoch_and_the_selection_set_leaves_the_evaluation(unlearn, here):
    images = sorted((here / "digits/train/3").iterdir())[:5]
    (here / "list.txt").write_text("".join(f"train/3/{path.name}\n" for path in images))
    command = ("forget", "--method", "fine-tune", "--instances", "list.txt", "--set", "epochs=2", "model.safetensors")
    assert unlearn(*command, "-o", "plain.safetensors").code == 0
    assert unlearn(*command, "-o", "logged.safetensors", "--log", "log.csv").code == 0
    assert same(tensors("plain.safetensors"), tensors("logged.safetensors"))
    header, start, first, second, end = [line.split(",") for line in (here / "log.csv").read_text().splitlines()]
    assert header == ["phase", "epoch", "steps", "loss", "forget_accuracy", "selection_accuracy", "images_read", "seconds"]
    assert [row[0] for row in (start, first, second, end)] == ["start", "fine-tuning", "fine-tuning", "end"]
    assert float(second[3]) < float(first[3])
    assert 0 < float(second[5]) <= 1
    counts = {name: json.loads(unlearn("evaluate", f"{name}.safetensors", "--json").out)["details"]["test_accuracy"]["n"]
              for name in ("plain", "logged")}  # fmt: skip
    assert counts["logged"] == pytest.approx(0.8 * counts["plain"], abs=5)
    refused = unlearn(*command, "-o", "again.safetensors", "--log", "log.csv")
    assert (refused.code, "log.csv already exists" in refused.err) == (2, True)
    assert not (here / "again.safetensors").exists()


# evaluate


def test_the_unlearned_model_keeps_the_limits(unlearn, forgotten, shipped):
    done = unlearn("evaluate", forgotten, "--reference", shipped / "without-3.safetensors", *LIMITS)
    assert done.code == 0
    assert "Held: all 2 limits met" in done.out


def test_the_retrained_model_keeps_the_limits(unlearn, shipped):
    assert unlearn("evaluate", shipped / "without-3.safetensors", *LIMITS).code == 0


def test_the_original_fails_with_1_and_the_number_that_decided(unlearn, shipped):
    done = unlearn("evaluate", shipped / "model.safetensors", "--class", "3", *LIMITS)
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("Not forgotten: ")]
    accuracy = json.loads(unlearn("evaluate", shipped / "model.safetensors", "--class", "3", "--json").out)
    assert f"forget_test_accuracy is {accuracy['forget_test_accuracy']:.4f}, the limit is <= 0.01" in line


def test_a_limit_against_the_reference_is_judged_on_both_sides(unlearn, forgotten, shipped):
    reference = ("--reference", shipped / "without-3.safetensors")
    assert unlearn("evaluate", forgotten, *reference, "--require", "retain_test_accuracy=reference±0.05").code == 0
    assert unlearn("evaluate", forgotten, *reference, "--require", "retain_test_accuracy>=reference+0.5").code == 1


def test_evaluate_prints_json_that_a_program_reads(unlearn, forgotten):
    done = unlearn("evaluate", forgotten, "--json", *LIMITS)
    document = json.loads(done.out)
    assert document["forget_test_accuracy"] == 0
    assert document["unlearning_score"] > 0.9
    assert document["exit_code"] == done.code == 0
    assert document["reasons"]["activation_distance"] == "needs a reference model"


def test_the_second_evaluation_reads_no_image_and_says_the_same(unlearn, forgotten):
    first, second = (unlearn("evaluate", forgotten, "--json") for _ in range(2))
    assert first.out == second.out
    assert "reading" not in second.err


def test_the_mask_is_perfect_where_only_predictions_count(unlearn, here):
    unlearn("forget", "--method", "mask", "--class", "3", "model.safetensors")
    document = json.loads(unlearn("evaluate", "model.mask-class-3.safetensors", "--json").out)
    assert document["forget_accuracy"] == document["forget_test_accuracy"] == 0


# relearn and compare


def test_relearn_counts_epochs_for_each_model_and_none_for_the_original(unlearn, forgotten, shipped):
    done = unlearn("relearn", forgotten, "--reference", shipped / "without-3.safetensors", "--set", "cap=2", "--json")
    document = json.loads(done.out)
    epochs = {row["role"]: row["relearn_epochs"] for row in [*document["rows"], document] if "role" in row}
    assert done.code == 0
    assert epochs["original"] == 0
    assert 0 < epochs["unlearned"] <= 2
    assert 0 < epochs["reference"] <= 2


def test_relearn_of_a_model_whose_original_went_away_asks_for_it(unlearn, forgotten, shipped, tmp_path):
    moved = shutil.copy(forgotten, tmp_path / "moved.safetensors")
    done = unlearn("relearn", moved, "--data", shipped / "digits", "--set", "cap=1")
    assert done.code == 2
    assert "--original" in done.err


def test_compare_shows_checkpoints_in_their_roles(unlearn, forgotten, shipped):
    names = (shipped / "without-3.safetensors", shipped / "model.safetensors", forgotten)
    document = json.loads(unlearn("compare", *names, "--json").out)
    roles = [row["role"] for row in document["rows"]] + ([document["role"]] if "role" in document else [])
    assert sorted(roles) == ["original", "reference", "unlearned"]


def test_compare_runs_methods_with_several_seeds_and_writes_nothing(unlearn, here):
    before = sorted(os.listdir())
    options = ("--methods", "lau,random-label", "--seeds", "2", "--class", "3", "--set", "random_label.epochs=1")
    done = unlearn("compare", "model.safetensors", *options, "--json")
    assert done.code == 0, done.err
    rows = {row["label"]: row for row in json.loads(done.out)["rows"]}
    assert rows["lau"]["details"]["unlearning_score"]["seeds"] == 2
    assert rows["model.safetensors"]["role"] == "original"
    assert rows["lau"]["forget_accuracy"] < rows["model.safetensors"]["forget_accuracy"]
    assert sorted(os.listdir()) == before


def test_compare_refuses_checkpoints_that_forgot_different_things(unlearn, here, forgotten):
    unlearn("forget", "--method", "mask", "--class", "5", "model.safetensors")
    done = unlearn("compare", forgotten, "model.mask-class-5.safetensors")
    assert done.code == 2
    assert "forgot different things" in done.err


# methods and inspect


def test_inspect_shows_every_step(unlearn, forgotten):
    document = json.loads(unlearn("inspect", forgotten, "--json").out)
    assert [step["method"] for step in document["record"]["lineage"]] == ["train", "lau"]
    assert document["digest"] == store.read(forgotten).digest
    shown = unlearn("inspect", forgotten).out
    assert "step 2: forget (lau)" in shown
    assert "147 forget" in shown


def test_methods_lists_each_one_and_explains_it(unlearn):
    from unlearn_cli import methods

    document = json.loads(unlearn("methods", "--json").out)
    assert [m["name"] for m in document] == methods.names()
    assert "double_softmax" in unlearn("methods", "lau").out
    assert unlearn("methods", "lua").code == 2


# the configuration


def test_a_configuration_gives_defaults_and_what_is_typed_wins(unlearn, here):
    (here / "c.yaml").write_text("method: lau\nclass: [3]\nseed: 4\nset:\n  epochs: 7\n  double_softmax: false\nquiet: true\n")
    done = unlearn("forget", "model.safetensors", "--config", "c.yaml", "--seed", "6", "-o", "out.safetensors")
    assert (done.code, done.err) == (0, "")
    step = store.read("out.safetensors").record.last
    assert (step.seed, step.settings["epochs"], step.settings["double_softmax"]) == (6, 7, False)


def test_settings_typed_replace_those_of_the_configuration(unlearn, here):
    (here / "c.yaml").write_text("set: {epochs: 7}\n")
    unlearn(*FORGET, "model.safetensors", "--config", "c.yaml", "--set", "epochs=2", "-o", "out.safetensors")
    assert store.read("out.safetensors").record.last.settings["epochs"] == 2


# plain state dicts


def test_a_plain_state_dict_works_as_the_checkpoint_does(unlearn, here):
    """With the normalisation given; without it, it is measured on the training images, which gives the same here."""
    save_file(tensors("model.safetensors"), "plain.safetensors")
    plain = ("--arch", "compact,width=8", "--data", "digits")
    assert unlearn(*FORGET, "model.safetensors", "-o", "ours.safetensors").code == 0
    assert unlearn(*FORGET, "plain.safetensors", *plain, "-o", "theirs.safetensors").code == 0
    assert same(tensors("ours.safetensors"), tensors("theirs.safetensors"))
    assert unlearn("evaluate", "theirs.safetensors", *LIMITS).code == 0


# what is shown


def test_quiet_leaves_only_the_name(unlearn, here):
    done = unlearn(*FORGET, "model.safetensors", "-q")
    assert (done.code, done.out, done.err) == (0, "model.lau-class-3.safetensors\n", "")


def test_json_of_forget_is_the_only_thing_on_stdout(unlearn, here):
    document = json.loads(unlearn(*FORGET, "model.safetensors", "--json").out)
    assert document["written"] == "model.lau-class-3.safetensors"
    assert document["facts"]["stopped_by"].startswith("every image forgotten")


# as processes of their own


def test_the_whole_job_works_through_pipes(program, here):
    whole = (here / "model.safetensors").read_bytes()
    written = program(*FORGET, "-", "-o", "-", cwd=here, stdin=whole)
    assert written.returncode == 0, written.stderr.decode()
    judged = program("evaluate", "-", "--json", *LIMITS, cwd=here, stdin=written.stdout, NO_COLOR="1")
    assert judged.returncode == 0, judged.stderr.decode()
    assert json.loads(judged.stdout)["forget_test_accuracy"] == 0
    assert b"\x1b[" not in written.stderr + judged.stderr


def test_a_pipe_in_alone_writes_a_checkpoint_to_stdout(program, here):
    written = program("forget", "--method", "mask", "--class", "3", "-", cwd=here, stdin=(here / "model.safetensors").read_bytes())
    (here / "out.safetensors").write_bytes(written.stdout)
    assert store.read("out.safetensors").record.last.method == "mask"


def test_an_interrupt_in_the_loop_is_130_and_leaves_nothing(unlearn, here, monkeypatch):
    from unlearn_cli.engine.run import Run

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "step", interrupted)
    before = {path: path.read_bytes() for path in here.iterdir() if path.is_file()}
    done = unlearn(*FORGET, "model.safetensors")
    assert (done.code, done.out) == (130, "")
    assert "Error: interrupted." in done.err
    assert {path: path.read_bytes() for path in here.iterdir() if path.is_file()} == before


def test_a_crash_of_our_own_is_2_and_never_1(unlearn, here, monkeypatch):
    from unlearn_cli.engine.run import Run

    def broken(*_, **__):
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(Run, "step", broken)
    done = unlearn(*FORGET, "model.safetensors")
    assert (done.code, done.out) == (2, "")
    assert "our mistake" in done.err
