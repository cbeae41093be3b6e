"""`compare`: methods side by side, judged, sorted, and going on where they were interrupted."""

import json
import os
import shutil

import pytest
import torch

from unlearn_cli.cases import kept
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.checkpoints import store
from unlearn_cli.data.cache import cache_folder
from unlearn_cli.data.requests import resolve
from unlearn_cli.engine import kept as keeping
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import Options, Request, compare, forget, trials

CPU = Options(device="cpu", precision="float32")
THREE = Request(("3",))
RUNS = {"run_methods": ["lau", "mask"], "seeds": 2, "request": THREE, "options": CPU}


@pytest.fixture
def here(place, monkeypatch):
    """The fixtures, and a cache folder that holds no run yet."""
    monkeypatch.chdir(place)
    for path in kept_files():
        path.unlink()
    return place


@pytest.fixture
def ran(monkeypatch):
    """Which runs were really made, as (method, seed); `ran.stop_at` makes one of them an interrupt."""

    class Ran(list):
        stop_at = None

    made, real = Ran(), trials.unlearn

    def watched(model, method, values, request, options):
        if len(made) == made.stop_at:
            raise KeyboardInterrupt
        made.append((method.name, options.seed))
        return real(model, method, values, request, options)

    monkeypatch.setattr(trials, "unlearn", watched)
    return made


def kept_files():
    return sorted(cache_folder().glob("run-*.safetensors"))


def numbers(report):
    """Every number of every row, and how it was come by."""
    return {row.label: row.measures for row in report.rows}


# going on


def test_a_second_comparison_runs_nothing_and_says_the_same(here, ran):
    first = compare(["model.safetensors"], **RUNS)
    assert ran == [("lau", 0), ("lau", 1), ("mask", 0), ("mask", 1)]
    assert not any("kept from before" in note for note in first.notes)
    second = compare(["model.safetensors"], **RUNS)
    assert len(ran) == 4
    assert numbers(second) == numbers(first)                            # forget_seconds included
    assert second.notes[0] == "4 of 4 runs were kept from before; --fresh runs them again"


def test_an_interrupted_comparison_goes_on_where_it_stopped(here, ran):
    ran.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        compare(["model.safetensors"], **RUNS)
    assert len(kept_files()) == 3
    assert not list(cache_folder().glob("*.tmp"))
    ran.stop_at = None
    del ran[:]
    report = compare(["model.safetensors"], **RUNS)
    assert ran == [("mask", 1)]
    assert report.notes[0].startswith("3 of 4 runs were kept")


def test_an_interrupt_of_the_program_is_130_and_the_next_call_goes_on(here, unlearn, ran):
    command = ("compare", "model.safetensors", "--class", "3", "--methods", "mask,lau", "--json")
    ran.stop_at = 1
    stopped = unlearn(*command)
    assert (stopped.code, stopped.out) == (130, "")
    ran.stop_at = None
    del ran[:]
    done = unlearn(*command)
    assert done.code == 0, done.err
    assert ran == [("lau", 0)]
    assert "1 of 2 runs were kept from before" in json.loads(done.out)["notes"][0]


def test_fresh_runs_them_again(here, ran):
    compare(["model.safetensors"], **RUNS)
    report = compare(["model.safetensors"], **RUNS, fresh=True)
    assert len(ran) == 8
    assert not any("kept" in note for note in report.notes)
    compare(["model.safetensors"], **RUNS)
    assert len(ran) == 8


SPOILED = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "empty": lambda _: b"",
    "a bit of a weight": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    "a digit of the record": lambda whole: whole.replace(b'\\"seed\\": 0', b'\\"seed\\": 7'),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_damaged_kept_file_is_run_again_and_mended(here, ran, spoil):
    one = RUNS | {"run_methods": ["lau"], "seeds": 1}
    first = compare(["model.safetensors"], **one)
    (path,) = kept_files()
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    assert path.read_bytes() != whole
    second = compare(["model.safetensors"], **one)
    assert len(ran) == 2
    same = [{k: m for k, m in numbers(report)["lau"].items() if k != "forget_seconds"} for report in (first, second)]
    assert same[0] == same[1]
    compare(["model.safetensors"], **one)
    assert len(ran) == 2


def test_a_kept_file_under_the_name_of_another_run_is_not_taken_for_it(here, ran):
    compare(["model.safetensors"], **RUNS | {"run_methods": ["mask"]})
    one, other = kept_files()
    shutil.copy(one, other)
    compare(["model.safetensors"], **RUNS | {"run_methods": ["mask"]})
    assert len(ran) == 3


def test_a_cache_folder_that_takes_no_file_costs_only_the_keeping(here, ran, monkeypatch):
    (here / "file").write_text("")
    monkeypatch.setenv("UNLEARN_CACHE", str(here / "file"))
    for _ in range(2):
        compare(["model.safetensors"], **RUNS | {"run_methods": ["mask"], "seeds": 1})
    assert len(ran) == 2


def test_a_kept_run_is_a_checkpoint_like_the_one_that_forget_writes(here):
    compare(["model.safetensors"], **RUNS | {"run_methods": ["lau"], "seeds": 1})
    (path,) = kept_files()
    forget("model.safetensors", "lau", THREE, output="out.safetensors", options=CPU)
    ours, theirs = store.read(str(path)), store.read("out.safetensors")
    assert ours.digest == theirs.digest != store.read("model.safetensors").digest
    differing = {"seconds", "notes"}
    assert ours.record.last.model_dump(exclude=differing) == theirs.record.last.model_dump(exclude=differing)


# what a run is kept under


def place_of(checkpoint="model.safetensors", method="lau", seed=0, selection=0.2, request=THREE, options=None, plain=Plain(),
             **settings):  # fmt: skip
    (trial,) = trials.trials([method], settings, request.kind)
    chosen = options or Options(device="cpu", precision="float32", seed=seed)
    first = load(checkpoint, plain, chosen)
    return kept.place(first, trial.method, trial.values, resolve(request, first.folder), selection, first.run(chosen))


OTHERS = {
    "another method": {"method": "mask"},
    "another setting": {"epochs": 3},
    "another seed": {"seed": 1},
    "another request": {"request": Request(("5",))},
    "another selection set": {"selection": 0.1},
    "another precision": {"options": Options(device="cpu", precision="float64")},
    "another checkpoint": {"checkpoint": "without-3.safetensors"},
}


@pytest.mark.parametrize("changed", OTHERS.values(), ids=OTHERS)
def test_another_run_is_kept_elsewhere(here, changed):
    assert place_of() == place_of()
    assert place_of(**changed) != place_of()


def test_so_is_a_run_on_other_images_threads_or_code(here, monkeypatch):
    first = place_of()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 77)
        assert place_of() != first
    with monkeypatch.context() as patch:
        patch.setattr(kept, "program", lambda: "another")
        assert place_of() != first
    assert place_of() == first
    copied = shutil.copytree((here / "digits").resolve(), here / "copied")
    assert place_of(plain=Plain(data=str(copied))) == first             # a copy of the images has their fingerprint
    next((copied / "train/3").iterdir()).unlink()
    assert place_of(plain=Plain(data=str(copied))) != first


def test_the_code_is_part_of_the_version(monkeypatch, tmp_path):
    kept.program.cache_clear()
    version = kept.program()
    (tmp_path / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(kept.unlearn_cli, "__file__", str(tmp_path / "__init__.py"))
    kept.program.cache_clear()
    one = kept.program()
    (tmp_path / "a.py").write_text("x = 2\n")
    kept.program.cache_clear()
    assert len({version, one, kept.program()}) == 3
    kept.program.cache_clear()


def test_the_runs_that_were_not_used_for_the_longest_go_first(here, ran, monkeypatch):
    masks = RUNS | {"run_methods": ["mask"]}
    compare(["model.safetensors"], **masks | {"seeds": 3})
    files = kept_files()
    assert len(files) == 3
    for age, path in enumerate(files):
        os.utime(path, (1000 - age, 1000 - age))
    monkeypatch.setattr(keeping, "MOST", int(2.5 * files[0].stat().st_size))
    compare(["model.safetensors"], **RUNS | {"run_methods": ["lau"], "seeds": 1})
    left = kept_files()
    assert len(left) == 2 and files[0] in left                          # the new one, and the one used last
    monkeypatch.setattr(keeping, "LARGEST", files[0].stat().st_size // 2)
    compare(["model.safetensors"], **RUNS | {"run_methods": ["mask"], "seeds": 1, "fresh": True})
    assert kept_files() == left                                     # too large to be kept at all


# the rows


def test_a_table_carries_distances_to_the_mean_of_the_references(here):
    report = compare(["model.safetensors"], references=["without-3.safetensors"], **RUNS)
    rows = {row.label: row.measures for row in report.rows}
    reference = rows["without-3.safetensors"]
    for label in ("model.safetensors", "lau"):
        for name in ("retain_accuracy", "membership_auc"):
            measure = rows[label][name]
            assert measure.detail["to_reference"] == pytest.approx(measure.value - reference[name].value)
    assert "to_reference" not in reference["retain_accuracy"].detail
    assert rows["lau"]["average_gap"].value < rows["model.safetensors"]["average_gap"].value
    assert rows["lau"]["tug_of_war"].value > rows["model.safetensors"]["tug_of_war"].value
    assert rows["lau"]["retain_accuracy"].detail["values"] == pytest.approx([rows["lau"]["retain_accuracy"].value] * 2, abs=0.01)


def test_without_the_request_it_is_that_of_the_reference(here, ran):
    given = RUNS | {"run_methods": ["mask"], "seeds": 1, "request": Request()}
    report = compare(["model.safetensors"], references=["without-3.safetensors"], **given)
    assert report.title == "Forgetting class 3"
    assert numbers(report)["mask"]["forget_accuracy"].value == 0


def test_rows_are_sorted_as_asked_and_stay_as_given_otherwise(here):
    def labels(**more):
        report = compare(["model.safetensors"], references=["without-3.safetensors"], **RUNS | {"seeds": 1}, **more)
        return [row.label for row in report.rows], report.facts.get("sorted_by")

    ours = ["model.safetensors", "without-3.safetensors"]
    assert labels() == ([*ours, "lau", "mask"], None)
    assert labels(sort="forget_seconds") == ([*ours, "mask", "lau"], "forget_seconds, lower first")
    assert labels(sort="top_two_accuracy") == ([*ours, "mask", "lau"], "top_two_accuracy, nearest to the reference first")


def test_a_sort_by_a_metric_that_has_no_number_leaves_the_order_and_says_so(here):
    report = compare(["model.safetensors"], references=["without-3.safetensors"], sort="tpr_at_1_percent", **RUNS | {"seeds": 1})
    assert [row.label for row in report.rows][2:] == ["lau", "mask"]
    assert report.notes[0].startswith("the rows are not sorted: tpr_at_1_percent has no number (needs 100 unseen images")
    assert "sorted_by" not in report.facts


# verdicts


def test_each_row_is_judged_and_head_only_methods_hold_no_feature_level(here):
    report = compare(["model.safetensors"], references=["without-3.safetensors"], verify="full", **RUNS)
    said = {row.label: {level: one.outcome for level, one in row.levels.items()} for row in report.rows}
    assert said["model.safetensors"] == {"output": "failed", "feature": "failed"}
    assert said["lau"] == said["mask"] == {"output": "held", "feature": "failed"}
    assert said["without-3.safetensors"] == {"output": "held", "feature": "not shown"}      # nobody else to judge it by
    lau = next(row for row in report.rows if row.label == "lau")
    assert (lau.levels["output"].held, lau.levels["output"].runs) == (2, 2)
    assert lau.levels["feature"].reason.startswith("separation_recovery is 1.0000, the limit is <= 0.5")
    assert report.exit_code == 0 and report.verdict == ""


def test_the_output_level_alone_takes_no_training_step(here, unlearn, monkeypatch):
    monkeypatch.setenv("UNLEARN_CACHE", str(here / "cache"))            # nothing is kept from other tests
    command = ("compare", "model.safetensors", "--class", "3", "--methods", "mask", "--reference", "without-3.safetensors")
    output, full = (unlearn(*command, "--verify", verify, "--json") for verify in ("output", "full"))
    assert "relearning" not in output.err and "relearning" in full.err
    row = json.loads(output.out)
    assert row["levels"].keys() == {"output"} and row["levels"]["output"]["outcome"] == "held"
    assert (output.code, full.code) == (0, 0)


def test_two_references_judge_each_other(here):
    first = store.read("without-3.safetensors")
    nudged = {name: tensor * (1 + 1e-4) if tensor.is_floating_point() else tensor for name, tensor in first.tensors.items()}
    store.write("again.safetensors", nudged, first.record)
    report = compare(["model.safetensors", "without-3.safetensors", "again.safetensors"], verify="full", options=CPU)
    for row in report.rows[1:]:
        assert {level: one.outcome for level, one in row.levels.items()} == {"output": "held", "feature": "held"}
    assert report.rows[0].levels["feature"].outcome == "failed"


def test_the_original_beside_a_checkpoint_is_found_where_a_verdict_needs_it(here):
    forget("model.safetensors", "mask", THREE, output="mask.safetensors", options=CPU)
    given = {"references": ["without-3.safetensors"], "options": CPU}
    assert [row.role for row in compare(["mask.safetensors"], **given).rows] == ["reference", "unlearned"]
    report = compare(["mask.safetensors"], verify="full", **given)
    assert [row.role for row in report.rows] == ["original", "reference", "unlearned"]
    assert report.rows[-1].levels["feature"].outcome == "failed"
    os.remove("model.safetensors")
    assert compare(["mask.safetensors"], verify="full", **given).rows[-1].levels["feature"].outcome == "not shown"


def test_single_images_have_a_table_of_their_own(here):
    images = sorted((here / "digits/train/3").iterdir())[:5]
    request = Request(instances=tuple(f"train/3/{path.name}" for path in images))
    given = RUNS | {"run_methods": ["neg-grad"], "seeds": 1, "settings": {"epochs": 1}, "request": request}
    report = compare(["model.safetensors"], references=["without-3.safetensors"], verify="output", **given)
    main = [column.name for column in report.columns if column.main]
    assert {"forget_accuracy_gap", "tug_of_war", "test_accuracy"} <= set(main)
    assert "forget_test_accuracy" not in main and "unlearning_score" not in main


def test_a_shared_setting_is_meant_for_the_methods_in_which_it_acts():
    found = {trial.name: trial.values for trial in trials.trials(["su", "random-label"], {"momentum": "0.5", "lr": "0.1"} | {
        "random_label.optimizer": "sgd"}, "classes")}  # fmt: skip
    assert found["random-label"]["momentum"] == 0.5
    assert "momentum" not in found["su"]
    both = {trial.name: trial.values for trial in trials.trials(["random-label", "scrub"], {"momentum": "0.5"}, "classes")}
    assert both["scrub"]["momentum"] == 0.5
    assert "momentum" not in both["random-label"], "it is adam's"


@pytest.mark.parametrize("name", ["momentum", "random_label.momentum"])
def test_a_setting_that_acts_in_none_of_the_methods_is_refused(name):
    with pytest.raises(UnlearnError, match="random-label's setting momentum acts with optimizer=sgd only"):
        trials.trials(["mask", "random-label"], {name: "0.5"}, "classes")


# the command line


@pytest.mark.parametrize(
    ("options", "problem", "hint"),
    [
        (["--sort", "forget_acuracy"], "no metric called 'forget_acuracy'", "did you mean 'forget_accuracy'?"),
        (["--sort", "relearn_epochs"], "compare does not measure it", "`unlearn relearn` does."),
        (["--sort", "revived_accuracy"], "compare does not measure it", "add --verify full."),
        (["--sort", "membership_auc"], "needs a reference model", "pass --reference FILE"),
        (["--sort", "average_gap"], "needs a reference model", "pass --reference FILE"),
        (["--verify", "all"], "--verify all is not known", "output, full"),
        (["--fresh"], "--fresh runs methods again, and none is named", "add --methods"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_code_2(here, unlearn, options, problem, hint):
    done = unlearn("compare", "model.safetensors", "--class", "3", "-q", *options)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("Error: ") and problem in first
    assert second.startswith("Hint: ") and hint in second


def test_a_method_that_fails_is_named_and_the_others_are_kept(here, unlearn):
    command = ("compare", "model.safetensors", "--class", "3", "--methods", "mask,neg-grad", "--set", "neg_grad.lr=1e30")
    done = unlearn(*command)
    assert done.code == 2
    assert "Error: neg-grad with seed 0: " in done.err
    assert len(kept_files()) == 1


def test_methods_run_on_a_checkpoint_from_a_pipe(here, program):
    whole = (here / "model.safetensors").read_bytes()
    done = program("compare", "-", "--class", "3", "--methods", "mask", "--json", cwd=here, stdin=whole)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["forget_accuracy"] == 0
