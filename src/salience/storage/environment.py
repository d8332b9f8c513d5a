"""Where a run took place: versions, hardware and commit. Environment variables are never read into it."""

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("salience", "torch", "captum", "hydra-core", "numpy")


def host() -> str:
    """The name of this machine."""
    return platform.node()


def process(pid: int | str = "self") -> str | None:
    """What tells a process from a later one with the same number: this boot and when it started; None if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return None
    state, *rest = fields.split()
    return None if state in "ZX" else f"{boot}/{rest[18]}"


def describe(device: str = "cpu") -> dict[str, Any]:
    """Versions, git state of the working directory, processor, threads and platform, ready for JSON."""
    import torch

    cuda = device.startswith("cuda") and torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "git": git_state(),
        "cpu": processor(),
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "threads": torch.get_num_threads(),
        # platform.platform() would start a process to ask for the processor once more
        "platform": f"{platform.system()}-{platform.release()}-{platform.machine()}",
    }


@cache
def version(package: str) -> str | None:
    """The installed version, without importing the package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state(folder: Path | str = ".") -> dict[str, Any] | None:
    """Commit of a working directory and whether files differ from it; None without a repository or git."""

    command = ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    head = dict(line[2:].split(" ", 1) for line in said.splitlines() if line.startswith("# "))
    changed = any(not line.startswith("# ") for line in said.splitlines())
    commit = head.get("branch.oid", "(initial)")
    return None if commit == "(initial)" else {"commit": commit, "dirty": changed}


def processor() -> str:
    """The name of the processor, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
