"""Folders as timm and transformers save them: what they give is what their library gives, and it loads what comes back."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from libraries import MODELS, NAMES, changed, digits, pictures, save_timm, save_transformers
from safetensors.torch import load_file, save_file

from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.checkpoints import hub, store
from unlearn_cli.engine.run import Options

CPU = ("--precision", "float32", "--device", "cpu", "-q")
TIMM = {"test_resnet": {}, "test_vit": {"img_size": 32}}
OUT = "out"


@pytest.fixture(scope="session")
def saved(shipped, tmp_path_factory):
    """Each folder is made once; tests copy it."""
    top, known = tmp_path_factory.mktemp("saved"), {}

    def make(kind: str) -> Path:
        pytest.importorskip("timm" if kind in TIMM else "transformers")
        if kind not in known:
            root = shipped / "digits"
            known[kind] = (
                save_timm(kind, top / kind, root, **TIMM[kind]) if kind in TIMM else save_transformers(kind, top / kind, root)
            )
        return known[kind]

    return make


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def folder(saved, here):
    """A copy of a tiny folder, under the name `model` in the working folder."""

    def copy(kind: str) -> Path:
        shutil.copytree(saved(kind), "model")
        return Path("model")

    return copy


def theirs(folder):
    """The library's own logits for images, by its own preparation of them."""
    config = json.loads((Path(folder) / "config.json").read_text())
    if "architectures" not in config:
        import timm
        from timm.data import create_transform, resolve_model_data_config

        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        transform = create_transform(**resolve_model_data_config(model))
        return lambda images: model(torch.stack([transform(one) for one in images]))
    import transformers

    kind = config["architectures"][0]
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    prepares = slow(folder)
    return lambda images: model(prepares(images, return_tensors="pt")["pixel_values"]).logits


def slow(folder):
    """The processor that resizes by Pillow, whatever this version of the library calls it."""
    import transformers

    try:
        return transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    except TypeError:
        return transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)


def loaded(name, **plain):
    return load(str(name), Plain(data="digits", **plain), Options(device="cpu", precision="float32"))


@torch.no_grad()
def both(name):
    """Our logits and the library's for the test images, and their classes."""
    ours, library = loaded(name), theirs(name)
    images = ours.folder.images
    test = images.test.nonzero()[:, 0]
    run = ours.run(Options(device="cpu", precision="float32"))
    from unlearn_cli.data.splits import Split
    from unlearn_cli.tasks.classes import Classes

    with run.adopted(ours.model, ours.head) as network:
        own = run.logits(network, Split("test", images, test, Classes(len(ours.folder.classes))), "testing").cpu()
    paths = [Path("digits") / images.paths[i] for i in test.tolist()]
    return own, library(pictures(paths)), images.labels[test]


@pytest.mark.parametrize("kind", [*TIMM, *MODELS])
def test_outputs_and_accuracy_are_the_librarys_own(folder, kind):
    own, library, y = both(folder(kind))
    assert (own - library).abs().max() <= 1e-4 * library.abs().max()
    accuracy = [(one.argmax(1) == y).double().mean().item() for one in (own, library)]
    assert accuracy[0] == accuracy[1]
    assert (own - own[0]).abs().max() > 1e-2 * own.abs().max()      # a control: the images are told apart


@pytest.mark.parametrize("kind", [*TIMM, *MODELS])
def test_the_library_loads_what_is_written_and_gives_the_same_outputs(unlearn, folder, kind):
    before = folder(kind)
    done = unlearn("forget", before, "-m", "neg-grad", "--set", "epochs=1", "--class", "3", "--data", "digits", "-o", OUT, *CPU)
    assert done.code == 0, done.err
    tensors, after = load_file(before / "model.safetensors"), load_file("out/model.safetensors")
    assert after.keys() == tensors.keys()
    assert {key: tensor.shape for key, tensor in after.items()} == {key: tensor.shape for key, tensor in tensors.items()}
    assert any(not torch.equal(after[key], tensors[key]) for key in tensors)
    own, library, _ = both(OUT)
    assert (own - library).abs().max() <= 1e-4 * library.abs().max()
    for name in ("config.json", "preprocessor_config.json"):
        if (before / name).exists():
            assert json.loads((Path(OUT) / name).read_text()) == json.loads((before / name).read_text())


def test_every_command_takes_folders(unlearn, folder, saved):
    before = folder("test_resnet")
    assert unlearn("forget", f"{before}/", "-m", "lau", "--class", "3", "--data", "digits", *CPU).code == 0
    after = Path("model.lau-class-3")
    assert after.is_dir() and not (after / "model.safetensors").is_symlink()
    step = store.read(str(after)).record.last
    assert (step.source.name, step.source.digest) == ("model", store.read(str(before)).digest)
    judged = unlearn("evaluate", after, "--verify", "output", "--record", "record.json", *CPU)
    assert judged.code in (0, 1), judged.err
    assert json.loads(Path("record.json").read_text())["original"]["path"] == "model"   # found beside it, though it is a folder
    assert unlearn("verify-record", "record.json", "-q").code == 0
    (after / "model.safetensors").rename("aside")
    gone = unlearn("verify-record", "record.json", "-q")
    assert gone.code == 2 and "model.lau-class-3: NOT READ: no such file" in gone.out
    Path("aside").rename(after / "model.safetensors")
    assert unlearn("relearn", after, "--set", "cap=1", *CPU).code == 0
    shutil.copytree(saved("test_vit"), "others-1")
    compared = unlearn("compare", before, after, "--reference", "others-*", "--data", "digits", *CPU, "--json")
    assert compared.code == 0, compared.err
    assert [row["role"] for row in json.loads(compared.out)["rows"]] == ["original", "reference"]
    assert "lau" in unlearn("inspect", after).out
    again = unlearn("forget", after, "-m", "mask", "--class", "5", *CPU)
    assert again.code == 0, again.err
    assert [step.method for step in store.read("model.lau-class-3.mask-class-5").record.lineage] == ["lau", "mask"]
    assert "- the class `3`\n- the class `5`\n" in Path("model.lau-class-3.mask-class-5/README.md").read_text()


def test_an_original_is_shown_the_images_as_what_was_made_from_it_was(unlearn, folder):
    before = folder("test_resnet")
    made = unlearn("forget", before, "-m", "mask", "--class", "3", "--data", "digits", "-o", "out/", "--std", "0.6,0.6,0.6", *CPU)
    assert made.code == 0, made.err
    after, options = loaded(OUT), Options(device="cpu", precision="float32")
    assert load(str(before), Plain(), options, after, original=True).record.std == [0.6, 0.6, 0.6] == after.record.std
    tensors = load_file(before / "model.safetensors")
    tensors["fc.bias"] += 0.001
    save_file(tensors, before / "model.safetensors", {"format": "pt"})
    assert load(str(before), Plain(), options, after).record.std != after.record.std, "of another model its library says it"


def test_evidence_lies_beside_a_folder_and_is_found_there(unlearn, folder):
    folder("test_resnet")
    command = ("forget", "model", "-m", "mask", "--class", "3", "--data", "digits", "-o", "out/", "--keep-evidence", *CPU)
    assert unlearn(*command).code == 0
    assert Path("out.evidence.json").is_file()
    assert loaded(OUT).evidence is not None


def test_a_folder_becomes_a_file_or_a_stream_that_can_be_used(unlearn, folder, program):
    before = folder("ViTForImageClassification")
    command = ("forget", before, "-m", "mask", "--class", "3", "--data", "digits", *CPU)
    assert unlearn(*command, "-o", "out.safetensors").code == 0
    assert unlearn(*command, "-o", OUT).code == 0
    record = store.read("out.safetensors").record
    assert record.architecture_config["model_type"] == "vit" and "id2label" not in record.architecture_config
    assert unlearn("evaluate", "out.safetensors", "--verify", "output", *CPU).code == 0
    streamed = program(*command, "-o", "-", cwd=Path.cwd())
    assert streamed.returncode == 0, streamed.stderr
    Path("streamed.safetensors").write_bytes(streamed.stdout)
    digests = {store.read(name).digest for name in ("out.safetensors", OUT, "streamed.safetensors")}
    assert len(digests) == 1


def test_tensors_under_the_names_of_the_code_are_taken_and_written_so(unlearn, folder):
    transformers = pytest.importorskip("transformers")
    before = folder("ViTForImageClassification")
    model = transformers.ViTForImageClassification.from_pretrained(before)
    command = ("forget", before, "-m", "mask", "--class", "3", "--data", "digits", *CPU, "-o")
    assert unlearn(*command, "one").code == 0
    save_file({key: tensor.clone() for key, tensor in model.state_dict().items()}, before / "model.safetensors")
    done = unlearn(*command, "two")
    assert done.code == 0, done.err
    assert load_file("two/model.safetensors").keys() == model.state_dict().keys()
    assert torch.equal(both("one")[0], both("two")[0])


def test_runs_on_a_folder_are_kept_for_the_next_comparison(unlearn, folder):
    before = folder("test_resnet")
    command = ("compare", before, "--methods", "mask", "--class", "3", "--data", "digits", *CPU, "--json")
    first, again = unlearn(*command), unlearn(*command)
    assert first.code == again.code == 0, first.err
    assert "1 of 1 runs were kept" in " ".join(json.loads(again.out)["notes"])


def test_a_training_begins_with_a_folder(unlearn, folder):
    before = folder("test_resnet")
    changed(before, num_classes=1000, label_names=None)
    done = unlearn("train", "digits", "--weights", before, "--set", "epochs=1", "-o", "out.safetensors", *CPU)
    assert done.code == 0, done.err
    record = store.read("out.safetensors").record
    assert (record.input.size, record.classes, record.last.source.name) == (32, NAMES, "model")


def test_a_wrapper_says_1000_classes_and_the_head_has_ten(unlearn, folder):
    before = folder("test_resnet")
    told = json.loads((before / "config.json").read_text())
    tensors = load_file(before / "model.safetensors")
    save_file({f"timm_model.{key}": tensor for key, tensor in tensors.items()}, before / "model.safetensors")
    changed(before, architectures=["TimmWrapperForImageClassification"], model_type="timm_wrapper", num_classes=1000,
            label_names=None, model_args=None, pretrained_cfg=told["pretrained_cfg"] | {"num_classes": 1000})  # fmt: skip
    done = unlearn("forget", before, "-m", "mask", "--class", "3", "--data", "digits", "-o", OUT, *CPU[:-1])
    assert done.code == 0, done.err
    assert "the config.json of model is of 1,000 classes, and its head has 10 outputs" in done.err + done.out
    mended = json.loads(Path("out/config.json").read_text())
    assert (mended["num_classes"], mended["label_names"], mended["pretrained_cfg"]["num_classes"]) == (10, NAMES, 10)
    assert load_file("out/model.safetensors").keys() == {f"timm_model.{key}" for key in tensors}
    row = load_file("out/model.safetensors")["timm_model.fc.bias"]
    assert (row != tensors["fc.bias"]).nonzero().flatten().tolist() == [3]
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForImageClassification.from_pretrained(OUT)
    assert model.config.num_labels == 10 and torch.equal(model.timm_model.fc.bias, row)


def test_names_in_another_order_than_the_folders_edit_the_right_row(unlearn, folder):
    """The outputs of a head turned round, with the names that the configuration has for them."""
    before = folder("test_resnet")
    tensors, order = load_file(before / "model.safetensors"), list(range(9, -1, -1))
    save_file(tensors | {key: tensors[key][order].contiguous() for key in ("fc.weight", "fc.bias")}, before / "model.safetensors")
    changed(before, label_names=[NAMES[i] for i in order])
    assert unlearn("forget", before, "-m", "mask", "--class", "3", "--data", "digits", "-o", OUT, *CPU).code == 0
    rows = load_file("out/model.safetensors")["fc.bias"] != load_file(before / "model.safetensors")["fc.bias"]
    assert rows.nonzero().flatten().tolist() == [6]
    changed(before, label_names=NAMES)                                   # a control: names that are wrong are not believed
    assert "no better than guessing" in unlearn("forget", before, "-m", "mask", "--class", "3", "--data", "digits", *CPU).err


def test_a_reference_whose_own_names_are_in_another_order_than_the_labels_given_is_refused(unlearn, folder):
    """Its numbers would be those of other classes, and what is kept would be judged by worse ones."""
    before, labels = folder("test_resnet"), ",".join(NAMES)
    command = ("forget", before, "-m", "mask", "--class", "3", "--data", "digits", "--labels", labels, "-o", OUT)
    assert unlearn(*command, *CPU).code == 0
    shutil.copytree(before, "other")
    tensors = load_file(before / "model.safetensors")
    save_file({key: tensor + 1e-3 * (tensor.dim() > 1) for key, tensor in tensors.items()}, "other/model.safetensors")
    command = ("evaluate", OUT, "--reference", "other", "--labels", labels, *CPU)
    assert unlearn(*command).code == 0
    changed(Path("other"), label_names=["1", "0", *NAMES[2:]])
    done = unlearn(*command)
    assert (done.code, "the config.json of other has the classes in another order than --labels" in done.err) == (2, True)


def test_a_name_that_two_classes_have_is_nobodys(unlearn, folder):
    before = folder("test_resnet")
    changed(before, label_names=[*NAMES[:9], "3"])
    done = unlearn("forget", before, "-m", "mask", "--class", "3", "--data", "digits", *CPU)
    assert done.code == 2
    assert "the folder '3' of digits may be '3 (3)' or '3 (9)'" in done.err


def test_a_folder_that_has_some_of_the_classes(unlearn, folder, here):
    before = folder("test_resnet")
    for part in ("train", "test"):
        for digit, name in (("3", "three"), ("7", "7")):
            (here / "some" / part).mkdir(parents=True, exist_ok=True)
            (here / "some" / part / name).symlink_to((here / "digits" / part / digit).resolve())
    words = ["zero", "one", "two", "three, trois", "four", "five", "six", "7", "8", "9"]
    synsets = [f"n{i:08}" for i in range(10)]
    changed(before, label_names=synsets, label_descriptions=dict(zip(synsets, words, strict=True)))
    done = unlearn("forget", before, "-m", "mask", "--class", "three", "--data", "some", "-o", OUT, *CPU[:-1])
    assert done.code == 0, done.err
    assert "some has 2 of the 10 classes of the model" in done.err + done.out
    rows = load_file("out/model.safetensors")["fc.bias"] != load_file(before / "model.safetensors")["fc.bias"]
    assert rows.nonzero().flatten().tolist() == [3]


def test_without_a_processor_nothing_is_guessed(unlearn, folder):
    before = folder("ViTForImageClassification")
    (before / "preprocessor_config.json").unlink()
    command = ("forget", before, "-m", "mask", "--class", "3", "--data", "digits", "-o", OUT, *CPU)
    done = unlearn(*command)
    assert done.code == 2 and not Path(OUT).exists()
    assert "there is no preprocessor_config.json" in done.err and "--size, --mean and --std" in done.err
    half = "0.5,0.5,0.5"
    assert unlearn(*command, "--size", "32", "--mean", half).code == 2
    assert unlearn(*command, "--size", "32", "--mean", half, "--std", half).code == 0
    assert store.read(OUT).record.resize is None


def test_what_may_know_the_class_still_is_not_copied(unlearn, folder):
    before = folder("test_resnet")
    for name in ("pytorch_model.bin", "optimizer.pt", "model.onnx", "adapter_model.safetensors", "adapter_config.json", "big.json"):
        (before / name).write_bytes(b"{" if name == "big.json" else b"{}")
    (before / "runs").mkdir()
    (before / "LICENSE").write_text("theirs")
    (before / "results.json").write_text("{}")
    (before / "README.md").write_text("---\nlicense: mit\ntags: [their]\n---\n# Theirs\n")
    done = unlearn("forget", before, "-m", "mask", "--class", "3", "--data", "digits", "-o", OUT, *CPU[:-1])
    assert done.code == 0, done.err
    written = {path.name for path in Path(OUT).iterdir()}
    assert written == {"model.safetensors", "config.json", "README.md", "LICENSE", "results.json"}
    shown = " ".join((done.err + done.out).split())
    assert "not copied from model" in shown
    for name in ("adapter_config.json", "adapter_model.safetensors", "big.json", "model.onnx", "optimizer.pt", "2 more"):
        assert name in shown
    assert (Path(OUT) / "README.md").read_text().startswith("---\nlicense: mit\nbase_model: model\nlibrary_name: timm\n")


def test_only_a_folder_that_was_written_here_is_replaced(unlearn, folder, saved):
    before = folder("test_resnet")
    shutil.copytree(saved("test_vit"), "theirs")
    Path("empty").mkdir()
    Path("photos").mkdir()
    Path("photos/one.png").write_bytes(b"")
    Path("file").write_bytes(b"")
    Path("link").symlink_to("empty")
    command = ("forget", before, "-m", "mask", "--class", "3", "--data", "digits", "--force", *CPU, "-o")
    for name in ("theirs", "photos", "photos/", "file", "link", "digits", "model", "model/", "model/new", "model/model.safetensors",
                 "model/out.safetensors", ".", "nowhere/out"):  # fmt: skip
        kept = {path: path.stat().st_mtime_ns for path in Path(".").rglob("*")}
        done = unlearn(*command, name)
        assert done.code == 2, name
        assert {path: path.stat().st_mtime_ns for path in Path(".").rglob("*")} == kept, name
    assert unlearn(*command, "empty").code == 0
    first = store.read("empty").digest
    assert unlearn(*[one for one in command if one not in ("--force", "-o")], "-o", "empty").code == 2
    assert unlearn(*[*command[:5], "4", *command[6:]], "empty/").code == 0
    assert store.read("empty").digest != first
    Path("empty/mine.txt").write_text("kept")
    assert unlearn(*command, "empty").code == 2
    assert Path("empty/mine.txt").read_text() == "kept"
    assert not [path.name for path in Path(".").iterdir() if path.name.startswith(".")]


def test_a_write_that_fails_leaves_what_was_there(unlearn, folder, monkeypatch):
    before = folder("test_resnet")
    command = ("forget", before, "-m", "mask", "--data", "digits", "--force", *CPU, "-o", OUT, "--class")
    assert unlearn(*command, "3").code == 0
    was = store.read(OUT).digest
    from unlearn_cli.checkpoints import folder_writing

    replace, calls = folder_writing.os.replace, []

    def fails(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(folder_writing.os, "replace", fails)
    done = unlearn(*command, "4")
    assert done.code == 2 and "no space left on the disk" in done.err
    assert store.read(OUT).digest == was
    assert not [path.name for path in Path(".").iterdir() if path.name.startswith(".")]


def test_a_name_on_the_hub_is_fetched_once_it_is_asked_for(unlearn, folder, monkeypatch, tmp_path):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked = []
    shutil.move(folder("test_resnet"), tmp_path / "snapshots")

    def download(name, revision=None, allow_patterns=None):
        asked.append((name, revision, tuple(allow_patterns)))
        return str(tmp_path / "snapshots")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    done = unlearn("forget", "hf://someone/tiny.net@v1", "-m", "mask", "--class", "3", "--data", "digits", *CPU)
    assert done.code == 0, done.err
    assert asked == [("someone/tiny.net", "v1", hub.WANTED)]
    assert not any(pattern.endswith((".bin", ".pt", ".pth", "*")) and pattern != "LICENSE*" for pattern in hub.WANTED)
    out = Path("tiny.net.mask-class-3")
    assert store.read(str(out)).record.last.source.name == "hf://someone/tiny.net@v1"
    assert "base_model: someone/tiny.net\n" in (out / "README.md").read_text()
    judged = unlearn("evaluate", out, "--original", "hf://someone/tiny.net", "--verify", "output", "--record", "record.json", *CPU)
    assert judged.code == 0, judged.err
    assert json.loads(Path("record.json").read_text())["original"]["path"] is None
    assert unlearn("verify-record", "record.json", "-q").code == 0
    for name in ("hf://", "hf://tiny", "hf://a/b/c", "hf://a/../b"):
        assert unlearn("inspect", name).code == 2
    assert len(asked) == 2
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    assert "pip install 'unlearn-cli[hub]'" in unlearn("inspect", "hf://someone/tiny.net").err


def test_classes_that_timm_knows_by_their_number_alone():
    pytest.importorskip("timm")
    from unlearn_cli.models.sources.timm import imagenet

    names, also = imagenet(1000)
    assert len(names) == len(also) == 1000 == len(set(names))
    assert also[names.index("n01440764")] == ["tench, Tinca tinca"]
    assert imagenet(10) is None


def test_fixture_images_are_what_they_are_for(shipped):
    paths, y = digits(shipped / "digits", "train")
    assert len(paths) == len(y) and y.unique().tolist() == list(range(10))


def test_a_normalisation_of_another_number_of_channels_is_not_made_up(unlearn, folder):
    before = folder("test_resnet")
    about = json.loads((before / "config.json").read_text())["pretrained_cfg"]
    changed(before, pretrained_cfg=about | {"mean": [0.5], "std": [0.5]})
    command = ("forget", before, "-m", "mask", "--class", "3", "--data", "digits", "-o", OUT, *CPU)
    done = unlearn(*command)
    assert done.code == 2 and "its mean and std are of 1 channels, its network takes 3" in done.err
    assert unlearn(*command, "--mean", "0.4,0.5,0.6", "--std", "0.2,0.3,0.25").code == 0
