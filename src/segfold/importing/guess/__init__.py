"""A first competition file for a folder that nobody has described: ``segfold data --guess PATH``."""

import tempfile
from pathlib import Path

from segfold.competition import Competition
from segfold.errors import SegfoldError
from segfold.importing.guess.draft import Draft
from segfold.importing.guess.families import find_families
from segfold.importing.guess.files import Source, is_image
from segfold.importing.guess.lists import find_lists
from segfold.importing.guess.roles import find_roles
from segfold.importing.guess.samples import find_tables, fit_runs, read_samples
from segfold.importing.guess.tables import known_texts, read_all
from segfold.yaml_file import parse_yaml

__all__ = ["guess"]

_MOST_TABLES = 40


def guess(path: Path) -> str:
    """Looks at a folder or a zip and writes a competition file for it.

    Names, tables and lists are looked at as a whole, of images and masks a sample is read. Nothing is written below
    ``path``.

    Returns:
        YAML that ``load_competition`` reads, with what was found, and what is to be filled in, as comments.

    Raises:
        SegfoldError: nothing is there, or no image in it.
    """
    with tempfile.TemporaryDirectory(prefix="segfold-guess-") as folder:
        source = Source(path, Path(folder))
        images = [name for name in source.names if is_image(name)]
        if not images:
            others = "; ".join(source.notes[:2])
            raise SegfoldError(
                f"{path} holds no image among {len(source.names)} files: expected a folder or a zip with images"
                + (f" ({others})" if others else "")
            )
        csvs = [name for name in source.names if name.lower().endswith(".csv")]
        tables, problems = read_all(source.fetch(csvs[:_MOST_TABLES]))
        source.notes += problems
        cells, beginnings = known_texts(tables)
        roles = find_roles(find_families(images, cells), beginnings)
        found = find_tables(tables, roles)
        texts = [name for name in source.names if name.lower().endswith(".txt")]
        masked = {own for match in roles.masks[:1] for own in match.by_id}
        lists = None if found.train else find_lists(source.fetch(texts[:200]), roles.train.ids, masked)
        samples = read_samples(source, roles, found.train)
        fit = None if found.train is None else fit_runs(found.train, samples, roles.train)
        text = str(Draft(path, source, roles, found, lists, samples, fit).text())
    try:
        Competition.model_validate(parse_yaml(text, "guess"))
    except (SegfoldError, ValueError) as error:
        return f"# This is no competition file yet: {' '.join(str(error).split())[:300]}\n{text}"
    return text
