"""The file that goes to the host, and the manifest beside it that says how it was made."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt

import segfold
from segfold.competition import Competition
from segfold.environment import git_state
from segfold.errors import SegfoldError
from segfold.files import read_json, write_atomic
from segfold.layouts.ids import one_form
from segfold.locks import alone_in
from segfold.submission.forms import Encoded, Named, Pictures, Table, form_of, image_ids
from segfold.submission.names import Taken, manifest_path, place, recipe_path


@dataclass(frozen=True)
class Written:
    """A submission on disk.

    Attributes:
        path: the CSV or zip.
        manifest: what the file beside it holds.
        kept: whether the same submission was there already, and was left as it is.
    """

    path: Path
    manifest: dict[str, Any]
    kept: bool


def write_submission(
    path: Path | str,
    masks: Iterable[tuple[str, npt.NDArray[Any]]],
    competition: Competition,
    order: Sequence[Named],
    check: Callable[[Path], list[str]],
    details: Mapping[str, Any],
    taken: Taken = Taken.REPLACE,
    recipe: Callable[[Path], str] | None = None,
) -> Written:
    """Writes the CSV or zip, its manifest and its recipe; all appear, or none does and what was there before stays.

    Args:
        path: the file, which ends as the competition's form does (``form_of(competition).suffix``).
        masks: (id, H×W mask of the competition's task; of a binary one, foreground is ``> 0``) in any order; each is
            encoded as it comes and forgotten.
        competition: gives the form: columns, rows, the order of the pixels in an RLE, the size.
        order: what the sample submission names, see ``sample_order``; the rows are in this order, and spell the ids as it
            does.
        check: all problems of a file; runs on it before it gets its name.
        details: what the manifest says beyond what is known here: members, weights, threshold, steps, cv…;
            ``recipe`` is a hash of those that decide the masks.
        taken: what becomes of another submission of that name; see ``segfold.submission.names.place``.
        recipe: the text of the recipe's file for a file of this path; None where nothing was fitted.

    Raises:
        SegfoldError: a doubled or unexpected id, ids without a mask, a file that fails the check, a full disk, a name
            that is taken.
    """
    path, form = Path(path), form_of(competition)
    if path.suffix != form.suffix:
        raise SegfoldError(f"{path}: a submission ends in {form.suffix}; name it {path.name}{form.suffix}")
    encoded = _encode(masks, form, order, competition.form.sample or "the test set")
    content = form.content(order, encoded)
    planes = len(encoded) * len(competition.task.rows)
    with alone_in(path.parent):
        path, kept = place(path, content, details.get("recipe"), taken)
        if kept:
            return Written(path, read_json(manifest_path(path)), True)
        manifest = {
            form.suffix.removeprefix("."): path.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "competition": competition.name,
            **details,
            "images": len(encoded),
            "empty_share": sum(each.empty for each in encoded.values()) / planes if planes else None,
            "git": git_state(),
            "segfold": segfold.__version__,
            "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        beside = {manifest_path(path): json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"}
        if recipe is not None:
            beside[recipe_path(path)] = recipe(path)
        _write_together(path, content, beside, check)
    return Written(path, manifest, False)


def _write_together(path: Path, content: bytes, beside: Mapping[Path, str], check: Callable[[Path], list[str]]) -> None:
    with ExitStack() as stack:
        files: list[IO[Any]] = []
        for other, text in beside.items():
            files.append(stack.enter_context(write_atomic(other, "w")))
            files[-1].write(text)
        host_file = stack.enter_context(write_atomic(path))
        host_file.write(content)
        for file in (*files, host_file):  # all are safe on disk before one gets its name
            file.flush()
            os.fsync(file.fileno())
        _refuse(path, check(Path(host_file.name)))
        # Between the renames a submission may stand without a manifest or a recipe, never with that of another.
        for other in (manifest_path(path), recipe_path(path)):
            other.unlink(missing_ok=True)


def _encode(
    masks: Iterable[tuple[str, npt.NDArray[Any]]], form: Table | Pictures, order: Sequence[Named], source: str
) -> dict[str, Encoded]:
    """Masks by id; ``source`` is what names the ids."""
    ids = image_ids(order)
    expected = {one_form(image_id) for image_id in ids}
    encoded: dict[str, Encoded] = {}
    for name, mask in masks:
        image_id = one_form(name)
        if image_id in encoded:
            raise SegfoldError(f"image {image_id} has two masks; give each id of the test set once")
        if image_id not in expected:
            raise SegfoldError(f"image {image_id} is not in {source}; import the data again")
        encoded[image_id] = form.encoded(mask)
    missing = [image_id for image_id in ids if one_form(image_id) not in encoded]
    if missing:
        raise SegfoldError(
            f"{len(missing)} of {len(ids)} ids of {source} have no mask "
            f"({', '.join(missing[:3])}); predict all test images"
        )
    return encoded


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        more = f" and {len(problems) - 3} more problems" if len(problems) > 3 else ""
        raise SegfoldError(f"{path} was not written, it fails the check: {'; '.join(problems[:3])}{more}; report this")
