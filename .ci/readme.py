"""Run every command of the README's `bash` blocks, one after the other, and fail where one fails.

Lines that only set up the environment are left out: it is there. A line that ends in `# exit N` must exit with N.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

SET_UP = ("git clone", "cd ", "uv ", "make ", "python3 -m venv", "source ")


def commands(text: str) -> list[str]:
    """The commands of all bash blocks, continuation lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def main(readme: str) -> int:
    for command in commands(Path(readme).read_text(encoding="utf-8")):
        if command.startswith(SET_UP):
            continue
        wanted = re.search(r"#\s*exit (\d+)\s*$", command)
        start = time.monotonic()
        done = subprocess.run(["bash", "-c", f"export PATH=$PWD/.venv/bin:$PATH; {command}"])
        print(f"--- {time.monotonic() - start:.0f} s: {command}", flush=True)
        if done.returncode != int(wanted[1] if wanted else 0):
            print(f"exit {done.returncode}: {command}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
