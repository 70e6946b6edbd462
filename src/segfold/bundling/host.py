"""What a host without internet holds already, and what of this installation's packages it therefore lacks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

from packaging import tags
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from segfold.errors import SegfoldError, shown

KAGGLE = Path(__file__).with_name("kaggle.txt")
"""The list of the usual host."""

PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17)), "manylinux2014_x86_64")
"""What wheels may be built for, the newest first."""

_OF_THE_BOARD = {"jinja2", "plotly"}
"""Packages that only the board needs, which no host builds."""
_REQUIREMENTS = Path(__file__).parents[3] / "requirements.txt"
_OF_TORCH = {"torch", "torchvision", "triton"}
_OF_CUDA = ("nvidia-", "cuda-")


@dataclass(frozen=True)
class Host:
    """What a machine has installed.

    Attributes:
        python: its version, such as ``3.12``.
        packages: their versions by name in the one form of package names; None where any is to be had.
    """

    python: str
    packages: Mapping[str, Version | None]

    def has(self, wanted: Requirement) -> bool:
        """Whether it holds a package in a version that is asked for."""
        name = canonicalize_name(wanted.name)
        if name not in self.packages:
            return False
        version = self.packages[name]
        return version is None or wanted.specifier.contains(version, prereleases=True)

    @cached_property
    def tags(self) -> frozenset[tags.Tag]:
        """Of wheels that can be installed on it."""
        version = [int(part) for part in self.python.split(".")]
        interpreter = "cp" + "".join(map(str, version))
        cpython = tags.cpython_tags(version, platforms=PLATFORMS)
        return frozenset([*cpython, *tags.compatible_tags(version, interpreter, PLATFORMS)])

    def means(self, wanted: Requirement, extras: Iterable[str] = ()) -> bool:
        """Whether a requirement applies there."""
        where = {"python_version": self.python, "python_full_version": f"{self.python}.0", "platform_machine": "x86_64"}
        where |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
        marker = wanted.marker
        return marker is None or any(marker.evaluate({**where, "extra": extra}) for extra in ["", *extras])


def read_host(path: Path = KAGGLE) -> Host:
    """The host that a list names: lines ``name`` or ``name==version``, one of them ``python==3.12``, and remarks after ``#``.

    Raises:
        SegfoldError: the file cannot be read, or a line is none of these.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SegfoldError(f"{path} cannot be read as a list of packages ({error}); give another one") from None
    packages: dict[str, Version | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.partition("#")[0].strip()
        if not plain:
            continue
        name, equals, version = (part.strip() for part in plain.partition("=="))
        try:
            Requirement(name)
            packages[canonicalize_name(name)] = Version(version) if equals else None
        except (InvalidRequirement, InvalidVersion):
            raise SegfoldError(
                f"{path} line {number} is {shown(plain)}: expected a package, or package==version"
            ) from None
    python = packages.pop(canonicalize_name("python"), None)
    if python is None:
        raise SegfoldError(f"{path} does not say which Python the host has: add a line such as python==3.12")
    return Host(f"{python.major}.{python.minor}", packages)


def requirements() -> list[Requirement]:
    """What segfold itself needs to predict and to train: by its repository, or by its installation."""
    if _REQUIREMENTS.is_file():
        lines = [line for line in _REQUIREMENTS.read_text().splitlines() if line and line[0] != "#"]
    else:
        lines = [line for line in metadata.requires("segfold") or [] if "extra ==" not in line]
    found = [Requirement(line) for line in lines]
    return [each for each in found if canonicalize_name(each.name) not in _OF_THE_BOARD]


def is_of_torch(name: str) -> bool:
    """Whether a package is torch, or comes with it."""
    return canonicalize_name(name) in _OF_TORCH or canonicalize_name(name).startswith(_OF_CUDA)


def lacking(host: Host, wanted: Sequence[Requirement] | None = None) -> dict[str, Requirement]:
    """The packages that a host has not, or not in a version that will do, and those that they need in turn.

    Args:
        wanted: None for what segfold needs.

    Returns:
        By name, each in the version that is installed here, which is known to work. None of torch.
    """
    found: dict[str, Requirement] = {}
    todo: list[tuple[Requirement, tuple[str, ...]]] = [
        (each, ()) for each in (requirements() if wanted is None else wanted)
    ]
    while todo:
        requirement, extras = todo.pop()
        name = canonicalize_name(requirement.name)
        if is_of_torch(name) or not host.means(requirement, extras) or host.has(requirement) or name in found:
            continue
        try:
            here = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found[name] = Requirement(f"{name}{requirement.specifier}")
            continue
        found[name] = Requirement(f"{name}=={here.version}")
        todo += [(Requirement(line), tuple(requirement.extras)) for line in here.requires or ()]
    return dict(sorted(found.items()))
