"""The README is tested: its tables are the code's, its commands parse, its first run runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import readme
import yaml

from unlearn_cli import methods
from unlearn_cli.checkpoints import record
from unlearn_cli.metrics import registry, requirements

ROOT = readme.README.parent
TEXT = readme.README.read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCE.findall(TEXT)
PROSE = FENCE.sub("", TEXT)
SEPARATORS = {"&&", "||", "|", ";", ">"}


def shell_commands() -> list[str]:
    """Every command line in a code block that begins with `unlearn`."""
    lines = [line.strip() for _, block in BLOCKS for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith("unlearn ")))


def block_with(text: str) -> str:
    return next(block for _, block in BLOCKS if text in block)


def test_the_generated_parts_are_up_to_date():
    assert set(readme.PARTS) == {name for _, name, _ in readme.PART.findall(TEXT)}
    assert readme.renewed(TEXT) == TEXT, "run `python -m tests.readme`"


@pytest.mark.parametrize("line", shell_commands())
def test_every_command_parses(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("release.yaml").write_text(block_with("# release.yaml"), encoding="utf-8")
    words = shlex.split(line)[1:]
    end = next((i for i, word in enumerate(words) if word in SEPARATORS), len(words))
    name, *arguments = words[:end]
    given = readme.commands()[name].make_context(name, arguments).params
    requirements.parse(given.get("require") or [])
    if "method" in given:
        values = dict(pair.split("=") for pair in given["settings"] or ())
        methods.get(given["method"]).parse(values, "images" if given["instances"] else "classes")


def test_every_command_option_method_and_metric_is_mentioned():
    for name, command in readme.commands().items():
        assert f"### unlearn {name}\n" in TEXT
        for option in readme.options(command):
            assert all(f"`{spelling}" in TEXT for spelling in option.opts), option.opts
    assert all(f"| [`{name}`]" in TEXT for name in methods.names())
    assert all(f"| `{name}` |" in TEXT for name in registry.known())


def test_every_field_of_the_record_is_explained():
    parts = [part for part in vars(record).values() if isinstance(part, type) and issubclass(part, record.Part)]
    assert record.Step in parts
    assert not [name for part in parts for name in part.model_fields if f"`{name}`" not in TEXT]


def test_every_link_leads_somewhere():
    headings = [line.lstrip("#").strip() for line in PROSE.splitlines() if line.startswith("#")]
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", PROSE):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (ROOT / target).exists(), target


def test_no_output_is_promised_that_the_program_does_not_give():
    promised = [line for line in PROSE.splitlines() if re.search(r"certified|guaranteed", line)]
    assert len(promised) == 1 and "No output" in promised[0]


def test_the_yaml_blocks_are_yaml():
    assert all(yaml.safe_load(block) for kind, block in BLOCKS if kind == "yaml")


def test_the_first_run_runs_as_written_and_so_does_the_python_example(tmp_path):
    fixtures = ROOT / "fixtures"
    shutil.copytree(fixtures, tmp_path / "fixtures", ignore=shutil.ignore_patterns("__pycache__"))
    script = "\n".join(line for line in block_with("pip install . ").splitlines() if "pip install" not in line)
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "UNLEARN_CACHE": str(tmp_path / "cache"),
    }
    if not (bin_folder / "unlearn").exists():
        pytest.skip("the package is not installed")

    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=600
        )

    done = run("bash", "-e", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == [
        f"{name}.safetensors" for name in ("model", "without-3", "model.lau-class-3")
    ]
    assert "Held: all 2 limits met" in done.stdout
    example = run(sys.executable, "-c", block_with("import Options"))
    assert example.returncode == 0, example.stderr
    assert example.stdout.startswith("Held")
