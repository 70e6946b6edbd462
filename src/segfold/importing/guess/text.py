"""A competition file with comments, line by line."""

from typing import Any

from segfold.errors import one_line
from segfold.yaml_file import yaml_text

_WIDTH = 116


class Text:
    """Lines of YAML and of comments, in the order in which they are added.

    Attributes:
        values: what the YAML says.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._lines: list[str] = []

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def say(self, text: str) -> None:
        """A comment; a long one goes on in further lines."""
        if not text:
            self._lines.append("#")
            return
        line = "#"
        for word in one_line(text).split(" "):
            if len(line) + 1 + len(word) > _WIDTH and line != "#":
                self._lines.append(line)
                line = "#  "
            line += f" {word}"
        self._lines.append(line)

    def gap(self) -> None:
        self._lines.append("")

    def set(self, key: str, value: Any, comment: str = "") -> None:
        """A key, with a comment behind it, or above it where the line gets too long."""
        self.values[key] = value
        self._add(_yaml(key, value), comment)

    def suggest(self, key: str, value: Any, comment: str = "") -> None:
        """A key that is commented out."""
        self._add([f"# {line}" for line in _yaml(key, value)], comment)

    def _add(self, lines: list[str], comment: str) -> None:
        if comment and len(lines) == 1 and len(lines[0]) + len(comment) < _WIDTH:
            self._lines.append(f"{lines[0]}   # {one_line(comment)}")
            return
        if comment:
            self.say(comment)
        self._lines += lines


def _yaml(key: str, value: Any) -> list[str]:
    whole = yaml_text({key: value}).rstrip("\n")
    if whole.startswith("{"):  # of a plain value
        return [whole[1:-1]]
    if isinstance(value, list) and (len(whole) > _WIDTH or "\n" in whole):
        return [f"{key}:", *(f"  - {yaml_text([each]).strip()[1:-1]}" for each in value)]
    return whole.splitlines()
