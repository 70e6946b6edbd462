"""Which packages a host lacks, and where their wheels come from."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bundled import make_recipe, mount, run_notebook
from segfold.bundling.host import KAGGLE, Host, lacking, read_host, requirements
from segfold.bundling.making import BundleOptions, bundle_recipe
from segfold.bundling.wheels import choose, fetch
from segfold.errors import SegfoldError

OF_TORCH = (
    "torch torchgen torchvision functorch nvidia triton sympy mpmath networkx filelock fsspec jinja2 markupsafe cuda"
)
"""Folders of torch and of what it alone needs, which every host is taken to have."""


def test_the_usual_host_lacks_little_and_never_torch() -> None:
    found = lacking(read_host(KAGGLE))
    assert {"scikit-learn", "numba", "llvmlite"} <= set(found) and len(found) < 8
    bare = lacking(Host("3.11", {}))
    assert {"numpy", "albumentations", "omegaconf", "pydantic-core"} <= set(bare)
    assert not [name for name in bare if name.startswith(("torch", "triton", "nvidia", "cuda"))]
    assert {each.name.lower() for each in requirements()} - {"torch"} <= set(bare) | {"docstring_parser"}


def test_what_only_the_board_needs_is_not_carried() -> None:
    assert not {each.name.lower() for each in requirements()} & {"jinja2", "plotly"}
    assert {"torch", "timm"} <= {each.name.lower() for each in requirements()}
    assert "plotly" not in lacking(Host("3.11", {}))


def test_what_the_host_has_in_another_version_is_lacking(tmp_path: Path) -> None:
    (tmp_path / "host.txt").write_text("python==3.11  # a remark\n\nNumPy==1.0\nPillow\n")
    host = read_host(tmp_path / "host.txt")
    wanted = [Requirement("numpy>=2"), Requirement("pillow>=99"), Requirement('rich; python_version < "3"')]
    assert set(lacking(host, wanted)) == {"numpy"}
    assert lacking(host, [Requirement("numpy<2")]) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("numpy==2", "does not say which Python"),
        ("python==3.11\nnumpy 2.0", "line 2 is 'numpy 2.0': expected a package"),
        ("python==3.11\nnumpy==two", "line 2 is 'numpy==two'"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "host.txt").write_text(text)
    with pytest.raises(SegfoldError, match=message):
        read_host(tmp_path / "host.txt")


def test_the_newest_wheel_that_fits_is_chosen(tmp_path: Path) -> None:
    for name in (
        "thing-1.9-cp312-cp312-manylinux_2_17_x86_64.whl",
        "thing-1.10-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "thing-1.11-cp311-cp311-manylinux_2_17_x86_64.whl",
        "thing-1.12-cp312-cp312-macosx_11_0_arm64.whl",
        "thing-3.0-py3-none-any.whl",
        "other_thing-1.0-py3-none-any.whl",
        "no wheel.whl",
    ):
        (tmp_path / name).touch()
    host = Host("3.12", {})
    wanted = {"thing": Requirement("thing<2"), "other-thing": Requirement("other-thing")}
    chosen = choose(wanted, host, tmp_path)
    assert (
        chosen["thing"].name.startswith("thing-1.10-")
        and chosen["other-thing"].name == "other_thing-1.0-py3-none-any.whl"
    )
    with pytest.raises(SegfoldError, match=r"has no wheel of thing>3 for Python 3\.12 on Linux: put it there"):
        choose({"thing": Requirement("thing>3")}, host, tmp_path)


def test_without_a_network_pip_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "PIP_RETRIES", "PIP_CONFIG_FILE"):
        monkeypatch.setenv(name, {"PIP_NO_INDEX": "1", "PIP_RETRIES": "0"}.get(name, "/dev/null"))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(SegfoldError, match=r"^pip could not fetch nothing-like-it==1\.0 for Python 3\.12 .* --wheels"):
        fetch({"nothing-like-it": Requirement("nothing-like-it==1.0")}, Host("3.12", {}), tmp_path)


@pytest.mark.slow
def test_a_clean_environment_runs_a_bundle_of_all_wheels_but_torch(tmp_path: Path) -> None:
    """An environment that has torch and nothing else; the wheels are fetched where there is a network."""
    home = tmp_path / "home"
    recipe = make_recipe(home)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (home / "bare.txt").write_text(f"python=={version}\n")
    try:
        made = bundle_recipe(recipe.relative_to(home), BundleOptions(host=home / "bare.txt"), home)
    except SegfoldError as error:
        pytest.skip(f"no wheels: {error}")
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean/bin/python"
    site = next((tmp_path / "clean/lib").glob("python*/site-packages"))
    here = Path(pytest.__file__).parents[1]
    for name in OF_TORCH.split():
        if (here / name).exists():
            (site / name).symlink_to(here / name)
    for path in (
        *here.glob("torch-*.dist-info"),
        *here.glob("torchvision-*.dist-info"),
        *here.glob("torchvision.libs"),
    ):
        (site / path.name).symlink_to(path)
    lone = subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False)
    assert lone.returncode, "the environment is not clean"
    mount(home, tmp_path / "input")
    with zipfile.ZipFile(made.written.path) as archive:
        archive.extractall(tmp_path / "input/ours")
    done = run_notebook(
        tmp_path / "input/ours/notebook/notebook.ipynb", tmp_path / "input", tmp_path / "working", str(python)
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "working/submission.csv").read_text().startswith("id,rle_mask\n")
