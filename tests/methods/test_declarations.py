"""Rules of a method are read from its declaration, whatever its settings are called."""

import contextlib
import json
import math
from typing import Annotated, Literal

import pytest
import torch

from unlearn_cli.cases.unlearning import unlearn as run_method
from unlearn_cli.checkpoints import store
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.engine.run import Options
from unlearn_cli.errors import UnlearnError
from unlearn_cli.methods import RECALIBRATE, method, setting

CPU = Options(device="cpu", precision="float32")


@method("A toy", paper="none", scope="class instances", reads="forget", instances_read="selection")
def toy_method(
    run, model, splits, *,
    statistics: Annotated[Literal["kept", "recalibrate"], setting("of BatchNorm, called otherwise", **RECALIBRATE)] = "kept",
    beside: Annotated[bool, setting("read the retain set", opens={True: "retain"})] = False,
    kind: Annotated[Literal["plain", "bold"], setting("how")] = "plain",
    boldness: Annotated[float, setting("how much", when={"kind": "bold"}, ge=0)] = 0.5,
    pace: Annotated[int, setting("of classes, and of listed images", images=30, ge=1)] = 10,
    names: Annotated[int, setting("of classes", only="classes", ge=1)] = 3,
    faces: Annotated[int, setting("of images", only="images", ge=1)] = 4,
    goal: Annotated[float | None, setting("what to come down to", classes=0.0, computed="what is found", ge=0)] = None,
    limit: Annotated[float | None, setting("of something", none="no limit", gt=0)] = None,
) -> None:  # fmt: skip
    if goal is None:
        run.settle("goal", len(splits.selection) / 1000)
    if beside:
        for _ in run.batches(splits.retain, size=100):
            pass


TOY = toy_method.method
LISTED = Request(instances=("train/3/0003.png",))
THREE = Request(("3",))
CLASSES = {"statistics": "kept", "beside": False, "kind": "plain", "pace": 10, "names": 3, "goal": 0.0, "limit": None}
IMAGES = {"statistics": "kept", "beside": False, "kind": "plain", "pace": 30, "faces": 4, "goal": None, "limit": None}


def ran(toy, request, **given):
    loaded = toy.load()
    values = TOY.parse(given, request.kind)
    run, tensors, _ = run_method(loaded, TOY, values, resolve(request, loaded.folder), CPU)
    return run, tensors, values | run.settled


@pytest.mark.parametrize("statistics", ["kept", "recalibrate"])
def test_statistics_are_estimated_anew_by_a_setting_of_any_name(toy, statistics):
    assert TOY.reads_with(TOY.parse({"statistics": statistics})) == ("forget", *(["retain"] * (statistics == "recalibrate")))
    run, tensors, _ = ran(toy, THREE, statistics=statistics)
    moved = {name for name, t in tensors.items() if not torch.equal(t, toy.weights[name])}
    assert bool(moved) == (statistics == "recalibrate") == bool(run.images_read["retain"])
    assert all("running" in name or "num_batches" in name for name in moved)


def test_a_switch_opens_what_it_declares_and_is_listed_by_its_name():
    assert TOY.opens == {"statistics=recalibrate": "retain", "beside": "retain"}
    assert TOY.reads_with(TOY.parse({"beside": "true"})) == ("forget", "retain")
    assert TOY.reads_with(TOY.parse({"beside": "true"}, "images"), "images") == ("forget", "retain", "selection")


def test_each_kind_of_request_has_its_settings_and_defaults():
    assert TOY.parse({}) == CLASSES
    assert TOY.parse({}, "images") == IMAGES
    assert TOY.parse({"pace": "7"}, "images")["pace"] == 7
    assert TOY.parse({"kind": "bold"})["boldness"] == 0.5


def test_none_for_a_setting_that_the_method_finds_is_its_default_and_for_others_a_value():
    assert TOY.parse({"goal": "none"}) == CLASSES
    assert TOY.parse({"goal": None}, "images") == IMAGES
    assert TOY.parse({"limit": "none"}) == CLASSES
    assert TOY.parse({"limit": "2"})["limit"] == 2


@pytest.mark.parametrize(
    ("given", "kind", "problem"),
    [
        ({"faces": 1}, "classes", "toy-method's setting faces acts for listed images only; this request names classes."),
        ({"names": 1}, "images", "toy-method's setting names acts for classes only; this request names listed images."),
        ({"boldness": 1}, "classes", "toy-method's setting boldness acts with kind=bold only; here kind is plain."),
    ],
)
def test_a_given_setting_that_cannot_act_is_refused(given, kind, problem):
    owner = TOY.name
    with pytest.raises(UnlearnError) as raised:
        TOY.parse(given, kind)
    assert raised.value.problem == problem.replace("toy-method", owner)
    assert TOY.acting(given | {"pace": 5}, kind) == {"pace": 5}


def test_what_the_method_found_is_what_is_recorded(toy):
    assert ran(toy, THREE)[2] == CLASSES
    run, _, recorded = ran(toy, LISTED)
    assert recorded == IMAGES | {"goal": run.settled["goal"]}
    assert recorded["goal"] > 0


def test_the_declaration_is_told_in_words():
    told = {name: (one.default_in_words(), one.meaning) for name, one in TOY.settings.items()}
    assert told["boldness"] == ("0.5", "how much; only with kind=bold")
    assert told["pace"] == ("10; for listed images 30", "of classes, and of listed images")
    assert told["names"] == ("3", "of classes; only for classes")
    assert told["goal"] == ("0; for listed images what is found", "what to come down to")
    assert told["limit"] == ("none", "of something; none: no limit")


# on the command line


def test_the_record_has_the_value_that_ran_in_place_of_none(place, unlearn):
    with contextlib.chdir(place):
        assert unlearn("forget", "-m", "neg-grad", "--class", "3", "model.safetensors", "-o", "made.safetensors", "-q").code == 0
        settings = store.read("made.safetensors").record.last.settings
    assert settings["stop_loss"] == pytest.approx(math.log(10))
    assert None not in settings.values()


def test_a_method_tells_what_acts_for_which_request_and_what_to_try_first(unlearn):
    told = json.loads(unlearn("methods", "unsir", "--json").out)
    settings = {one["name"]: one for one in told["settings"]}
    assert settings["instance_lr"]["only"] == "images"
    assert settings["instance_lr"]["defaults"] == {"images": 0.001}
    assert told["quick"] == {"classes": {"noise_batch": 16, "noise_steps": 10, "copies": 2}, "images": {}}
    su = {one["name"]: one for one in json.loads(unlearn("methods", "su", "--json").out)["settings"]}
    assert su["epochs"]["defaults"] == {"classes": 10, "images": 30}
    assert "--set noise_batch=16 --set noise_steps=10 --set copies=2" in unlearn("methods", "unsir").out
