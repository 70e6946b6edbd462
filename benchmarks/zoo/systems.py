"""What a comparison is: systems of one competition, told apart by name, that are measured and trained alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segfold.config import read_overrides
from segfold.models import margin_of, sides_of
from segfold.resize import Shape

HOME = Path(__file__).parents[2]
CONFIGS = HOME / "configs"


@dataclass(frozen=True)
class Start:
    """What encoders begin with, as the command is told.

    Attributes:
        encoder: one for all systems that have an encoder; empty: each its own.
        weights: a file under timm's names, or a folder of such files called ``ENCODER….safetensors``; ``none``: random weights.
    """

    encoder: str = ""
    weights: str = "none"

    def of(self, encoder: str) -> str:
        """The file of an encoder's weights, empty where there is none."""
        given = Path(self.weights)
        if given.is_dir():
            files = sorted(given.glob(f"{encoder}*.safetensors"), key=lambda path: (len(path.name), path.name))
            return str(files[0]) if files else ""
        return self.weights if given.name.startswith(encoder) else ""


RANDOM = Start()


@dataclass(frozen=True)
class System:
    """One row of the table: a config, and what is changed in it.

    Attributes:
        name: of the row.
        config: below ``configs``.
        overrides: of the config, its encoder's weights with them.
        pretrained: whether it begins with weights from a file.
        ablation: whether it is the default with a part changed, rather than another architecture.
        encoder: that the command named for all.
        missing: why it cannot begin here; empty if it can.
    """

    name: str
    config: str
    overrides: tuple[str, ...] = ()
    pretrained: bool = False
    ablation: bool = False
    encoder: str = ""
    missing: str = ""

    @property
    def path(self) -> Path:
        """Its config."""
        return CONFIGS / self.config

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in self.name).strip("-")


@dataclass(frozen=True)
class Comparison:
    """The systems of a competition, and how long and at which size they are trained.

    Attributes:
        competition: its name.
        command: by which the marks in the document know its table.
        results: file of its figures.
        default: name of the system that others are held against.
        systems: all that begin so, the default first.
        common: overrides that make a config's training as long as asked: for a shape of the input, images an epoch, epochs.
        size: height and width of the input.
        minutes: of training each.
        minutes_random: the same of what begins with random weights.
        batch: images a step.
    """

    competition: str
    command: str
    results: Path
    default: str
    systems: Callable[[Start], list[System]]
    common: Callable[[Shape, int, int], list[str]]
    size: Shape
    minutes: float
    minutes_random: float
    batch: int

    def chosen(self, names: Sequence[str], start: Start = RANDOM) -> list[System]:
        """The systems of these names, as they stand or of folders; all if there are none.

        Raises:
            ValueError: a name that fits none.
        """
        known = self.systems(start)
        for name in names:
            if not any(name in (system.name, system.slug) for system in known):
                raise ValueError(f"no system is called {name!r}; use some of {', '.join(s.slug for s in known)}")
        return [system for system in known if not names or {system.name, system.slug} & set(names)]

    def key(self, system: System, size: Shape) -> str:
        """The name of what is kept of a system."""
        height, width = size
        side = str(height) if height == width else f"{height}x{width}"
        return "-".join([self.competition, system.slug, side, *([system.encoder] if system.encoder else [])])

    def settings(self, system: System, size: Shape, images: int, epochs: int = 1) -> list[str]:
<<<<<<< HEAD
        """Overrides of a system's config for a training of so many images an epoch at a size, or the next that it can take."""
        return [*self.common(size, images, epochs), *system.overrides, *_taken(system, size)]


def _taken(system: System, size: Shape) -> list[str]:
    """The override of the size for a network that sees a margin around it, or takes some sizes only."""
    model = dict(read_overrides(system.overrides).get("model", {}))
    name = model.pop("name", "unet")
    margin, (smallest, step) = margin_of(name, model), sides_of(name, model)
    wanted = [side + 2 * margin for side in size]
    taken = [max(smallest, side + (smallest - side) % step) for side in wanted]
    return [] if taken == list(size) else [f"input.size={taken}"]
=======
        """Overrides of a system's config for a training of so many images an epoch at a size.

        Nothing is compiled: a speed that is measured over seconds then is that of the minutes, and no time goes to compiling.
        """
        return ["machine.compile=false", *self.common(size, images, epochs), *system.overrides]
>>>>>>> w-zoo
