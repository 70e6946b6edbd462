"""A message is one line, whatever it quotes."""

import pickle

import pytest

from segfold.errors import LONGEST, SegfoldError, one_line
from segfold.importing.kaggle import DataProblemsError

STRANGE = "\x00\t\n\r\x0b\x1b\x1f\x7f\x85\xa0\u2028\u2029\ufeff\ud800"


def test_what_a_terminal_would_not_show_is_escaped() -> None:
    text = str(SegfoldError(f"found a{STRANGE}b, expected 3×4 … “ö”"))
    assert text.isprintable() and len(text.splitlines()) == 1
    assert text == "found " + ascii(f"a{STRANGE}b")[1:-1] + ", expected 3×4 … “ö”"
    text.encode()  # a lone surrogate could not be written


def test_a_plain_message_stays_as_it_is() -> None:
    message = "folds/x-5.csv: the fold of a ('x') is no number: expected 0, 1, … (\\)"
    assert str(SegfoldError(message)) == message == one_line(message)


@pytest.mark.parametrize("error", [SegfoldError("a\nb"), SegfoldError("x" * 10 * LONGEST)])
def test_a_worker_process_can_send_it(error: SegfoldError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert str(back) == str(error) and type(back) is SegfoldError


def test_quoted_input_does_not_fill_the_screen() -> None:
    text = str(SegfoldError("found " + "x" * 10**6 + ", expected a number"))
    assert len(text) < LONGEST + 10 and text.startswith("found xx") and text.endswith("xx, expected a number")


def test_problems_with_data_are_one_line_too() -> None:
    assert "\n" not in str(DataProblemsError(["a\nb.png: broken", "c"]))
