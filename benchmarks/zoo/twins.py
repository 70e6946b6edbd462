"""The same weights under other settings of the prediction: a run folder of its own, so that both keep what they predict."""

from collections.abc import Sequence
from pathlib import Path

from segfold.config import check_experiment, dump, dump_yaml, lay, read_overrides
from segfold.files import write_atomic, write_json
from segfold.runs.folder import RunFolder, run_folder
from segfold.runs.record import read_done, read_run


def twin(run: RunFolder, name: str, overrides: Sequence[str], home: Path = Path()) -> RunFolder:
    """A run whose finished folds have another one's weights, by links, and predict as ``overrides`` say.

    Its ``done.json`` says what the other one scored. Made again where it is there already, it keeps its predictions, which
    count as long as the weights are the same.

    Args:
        run: with finished folds.
        overrides: of ``predict``.

    Raises:
        SegfoldError: the run cannot be read, or an override is wrong.
    """
    values = lay(dump(read_run(run)), read_overrides(overrides))
    experiment = check_experiment(values, f"{run.path} with {' '.join(overrides)}")
    made = run_folder(home, name)
    for fold in run.finished_folds():
        done, folder = read_done(fold), made.fold(fold.number)
        folder.path.mkdir(parents=True, exist_ok=True)
        for weights in done["weights"]:
            _link(folder.weights(weights), fold.weights(weights))
        write_json(folder.done, done)
    _link(made.record_path, run.record_path)
    with write_atomic(made.config_path, "w") as file:
        file.write(dump_yaml(experiment))
    return made


def _link(link: Path, file: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(file.resolve())
