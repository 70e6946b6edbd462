"""CSVs read letter by letter: what RFC 4180 allows, and nothing else."""


def plain_csv(data: bytes, blanks: bool = False) -> list[list[str]] | None:
    """The fields of each line; an empty line has none. None where quotes stand in other places than around a field.

    Args:
        blanks: whether blanks before a field, and before its quotes, are no part of it.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    lines: list[list[str]] = [[]]
    at = 0
    while True:
        field, at = _field(text, at, blanks)
        if field is None:
            return None
        ended = at == len(text)
        if not lines[-1] and not field and (ended or text[at] in "\r\n") and (at == 0 or text[at - 1] in "\r\n"):
            pass  # an empty line
        else:
            lines[-1].append(field)
        if ended:
            return lines
        if text[at] != ",":
            at += 1 if text[at : at + 2] == "\r\n" else 0
            lines.append([])
        at += 1


def _field(text: str, at: int, blanks: bool) -> tuple[str | None, int]:
    """A field and the place of what ends it."""
    while blanks and at < len(text) and text[at] == " ":
        at += 1
    if text[at : at + 1] != '"':
        end = at
        while end < len(text) and text[end] not in ",\r\n":
            end += 1
        return (None if '"' in text[at:end] else text[at:end]), end
    value = ""
    at += 1
    while True:
        end = text.find('"', at)
        if end < 0:
            return None, at
        value += text[at:end]
        if text[end + 1 : end + 2] == '"':
            value += '"'
            at = end + 2
            continue
        ends = end + 1 == len(text) or text[end + 1] in ",\r\n"
        return (value if ends else None), end + 1
