"""The README's two commands, timed from a fresh clone with a new virtual environment.

python benchmarks/commands.py
"""

import pathlib
import re
import subprocess
import tempfile
import time

from harness import record

ROOT = pathlib.Path(__file__).parent.parent
BUDGETS = {"make demo": "90 s after installation", "make test": "9 minutes"}


def timed(command: list[str], folder: str) -> tuple[float, str]:
    """Seconds, and what was printed without the progress bars."""
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    lines = [line for line in re.split(r"[\r\n]", done.stdout) if "step/s" not in line and "s/step" not in line]
    return time.perf_counter() - begin, re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        demo_seconds, printed = timed(["make", "demo"], folder)
        test_seconds, tested = timed(["make", "test"], folder)
    inside = re.search(r"; (\d+) s in all", printed)
    passed = re.findall(r"\d+ passed.*", tested)[-1]
    report = printed[printed.index("1. Lotka") : printed.index("wrote ")].strip()
    text = (
        f"`make demo`: {demo_seconds:.0f} s from clone to picture, of which {inside[1] if inside else '?'} s after installation "
        f"({BUDGETS['make demo']}).\n"
        f"`make test`: {test_seconds:.0f} s with its installation, lint and types ({BUDGETS['make test']}); {passed}.\n\n"
        f"What the demo prints:\n\n```text\n{report}\n```"
    )
    record("commands", "The two commands", text, {"make demo": demo_seconds, "make test": test_seconds})


if __name__ == "__main__":
    main()
