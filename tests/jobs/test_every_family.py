"""Every family of networks, by a user's own file: train, forget by six methods, judge, relearn, and the library's own outputs."""

import shutil
from pathlib import Path

import pytest
import torch

from tests import families
from unlearn_cli import jobs
from unlearn_cli.checkpoints import store
from unlearn_cli.data.augment import normalise
from unlearn_cli.data.folder import open_folder
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs import Options, Plain, Request

CODE = str(Path(families.__file__))
CPU = Options(device="cpu", precision="float32")
METHODS = {
    "lau": {},
    "suli": {},
    "unsir": {},
    "scrub": {"epochs": 2},
    "fisher": {},
    "eu-k": {"epochs": 1},
}
RECIPE = {"optimizer": "adamw", "lr": 0.003, "batch_size": 16, "schedule": "cosine", "flip": "none", "crop_padding": 0}
every_family = pytest.mark.parametrize("family", families.NAMES)


@pytest.fixture(scope="module")
def lab(shipped, tmp_path_factory):
    """Three digits, thirty training and twenty test images each, and a network of every family that has learned them."""
    place = tmp_path_factory.mktemp("families")
    for part, many in (("train", 30), ("test", 20)):
        for name in "013":
            (place / "three" / part / name).mkdir(parents=True)
            for path in sorted((shipped / "digits" / part / name).iterdir())[:many]:
                shutil.copy(path, place / "three" / part / name)

    def trained(family, without=()):
        file = place / f"{family}{'-'.join(('', *without))}.safetensors"
        if not file.exists():
            jobs.train(str(place / "three"), str(file), arch=f"{CODE}:{family}", epochs=20, without=Request(without),
                       chosen=dict(RECIPE), options=CPU)  # fmt: skip
        return file

    return place, trained


def plain(family):
    return Plain(arch=f"{CODE}:{family}")


@every_family
@pytest.mark.parametrize("method", METHODS)
def test_a_method_forgets_and_the_result_is_judged(lab, tmp_path, family, method):
    _, trained = lab
    original, output = trained(family), tmp_path / "after.safetensors"
    jobs.forget(str(original), method, Request(("3",)), output=str(output), settings=METHODS[method], plain=plain(family),
                options=CPU)  # fmt: skip
    before, after = store.read(str(original)).tensors, store.read(str(output)).tensors
    assert {name: t.shape for name, t in after.items()} == {name: t.shape for name, t in before.items()}
    report = jobs.evaluate(str(output), original=str(original), references=[str(trained(family, ("3",)))],
                           require=["forget_accuracy<=0.5"], plain=plain(family), options=CPU)  # fmt: skip
    assert report.exit_code in (0, 1)


@every_family
def test_a_verdict_of_both_levels_is_reached_and_the_original_is_not_forgotten(lab, family):
    _, trained = lab
    original, reference = str(trained(family)), str(trained(family, ("3",)))
    report = jobs.evaluate(original, request=Request(("3",)), original=original, references=[reference], verify="full",
                           plain=plain(family), options=CPU)  # fmt: skip
    assert report.exit_code != 0
    assert report.rows


@every_family
def test_relearning_has_its_curve(lab, family):
    _, trained = lab
    report = jobs.relearn(str(trained(family, ("3",))), original=str(trained(family)), request=Request(("3",)), plain=plain(family),
                          options=CPU)  # fmt: skip
    assert report.exit_code == 0


@every_family
def test_the_file_written_loads_in_the_users_own_network_with_the_same_outputs(lab, family):
    place, trained = lab
    tensors = store.read(str(trained(family))).tensors
    record = store.read(str(trained(family))).record
    model = getattr(families, family)(3)
    model.load_state_dict(tensors, strict=True)
    images = open_folder(place / "three", size=28, channels=3).images
    x = normalise(images.gather(torch.arange(0, 150, 5)), record.mean, record.std)
    labels = images.labels[torch.arange(0, 150, 5)]
    with torch.no_grad():
        right = (model.eval()(x).argmax(1) == labels).float().mean()
    report = jobs.evaluate(str(trained(family)), plain=plain(family), options=CPU)
    assert right > 0.5
    assert report.rows[0].measures["test_accuracy"].value > 0.5


def test_a_network_without_a_linear_layer_at_its_end_is_refused(lab, tmp_path):
    place, _ = lab
    with pytest.raises(UnlearnError, match="not the output of a linear layer"):
        jobs.train(str(place / "three"), str(tmp_path / "no.safetensors"), arch=f"{CODE}:of_scores", epochs=1, options=CPU)
    assert not (tmp_path / "no.safetensors").exists()
