"""`FILE.py:NAME`: the user's own code as an architecture, run because the command line names it and for nothing else."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from torch import nn

from unlearn_cli import models
from unlearn_cli.errors import UnlearnError
from unlearn_cli.jobs.training import State
from unlearn_cli.models.building import new

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels=3, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.head = nn.Linear(16 * width, num_classes)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Write a file of code; gives its path."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="net.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def found(path, name="Net"):
    return models.find(f"{path}:{name}", typed=True)


def built(path, name="Net", classes=5, channels=3, **settings):
    architecture = found(path, name)
    return new(architecture, classes, channels, 16, architecture.parsed(settings), 0)[0]


def first(model):
    return next(one for one in model.modules() if isinstance(one, nn.Conv2d))


def test_a_class_is_built_with_the_counts_that_it_takes_and_the_settings_given(code):
    path = code(NET)
    model = built(path, classes=7, channels=1, width="12")
    assert model.head.out_features == 7 and first(model).in_channels == 1 and first(model).out_channels == 12
    assert model(torch.randn(2, 1, 16, 16)).shape == (2, 7)


@pytest.mark.parametrize("count", ["num_classes", "classes", "n_classes", "nb_classes", "num_labels", "out_features"])
@pytest.mark.parametrize("channels", ["in_channels", "channels", "in_chans", "num_channels"])
def test_the_usual_names_of_the_counts_are_known(code, count, channels):
    path = code(NET + f"\ndef net({count}, {channels}): return Net({count}, {channels})\n")
    model = built(path, "net", classes=6, channels=1)
    assert model.head.out_features == 6 and first(model).in_channels == 1


def test_what_takes_no_counts_is_built_as_it_is(code):
    path = code(NET + "\ndef net(): return Net(4)\n\nclass Fixed(Net):\n    def __init__(self): super().__init__(9)\n")
    assert built(path, "net", classes=5).head.out_features == 4
    assert built(path, "Fixed", classes=5).head.out_features == 9


def test_the_same_seed_builds_the_same_weights(code):
    path = code(NET)
    one, other = (built(path).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_dataclasses_and_their_annotations_work_in_it(code):
    path = code("from __future__ import annotations\nfrom dataclasses import dataclass\n" + NET.strip() + """

@dataclass
class Config:
    width: int = 6

def net(num_classes):
    return Net(num_classes, 3, Config().width)
""")  # fmt: skip
    assert first(built(path, "net")).out_channels == 6


@pytest.mark.parametrize("line", ["from layers import WIDTH", "from .layers import WIDTH", "import layers; WIDTH = layers.WIDTH",
                                  "from parts.deep import WIDTH", "from .parts.deep import WIDTH"])  # fmt: skip
def test_it_may_import_what_lies_beside_it(code, line, tmp_path):
    path, where = list(sys.path), set(sys.modules)
    name = code(f"{line}\n{NET}\ndef net(num_classes): return Net(num_classes, 3, WIDTH)\n", "one/net.py")
    code("WIDTH = 5", "one/layers.py")
    code("from layers import WIDTH" if "from parts" in line else "WIDTH = 5", "one/parts/deep.py")
    assert first(built(name, "net")).out_channels == 5
    assert sys.path == path and not {"layers", "parts", "parts.deep"} & (set(sys.modules) - where)
    assert not list(tmp_path.rglob("__pycache__")), "nothing is left in the user's folder"


def test_two_networks_may_each_have_a_helper_of_one_name(code):
    for place, width in (("one", 5), ("two", 6)):
        code(f"WIDTH = {width}", f"{place}/layers.py")
        path = code(f"from layers import WIDTH\n{NET}\ndef net(classes): return Net(classes, 3, WIDTH)\n", f"{place}/net.py")
        assert first(built(path, "net")).out_channels == width


def test_a_helper_that_is_imported_when_the_network_is_built_is_found(code):
    code("WIDTH = 5", "layers.py")
    path = code(NET + "\ndef net(num_classes):\n    import layers\n    return Net(num_classes, 3, layers.WIDTH)\n")
    assert first(built(path, "net")).out_channels == 5


def test_a_module_that_was_there_before_is_left_alone(code):
    code("raise ValueError('not this one')", "json.py")
    path = code(f"import json\n{NET}")
    built(path)
    assert sys.modules["json"] is json


def test_the_digest_is_that_of_the_code_and_of_what_it_imports_beside_it(code):
    plain = found(code(NET)).digest
    assert len(plain) == 64 and found(code(NET, "copy.py")).digest == plain
    assert found(code(NET + "\n# more\n")).digest != plain
    code("WIDTH = 5", "one/layers.py"), code("WIDTH = 6", "two/layers.py"), code("WIDTH = 5", "three/layers.py")
    digests = [found(code(f"from layers import WIDTH\n{NET}", f"{place}/net.py")).digest for place in ("one", "two", "three")]
    assert digests[0] == digests[2] != digests[1]


def test_the_name_says_nothing_of_where_the_file_lies(code):
    assert found(code(NET, "deep/in/net.py")).name == "net.py:Net"


def test_what_it_prints_stays_out_of_the_output(code, capsys):
    path = code("print('hello')\n" + NET + "\ndef net(num_classes):\n    print('building')\n    return Net(num_classes)\n")
    built(path, "net")
    shown = capsys.readouterr()
    assert shown.out == "" and "hello" in shown.err and "building" in shown.err


REFUSED = {
    "raises": ("raise KeyError('x')", "Net", r"could not be run \(KeyError: 'x'\)"),
    "leaves": ("import sys\nsys.exit(3)", "Net", r"could not be run \(SystemExit: 3\)"),
    "is no Python": ("this is no Python", "Net", r"could not be run \(SyntaxError"),
    "holds a zero byte": ("a = 1\0", "Net", r"could not be run \((SyntaxError|ValueError)"),
    "lacks a module": ("import not_there", "Net", r"could not be run \(ModuleNotFoundError: No module named 'not_there'\)"),
    "has another name": (NET, "Nett", "defines no class or function called 'Nett'"),
    "has a number of that name": (NET + "\nNet = 3", "Net", "defines no class or function called 'Net'"),
    "gives no module": ("def net(): return 3", "net", "net of .*net.py gives a int"),
    "has a network made already": (NET + "\nnet = Net(5)", "net", "is a network that is made already"),
    "cannot be built": ("def net(depth): pass", "net", r"could not be built \(TypeError: .*'depth'\)"),
    "leaves as it is built": ("import sys\ndef net(): sys.exit(1)", "net", r"could not be built \(SystemExit: 1\)"),
    "is no classifier": (
        "from torch import nn\ndef net(): return nn.Identity()", "net", r"gives numbers of the shape \(2, 3, 16, 16\)"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "name", "line"), REFUSED.values(), ids=REFUSED)
def test_code_that_gives_no_classifier_is_refused_with_one_line(code, text, name, line):
    before = set(sys.modules)
    with pytest.raises(UnlearnError, match=line) as error:
        built(code(text), name)
    assert "\n" not in error.value.problem + error.value.hint
    if "could not be run" in line:
        assert not [name for name in set(sys.modules) - before if name.startswith("unlearn_architecture")]


def test_a_close_name_is_suggested_and_a_setting_that_it_does_not_take_is_refused(code):
    path = code(NET)
    with pytest.raises(UnlearnError) as error:
        built(path, "Nett")
    assert error.value.hint == "did you mean 'Net'?"
    with pytest.raises(UnlearnError, match="Net of .*net.py takes no 'depth'") as error:
        built(path, depth=3)
    assert error.value.hint == "it takes num_classes, in_channels, width."


def test_a_file_that_is_not_there_and_a_file_without_a_name_are_refused(code):
    with pytest.raises(UnlearnError, match="nowhere.py cannot be read: no such file"):
        found("nowhere.py")
    with pytest.raises(UnlearnError, match="is a file of code") as error:
        models.find(code(NET), typed=True)
    assert error.value.hint.endswith("net.py:NAME.")


def test_code_runs_for_no_name_that_was_not_typed(code):
    path = code("open('ran', 'w').close()\n" + NET)
    with pytest.raises(UnlearnError, match="code that only the command line may name"):
        models.find(f"{path}:Net")
    assert not Path("ran").exists()
    found(path)
    assert Path("ran").exists()


# on the command line

QUICK = ("--epochs", "1", "--precision", "float32", "--set", "lr=0.1", "--set", "crop_padding=0", "--set", "flip=none")
RAN = "open('ran', 'a').write('x')\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shipped, session_cache):
    from unlearn_cli.cli import app

    folder = tmp_path_factory.mktemp("trained")
    (folder / "net.py").write_text(NET)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code = app.run(["train", str(shipped / "digits"), "--arch", "./net.py:Net,width=4", *QUICK, "-o", "model.safetensors"])
    assert code == 0
    return folder / "model.safetensors"


@pytest.fixture
def here(code, trained, shipped):
    """The folder that the tests run in, with the trained network and the code that made it, which tells when it runs."""
    Path("model.safetensors").write_bytes(trained.read_bytes())
    code(NET)
    return Path.cwd(), ("--data", str(shipped / "digits"), "--precision", "float32")


def record(name):
    with safe_open(name, "pt") as file:
        return json.loads(file.metadata()["unlearn"])


def test_the_record_keeps_the_files_name_its_settings_and_its_digest_and_no_path(here, code):
    kept = record("model.safetensors")
    assert kept["architecture"] == "net.py:Net" and kept["architecture_settings"] == {"width": 4}
    assert kept["architecture_digest"] == found(code(NET)).digest


def test_forgetting_and_judging_take_the_code_from_the_command_line(unlearn, here):
    _, data = here
    arch = ("--arch", "./net.py:Net")
    done = unlearn("forget", "model.safetensors", *arch, "-m", "mask", "--class", "3", *data, "-o", "out.safetensors")
    assert done.code == 0, done.err
    assert "the code of" not in done.out + done.err
    assert record("out.safetensors")["architecture_digest"] == record("model.safetensors")["architecture_digest"]
    judged = unlearn("evaluate", "out.safetensors", *arch, *data, "--json")
    assert judged.code == 0, judged.err
    assert json.loads(judged.out)


@pytest.mark.parametrize("command", [("forget", "-m", "mask", "--class", "3", "-o", "out.safetensors"), ("evaluate",)])
def test_a_record_alone_never_runs_code(unlearn, here, code, command):
    folder, data = here
    code(RAN + NET)
    done = unlearn(command[0], "model.safetensors", *command[1:], *data)
    assert done.code == 2
    assert "its architecture is net.py:Net: code that only the command line may name, never a file" in done.err
    assert not (folder / "ran").exists() and not (folder / "out.safetensors").exists()
    assert unlearn("evaluate", "model.safetensors", "--arch", "net.py:Net", *data).code == 0
    assert (folder / "ran").exists(), "the control: this file tells when it runs"


def test_a_record_that_names_other_code_than_the_command_line_is_refused(unlearn, here, code):
    code(NET.replace("Net", "Other"), "other.py")
    done = unlearn("evaluate", "model.safetensors", "--arch", "./other.py:Other", *here[1])
    assert done.code == 2
    assert "was made with net.py:Net, and --arch names other.py:Other" in done.err


def test_code_that_changed_since_is_a_note(unlearn, here, code):
    code(NET + "\n# one line more\n")
    done = unlearn("evaluate", "model.safetensors", "--arch", "./net.py:Net", *here[1])
    assert done.code == 0
    assert "the code of net.py:Net is not that which model.safetensors was made with" in done.out + done.err


def test_code_that_no_longer_fits_is_refused(unlearn, here, code):
    code(NET.replace("16 * width", "9 * width").replace("AdaptiveAvgPool2d(4)", "AdaptiveAvgPool2d(3)"))
    done = unlearn("evaluate", "model.safetensors", "--arch", "./net.py:Net", *here[1])
    assert done.code == 2
    assert "head.weight has the shape (10, 64), not (10, 36)" in done.err


def test_a_training_goes_on_with_the_code_that_began_it_alone(tmp_path):
    def identity(digest):
        record = SimpleNamespace(architecture="net.py:Net", architecture_settings={}, architecture_digest=digest)
        plan = SimpleNamespace(record=record, recipe="r", folder=SimpleNamespace(fingerprint="f"), start=None,
                               used=SimpleNamespace(index=torch.arange(3)))  # fmt: skip
        run = SimpleNamespace(seed=0, precision=torch.float32, device=torch.device("cpu"), ranks=SimpleNamespace(first=True))
        return State(str(tmp_path / "out"), plan, run).identity

    assert identity("a" * 64) == identity("a" * 64) != identity("b" * 64)
