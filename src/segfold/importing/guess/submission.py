"""How predictions are wanted, by the sample submission."""

from typing import TYPE_CHECKING, Any

from segfold.importing.guess.tables import Key, Table, find_columns, is_runs
from segfold.importing.guess.text import Text

if TYPE_CHECKING:
    from segfold.importing.guess.draft import Draft


def submission_of(text: Text, draft: "Draft") -> None:
    """Writes the submission's part of the file."""
    tables = draft.tables
    if tables.solution is not None:
        text.set(
            "solution", tables.solution.name, "masks of the test images, it seems; only `segfold score` reads them"
        )
    if tables.sample is None:
        if draft.layout != "kaggle-rle":
            text.set("submission", {"form": "png"}, "fill in: no sample submission was found; maps of indices in a zip")
        return
    table, key = tables.sample
    found = _sample(table, key, draft)
    if draft.layout != "kaggle-rle":
        found = {"form": "rle", **found, "order": "column", "sample": table.name}
        text.say("Nothing says whether pixels are numbered down the columns or along the rows: fill in order.")
    cells = _cells(table, found, draft)
    if len(cells) == 1 and not is_runs(cells[0]):
        found["empty"] = cells.pop()
    if found:
        text.set("submission", found, f"as in {table.name}")
    if cells:
        text.say(f"The sample's masks are {', '.join(map(repr, cells))}; fill in submission.empty if that says empty.")


def _sample(table: Table, key: Key | None, draft: "Draft") -> dict[str, Any]:
    """What differs from the train table."""
    train = draft.tables.train
    columns = [str(column) for column in table.rows.columns]
    usual = (
        ("id", "rle_mask", "{id}", None)
        if train is None
        else (
            *(train.key.column, train.runs, train.key.text),
            train.columns.class_column,
        )
    )
    id_column = key.column if key is not None else usual[0] if usual[0] in columns else columns[0]
    others = [column for column in columns if column != id_column]
    class_column = usual[3] if usual[3] in others and usual[3] is not None else None
    if class_column is None and key is not None and len(others) > 1 and table.rows[id_column].duplicated().any():
        class_column = find_columns(table, key, others[-1]).class_column
    masks = [column for column in others if column != class_column]
    mask_column = usual[1] if usual[1] in masks else table.runs or (masks[-1] if masks else usual[1])
    text = key.text if key is not None else usual[2]
    given = {"id_column": id_column, "mask_column": mask_column, "key": text}
    found: dict[str, Any] = {}
    for name, value, same in zip(given, given.values(), (usual[0], usual[1], usual[2])):
        if value != same or (train is None and name != "key"):
            found[name] = value
    if class_column is not None and class_column != usual[3]:
        found["class_column"] = class_column
    return found


def _cells(table: Table, found: dict[str, Any], draft: "Draft") -> list[str]:
    """The few texts that a sample has for masks."""
    train = draft.tables.train
    column = found.get("mask_column") or (train.runs if train is not None else "rle_mask")
    if column not in table.rows.columns or not len(table.rows):
        return []
    texts = list(table.rows[column].unique()[:4])
    known = {"", *(train.columns.empties if train is not None else ())}
    return [] if len(texts) > 3 or set(texts) <= known else texts
