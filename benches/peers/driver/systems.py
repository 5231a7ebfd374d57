"""The systems, and how they are built or installed."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import FOLDER, INSTALLED, BenchError

CONCURRENCY = 16


@dataclass(frozen=True)
class Package:
    """A folder with a program that one or more systems use."""

    program: list[str]
    build: Callable[[], None]
    tools: tuple[str, ...]


@dataclass(frozen=True)
class System:
    """A system with its number of workers and slots."""

    name: str
    title: str
    package: str
    workers: int
    slots: int
    # Whether it has a call that submits many tasks.
    bulk: bool = True

    def command(self, port: int) -> list[str]:
        """Returns the command line of its processes."""
        system = "raw" if self.name == "raw" else self.package
        program = PACKAGES[self.package].program
        return [*program, system, str(port), str(self.workers), str(self.slots)]


def cargo_package(name: str, *options: str) -> Package:
    folder = FOLDER / name
    command = ["cargo", "build", "--release", *options]
    command += ["--manifest-path", str(folder / "Cargo.toml")]
    program = [str(folder / "target" / "release" / f"peer-{name}")]
    return Package(program, lambda: run(command), ("cargo",))


def npm_install() -> None:
    """Installs into the ignored folder, next to a copy of the script that imports it."""
    source, target = FOLDER / "bullmq", INSTALLED / "bullmq"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "main.mjs"):
        shutil.copyfile(source / name, target / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    once(target, source / "package-lock.json", lambda: run(command, cwd=target))


def pip_install() -> None:
    target, pins = INSTALLED / "dramatiq", FOLDER / "dramatiq" / "requirements.txt"

    def install() -> None:
        run([sys.executable, "-m", "venv", "--clear", str(target)])
        pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        run([*pip, "--requirement", str(pins)])

    once(target, pins, install)


def once(target: Path, pins: Path, install: Callable[[], None]) -> None:
    """Installs unless the same pins have been installed before."""
    stamp, digest = target / "installed", hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    install()
    stamp.write_text(digest)


def run(command: list[str], cwd: Path | None = None) -> None:
    """Runs a command, with its output on stderr."""
    print("+", " ".join(command), file=sys.stderr, flush=True)
    code = subprocess.run(command, cwd=cwd, stdout=sys.stderr, check=False).returncode
    if code != 0:
        raise BenchError(f"`{' '.join(command)}` failed with status {code}")


PACKAGES = {
    # Not locked: the dependencies of the crates in this repository may have changed.
    "ours": cargo_package("ours"),
    "flowfabric15": cargo_package("flowfabric15", "--locked"),
    "bullmq": Package(
        ["node", str(INSTALLED / "bullmq" / "main.mjs")], npm_install, ("node", "npm")
    ),
    "dramatiq": Package(
        [
            str(INSTALLED / "dramatiq" / "bin" / "python"),
            "-B",
            str(FOLDER / "dramatiq" / "main.py"),
        ],
        pip_install,
        (),
    ),
}
SYSTEMS = [
    System("ours-16x1", "ours, 16 workers of 1 slot", "ours", CONCURRENCY, 1),
    System("ours-1x16", "ours, 1 worker of 16 slots", "ours", 1, CONCURRENCY),
    System("bullmq", "BullMQ, concurrency 16", "bullmq", 1, CONCURRENCY),
    System("flowfabric15", "FlowFabric 0.15, 16 workers", "flowfabric15", CONCURRENCY, 1, False),
    System("dramatiq", "dramatiq, 16 threads", "dramatiq", 1, CONCURRENCY, False),
    System("raw", "raw lists, 16 in flight", "ours", 1, CONCURRENCY),
]
OURS = ["ours-16x1", "ours-1x16"]


def prepare(systems: list[System]) -> None:
    """Builds and installs the systems."""
    packages = {system.package: PACKAGES[system.package] for system in systems}
    for name, package in packages.items():
        missing = [tool for tool in package.tools if not shutil.which(tool)]
        if missing:
            raise BenchError(
                f"{name} needs {' and '.join(missing)}, not found on the PATH: install it, or "
                "select other systems with --only"
            )
    for package in packages.values():
        package.build()


def versions(server: str, systems: list[System]) -> dict[str, str]:
    """Returns the versions of the programs, and of the libraries by the lock files."""
    packages = {system.package for system in systems}
    server_line = first_line([server, "--version"])
    number = re.search(r"v=(\S+)", server_line)
    found = {"server": number.group(1) if number else server_line}
    found["python"] = sys.version.split()[0]
    if packages & {"ours", "flowfabric15"}:
        found["rustc"] = first_line(["rustc", "--version"]).removeprefix("rustc ").split()[0]
    if "ours" in packages:
        root = str(FOLDER.parent.parent)
        command = ["git", "-C", root, "describe", "--always", "--dirty"]
        found["ours"] = first_line(command)
        found["redis (crate)"] = cargo_version("ours", "redis")
    if "flowfabric15" in packages:
        found["flowfabric"] = cargo_version("flowfabric15", "flowfabric")
    if "bullmq" in packages:
        text = (FOLDER / "bullmq" / "package.json").read_text()
        found |= dict(re.findall(r'"(bullmq|ioredis)": "([^"]+)"', text))
        found["node"] = first_line(["node", "--version"])
    if "dramatiq" in packages:
        text = (FOLDER / "dramatiq" / "requirements.txt").read_text()
        pins = re.findall(r"^([a-z]+)==(\S+)", text, re.MULTILINE)
        found |= {f"{name} (Python)": version for name, version in pins}
    return found


def cargo_version(package: str, name: str) -> str:
    text = (FOLDER / package / "Cargo.lock").read_text()
    found = re.search(rf'name = "{name}"\nversion = "([^"]+)"', text)
    return found.group(1) if found else "unknown"


def first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return (done.stdout.splitlines() or ["unknown"])[0]
