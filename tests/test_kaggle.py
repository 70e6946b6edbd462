"""The client of Kaggle: what it fetches is imported, and each way it can refuse is one line."""

import sys
import types
from pathlib import Path

import pytest

from import_files import contents, kaggle_files, nothing_left, zipped
from segfold.errors import SegfoldError
from segfold.importing.kaggle import import_data
from tiny_competition import TINY, write_tiny

DONE = "5 train and 3 test images"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    write_tiny(root)
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


class RefusedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"({status})\nReason: …")
        self.response = types.SimpleNamespace(status_code=status)


def client(monkeypatch: pytest.MonkeyPatch, authenticate: BaseException | None, download: object) -> None:
    """Puts a stand-in for the client into place."""

    class KaggleApi:
        def authenticate(self) -> None:
            print("a page\nof help")
            if authenticate is not None:
                raise authenticate

        def competition_download_files(self, competition: str, path: str, quiet: bool) -> None:
            if isinstance(download, BaseException):
                raise download
            assert isinstance(download, bytes)
            (Path(path) / f"{competition}.zip").write_bytes(download)

    module = types.ModuleType("kaggle.api.kaggle_api_extended")
    module.KaggleApi = KaggleApi  # type: ignore[attr-defined]
    for name in ("kaggle", "kaggle.api"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", module)


def test_from_kaggle(raw: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    client(monkeypatch, None, zipped(kaggle_files(raw)))
    assert import_data(TINY, None, home).endswith(DONE)
    assert contents(home / "data" / "tiny") == contents(raw)
    assert nothing_left(home)
    assert "page" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("authenticate", "download", "said"),
    [
        (OSError("Could not find kaggle.json."), b"", "no Kaggle token"),
        (SystemExit(1), b"", "no Kaggle token"),
        (None, RefusedError(401), "refused the token"),
        (None, RefusedError(403), "accept the rules on https://www.kaggle.com/c/tiny-slug/rules"),
        (None, RefusedError(404), "no competition tiny-slug"),
        (None, ConnectionError("no route"), r"failed \(no route\)"),
    ],
)
def test_what_kaggle_refuses(
    home: Path, monkeypatch: pytest.MonkeyPatch, authenticate: BaseException, download: object, said: str
) -> None:
    client(monkeypatch, authenticate, download)
    with pytest.raises(SegfoldError, match=said) as caught:
        import_data(TINY, None, home)
    assert "make data from=PATH" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert nothing_left(home)


def test_client_is_not_installed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaggle", None)
    monkeypatch.delitem(sys.modules, "kaggle.api.kaggle_api_extended", raising=False)
    with pytest.raises(SegfoldError, match=r"pip install .kaggle>=2\.2. six"):
        import_data(TINY, None, home)
