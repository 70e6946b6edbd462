"""Text files that list the images of a split."""

from pathlib import Path

from segfold.errors import SegfoldError
from segfold.layouts.ids import one_form


def read_list(path: Path, line: str = "an id") -> list[str]:
    """The lines of a list in the one Unicode form, blank ones and the blanks around them left out.

    Args:
        path: the file.
        line: what stands in a line, for messages.

    Raises:
        SegfoldError: the file is missing, or is not UTF-8.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise SegfoldError(f"no list {path}: expected a text file with {line} a line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SegfoldError(f"{path} cannot be read as UTF-8 text: expected {line} a line") from error
    return [one_form(each.strip()) for each in text.splitlines() if each.strip()]
