"""The wheels of packages that a host lacks: fetched by pip, or taken from a folder."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from segfold.bundling.host import PLATFORMS, Host
from segfold.errors import SegfoldError
from segfold.layouts.table import shorten

_PATIENCE = 1800  # seconds that pip may take


def fetch(
    wanted: Mapping[str, Requirement], host: Host, folder: Path, say: Callable[[str], None] = lambda text: None
) -> dict[str, Path]:
    """Has pip fetch the wheels of some packages for a host, of those packages alone.

    One that is published as source only is built here, where that gives a wheel that any machine can take.

    Args:
        wanted: by name.
        folder: where they are put; made if need be.

    Returns:
        The wheel of each package.

    Raises:
        SegfoldError: no network, no such package, or none for the host.
    """
    if not wanted:
        return {}
    say(f"fetching {len(wanted)} wheels for Python {host.python}: {', '.join(wanted)}")
    options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={host.python}"]
    options += [f"--platform={platform}" for platform in PLATFORMS]
    texts = [str(requirement) for requirement in wanted.values()]
    if _pip("download", *options, f"--dest={folder}", *texts) is not None:
        for text in texts:
            if _pip("download", *options, f"--dest={folder}", text) is not None:
                reason = _pip("wheel", f"--wheel-dir={folder}", text)
                if reason is not None:
                    raise SegfoldError(
                        f"pip could not fetch {text} for Python {host.python} ({reason}); fetch the wheels where there is a "
                        "network and give their folder with --wheels, or list what the host has with --host"
                    )
    return choose(wanted, host, folder)


def _pip(command: str, *arguments: str) -> str | None:
    """Runs pip; returns None, or why it failed."""
    line = [sys.executable, "-m", "pip", command, "--no-deps", "--quiet", "--disable-pip-version-check", *arguments]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {_PATIENCE // 60} minutes"
    if done.returncode == 0:
        return None
    errors = [text for text in done.stderr.splitlines() if text.startswith("ERROR")] or done.stderr.splitlines()
    return errors[-1].removeprefix("ERROR: ") if errors else f"exit code {done.returncode}"


def choose(wanted: Mapping[str, Requirement], host: Host, folder: Path) -> dict[str, Path]:
    """Of the wheels in a folder the newest of each package that fits the host.

    Raises:
        SegfoldError: no such folder, or packages of which it has no wheel that fits, by name.
    """
    if not folder.is_dir():
        raise SegfoldError(f"{folder} is no folder: expected one with wheels")
    found: dict[str, tuple[tuple[object, ...], Path]] = {}
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, build, kinds = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        requirement = wanted.get(canonicalize_name(name))
        if requirement is None or not requirement.specifier.contains(version, prereleases=True):
            continue
        if host.tags & kinds and ((version, build), path) > found.get(name, ((), path)):
            found[name] = (version, build), path
    if missing := [str(requirement) for name, requirement in wanted.items() if name not in found]:
        raise SegfoldError(
            f"{folder} has no wheel of {shorten(missing)} for Python {host.python} on Linux: put it there, or let pip "
            "fetch them by leaving out --wheels"
        )
    return {name: path for name, (_, path) in found.items()}
