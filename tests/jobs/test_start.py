"""What may not be imported on the way of a short command: each of these costs about a second."""

import subprocess
import sys

SLOW = ("torchvision", "torch._dynamo", "torch._inductor", "sympy", "PIL", "sklearn")
FORGET = """
import sys
from unlearn_cli.cli.app import run
code = run(["forget", "--method", "lau", "--class", "3", "model.safetensors", "-q"])
print(",".join(name for name in sys.argv[1:] if name in sys.modules))
sys.exit(code)
"""


def test_forgetting_imports_neither_torchvision_nor_the_compiler_stack(place):
    done = subprocess.run(
        [sys.executable, "-c", "from unlearn_cli.data.folder import open_folder; open_folder('digits', size=28, channels=1)"],
        cwd=place, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = subprocess.run([sys.executable, "-c", FORGET, *SLOW], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""


def test_the_help_and_the_version_do_not_import_torch():
    for option in ("--help", "--version"):
        code = f"import sys; from unlearn_cli.cli.app import run; run(['{option}']); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
