"""Settings: checked, overridable by dotted path, written back whole; errors name the nearest valid key."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import Field

from segfold.config import (
    Experiment,
    check_experiment,
    differing_keys,
    dump,
    dump_yaml,
    load_experiment,
    merge,
    read_overrides,
)
from segfold.errors import SegfoldError
from segfold.losses import LOSSES
from segfold.schema import Settings, choice, named_map
from segfold.yaml_file import parse_yaml

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = {"competition": "tgs-salt", "stages": {"a": {"epochs": 1, "loss": {"mask": {"bce": 1}}}}}


def write(folder: Path, text: str, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_dump_then_load_is_the_same(path: Path, tmp_path: Path) -> None:
    experiment = load_experiment(path)
    again = load_experiment(write(tmp_path, dump_yaml(experiment)))
    assert again == experiment
    assert differing_keys(again, experiment) == []


def test_switched_off_settings_survive_the_round_trip(tmp_path: Path) -> None:
    experiment = check_experiment({**SMALL, "ema": None, "clip": None}, "here")
    again = load_experiment(write(tmp_path, dump_yaml(experiment)))
    assert again.ema is None and again == experiment


def builder(*, share: float | None = 0.3, count: int | None = None, size: int = 1) -> None: ...


def test_null_in_place_of_a_default_survives_the_round_trip() -> None:
    class Root(Settings):
        part: choice("part", {"thing": builder}) = Field(default="thing", validate_default=True)  # type: ignore[valid-type]
        many: named_map("many", {"thing": builder}, weighted=True)  # type: ignore[valid-type]

    root = Root.model_validate({"part": {"thing": {"share": None}}, "many": {"thing": {"share": None, "count": 2}}})
    values = dump(root)
    assert values == {
        "part": {"thing": {"share": None, "size": 1}},
        "many": {"thing": {"weight": 1.0, "share": None, "count": 2, "size": 1}},
    }
    again = Root.model_validate(parse_yaml(OmegaConf.to_yaml(OmegaConf.create(values)), "here"))
    assert again == root and again.part.settings["share"] is None
    assert dump(Root.model_validate({"many": {}}))["part"] == {"thing": {"share": 0.3, "size": 1}}


def test_defaults_come_from_signatures() -> None:
    experiment = check_experiment(SMALL, "here")
    assert experiment.model.name == "unet"
    assert experiment.optimizer.name == "adamw" and experiment.optimizer.settings["weight_decay"] == 1e-4
    assert dict(experiment.stages["a"].loss.mask.items())["bce"].weight == 1.0


def test_numbers_are_weights_and_mappings_hold_them() -> None:
    mask = {"bce": 2, "dice": {"weight": 3, "mode": "batch"}, "lovasz": None}
    values = {**SMALL, "stages": {"a": {"epochs": 1, "loss": {"mask": mask}}}}
    chosen = dict(check_experiment(values, "here").stages["a"].loss.mask.items())
    assert chosen["bce"].weight == 2 and chosen["dice"].weight == 3 and chosen["dice"].mode == "batch"
    assert list(chosen) == ["bce", "dice"]


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("model.encoder=seresnext50_32x4d", ("model", "encoder"), "seresnext50_32x4d"),
        ("stages.a.lr=1e-4", ("stages", "a", "lr"), 1e-4),
        ("stages.a.schedule=onecycle", ("stages", "a", "schedule", "onecycle", "warmup"), 0.3),
        ("stages.a.schedule.cosine.end=0.5", ("stages", "a", "schedule", "cosine", "end"), 0.5),
        ("stages.a.loss.mask.bce=0.25", ("stages", "a", "loss", "mask", "bce", "weight"), 0.25),
        ("stages.a.loss.heads.image=0.2", ("stages", "a", "loss", "heads"), {"image": {"weight": 0.2}}),
        ("stages.a.loss.heads.levels.weight=2", ("stages", "a", "loss", "heads", "levels", "over"), "nonempty"),
        ("stages.a.loss.heads={levels: 0, image: null}", ("stages", "a", "loss", "heads"), {}),
        ("optimizer={sgd: {momentum: 0.5}}", ("optimizer", "sgd", "momentum"), 0.5),
        ("augment.hflip=true", ("augment", "hflip", "p"), 0.5),
        ("input.size=[64, 96]", ("input", "size"), [64, 96]),
        ("predict.tta=[identity]", ("predict", "tta"), ["identity"]),
    ],
)
def test_any_setting_by_its_dotted_path(tmp_path: Path, override: str, path: tuple[str, ...], value: object) -> None:
    file = write(tmp_path, "competition: tgs-salt\nstages: {a: {epochs: 1, loss: {mask: {bce: 1}}}}\n")
    found = dump(load_experiment(file, [override]))
    for part in path:
        found = found[part]
    assert found == value


@pytest.mark.parametrize("losses", ["mask", "heads"])
def test_a_weight_and_a_mapping_lie_over_each_other_alike(tmp_path: Path, losses: str) -> None:
    """Whichever form the file has, a number is the weight with defaults beside it, and a mapping merges with a mapping."""
    name, option, other, default = {
        "mask": ("dice", "mode", "batch", "image"),
        "heads": ("levels", "over", "all", "nonempty"),
    }[losses]
    for form, kept in ((0.5, default), ({"weight": 0.5, option: other}, other)):
        loss = {"mask": {"bce": 1}, "heads": {}}
        loss[losses] = {name: form}  # type: ignore[assignment]
        file = write(tmp_path, json.dumps({**SMALL, "stages": {"a": {"epochs": 1, "loss": loss}}}))
        for override, expected in (
            ("=0.2", default),
            (".weight=0.2", kept),
            (f"={{weight: 0.2, {option}: {other}}}", other),
        ):
            found = dump(load_experiment(file, [f"stages.a.loss.{losses}.{name}{override}"]))
            chosen = found["stages"]["a"]["loss"][losses][name]
            assert (chosen["weight"], chosen[option]) == (0.2, expected)


def with_loss(**loss: object) -> Experiment:
    return check_experiment({**SMALL, "stages": {"a": {"epochs": 1, "loss": {"mask": {"bce": 1}, **loss}}}}, "here")


def test_a_head_of_the_loss_is_read_where_it_once_stood() -> None:
    """Configs of old runs have the heads beside ``mask``: they are the same experiment, and are written the new way."""
    old = with_loss(levels={"weight": 0.1, "over": "zeroed"}, nonempty=0.5, image=0.05)
    new = with_loss(heads={"image": 0.05, "nonempty": 0.5, "levels": {"weight": 0.1, "over": "zeroed"}})
    assert differing_keys(old, new) == [] and old == new
    loss = dump(old)["stages"]["a"]["loss"]
    assert list(loss) == ["mask", "heads", "unpadded"]
    assert loss["heads"] == {
        "levels": {"weight": 0.1, "over": "zeroed"},
        "nonempty": {"weight": 0.5, "over": "nonempty"},
        "image": {"weight": 0.05},
    }
    # What an old run without heads wrote down.
    assert differing_keys(with_loss(image=0.0), with_loss()) == [] and with_loss(image=0.0) == with_loss(levels=None)
    assert differing_keys(with_loss(image=0.1), with_loss()) != []
    assert with_loss(levels=0.1, heads={"image": 0.05}) == with_loss(heads={"levels": 0.1, "image": 0.05})


def test_old_and_new_place_of_one_head_are_refused(tmp_path: Path) -> None:
    text = "competition: tgs-salt\nstages: {a: {epochs: 1, loss: {mask: {bce: 1}, heads: {levels: 0.1}}}}\n"
    file = write(tmp_path, text)
    for override in ("stages.a.loss.levels=0", "stages.a.loss.levels.over=all", "stages.a.loss={levels: 0.1}"):
        with pytest.raises(SegfoldError) as error:
            load_experiment(file, [override])
        assert str(error.value) == (
            f"{file}: stages.a.loss: found levels and heads.levels, which are the same; write loss.heads.levels alone"
        )


def test_another_choice_replaces_the_first() -> None:
    def stage(schedule: dict[str, object]) -> dict[str, object]:
        return {"stages": {"any": {"schedule": schedule}}}

    assert merge(stage({"cosine": {"end": 0.1}}), stage({"onecycle": {}})) == stage({"onecycle": {}})
    assert merge(stage({"cosine": {"end": 0.1}}), stage({"cosine": {}})) == stage({"cosine": {"end": 0.1}})


def test_another_centre_replaces_the_first() -> None:
    dblock, psp = ({"model": {"centre": centre}} for centre in ({"dblock": {"dilations": [1, 2]}}, {"psp": {}}))
    assert merge(dblock, psp) == psp


def test_another_model_keeps_what_both_have(tmp_path: Path) -> None:
    """``model.name=linknet`` on a U-Net's config: the encoder stays, scSE and hypercolumn have no place in it."""
    unet = CONFIGS / "unet-resnet34.yaml"
    assert load_experiment(unet, ["model.name=linknet"]).model.heads.image
    model = load_experiment(unet, ["model.name=linknet", "model.encoder=resnet50"]).model
    assert (model.name, model.encoder, model.stem_pool) == ("linknet", "resnet50", False)
    assert (
        load_experiment(unet, ["model.name=frrn"]).model
        == check_experiment({**SMALL, "model": {"name": "frrn", "heads": {"image": True}}}, "here").model
    )
    child = write(tmp_path, f"extends: {unet}\nmodel: {{name: dlinknet}}\n")
    assert load_experiment(child).model.encoder == "resnet34"
    with pytest.raises(SegfoldError, match=r"unknown key model\.attention; known here"):
        load_experiment(unet, ["model.name=linknet", "model.attention=scse"])
    with pytest.raises(SegfoldError, match=r"unknown key model\.attention; known here"):
        load_experiment(unet, ["model.attention=scse", "model.name=linknet"])
    with pytest.raises(SegfoldError, match=r"unknown key model\.heads\.levels; known here: image"):
        load_experiment(unet, ["model.heads.levels=true", "model.name=linknet"])
    dlinknet = ["model.centre_channels=256", "model.name=dlinknet"]
    for overrides in (dlinknet, dlinknet[::-1]):
        assert load_experiment(CONFIGS / "zoo" / "dlinknet.yaml", overrides).model.centre_channels == 256
    child = write(tmp_path, f"extends: {unet}\nmodel: {{atention: scse}}\n")
    with pytest.raises(SegfoldError, match=r"unknown key model\.atention"):
        load_experiment(child, ["model.name=linknet"])
    assert load_experiment(unet, ["model.name=unet", "model.encoder=resnet50"]).model.hypercolumn


def test_extends_one_level(tmp_path: Path) -> None:
    write(
        tmp_path,
        "competition: tgs-salt\nseed: 3\nstages: {a: {epochs: 4, loss: {mask: {bce: 1}}}}\n",
        "base.yaml",
    )
    child = write(tmp_path, "extends: base.yaml\nstages: {a: {epochs: 2}}\n", "child.yaml")
    experiment = load_experiment(child)
    assert (experiment.seed, experiment.stages["a"].epochs) == (3, 2)
    with pytest.raises(SegfoldError, match="one level"):
        load_experiment(write(tmp_path, "extends: child.yaml\n", "grandchild.yaml"))
    with pytest.raises(SegfoldError, match="one level"):
        load_experiment(write(tmp_path, "extends: itself.yaml\n", "itself.yaml"))
    with pytest.raises(SegfoldError, match=r"nowhere\.yaml"):
        load_experiment(write(tmp_path, "extends: nowhere.yaml\n", "orphan.yaml"))
    for name in ("[base.yaml]", "", "3"):
        with pytest.raises(SegfoldError, match="name one YAML file"):
            load_experiment(write(tmp_path, f"extends: {name}\n", "odd.yaml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sed=1", "unknown key sed; did you mean seed?"),
        ("model.hypercolum=true", "unknown key model.hypercolum; did you mean hypercolumn?"),
        ("model.heads.level=true", "unknown key model.heads.level; did you mean levels?"),
        ("model={name: frrn, heads: {levels: true}}", "unknown key model.heads.levels; known here: image"),
        ("stages.a.loss.heads.level=0.1", "unknown key stages.a.loss.heads.level; did you mean levels?"),
        (
            "stages.a.loss.heads.image={weight: 1, over: all}",
            "unknown key stages.a.loss.heads.image.over; known here: weight",
        ),
        (
            "stages.a.loss.heads.levels={weight: 1, over: some}",
            "stages.a.loss.heads.levels.over: Input should be 'nonempty'",
        ),
        ("stages.a.loss.heads.levels.over=all", "stages.a.loss.heads.levels.weight is missing"),
        (
            "stages.a.loss.heads.image=-0.1",
            "stages.a.loss.heads.image.weight: Input should be greater than or equal to 0",
        ),
        ("stages.a.loss.heads.levels=.nan", "stages.a.loss.heads.levels.weight: Input should be a finite number"),
        ("stages.a.loss.mask.bce=-1", "stages.a.loss.mask.bce.weight: Input should be greater than or equal to 0"),
        ("stages.a.loss.mask.bce.end=-1", "stages.a.loss.mask.bce.end: Input should be greater than or equal to 0"),
        ("stages.a.loss.mask.bce.end=.nan", "stages.a.loss.mask.bce.end: Input should be a finite number"),
        ("stages.a.loss.mask.dicee=1", "did you mean dice?"),
        ("stages.a.schedule=cosin", "did you mean cosine?"),
        ("model.name=unett", "did you mean unet?"),
        ("optimizer={adamw: {}, sgd: {}}", "one of adamw, rmsprop, sgd, timm"),
        ("stages.a.epochs=-1", "greater than or equal to 0"),
        ("stages.a.loss.mask.bce=null", "no loss is named"),
        ("predict.tta=[hflop]", "predict.tta.0: expected one of identity, hflip"),
        ("batch_size=many", "batch_size"),
        ("seed", "expected key.sub=value"),
        ("seed=${oc.env:HOME}", "not supported"),
        ("seed=1\nfast: true", "not YAML"),
        ("", "expected key.sub=value"),
        ("=", "expected key.sub=value"),
        ("=1", "expected key.sub=value"),
        (".seed=1", "expected key.sub=value"),
        ("stages..lr=1", "expected key.sub=value"),
        ("stages.a.=1", "expected key.sub=value"),
        (f"{'a.' * 5000}b=1", "expected key.sub=value"),
        (f"seed={'[' * 5000}", "nested too deeply"),
        ("seed =1", "unknown key seed ; did you mean seed?"),
        ("se\x1fed=1", "unknown key se\\x1fed; did you mean seed?"),
        ("stages.a.loss={mask: {bce: 1, dice: 1, bce: 2}}", "key 'bce' is there twice"),
        ("seed=010", "found 010"),
        ("seed=&a [*a]", "levels"),
        ("seed.more=1", "seed: Input should be a valid integer"),
        ("extends=other.yaml", "unknown key extends"),
        (
            "stages.a={schedule: {cosine: {cycles: 0}}, snapshots: true}",
            "stages.a.schedule.cosine.cycles: Input should be",
        ),
        (
            "stages.a.schedule={cosine: {end: 0.3, cycles: 3, decay: 0.5}}",
            "stages.a.schedule.cosine: schedule cosine: the",
        ),
        ("optimizer={sgd: {momentum: 0, nesterov: true}}", "optimizer.sgd: optimizer sgd: nesterov needs a momentum"),
        ("stages.a.loss.mask.bootstrapped={pixels: 5, fraction: 0.5}", "stages.a.loss.mask.bootstrapped: loss.mask."),
        (
            "stages.a.loss.mask.bce={weight: 1, end: 0}",
            "stages.a.loss: loss.mask holds no loss with a weight above 0 at",
        ),
        ("input={size: 64, resize: 65}", "input.resize of 65×65 does not fit"),
        ("stages.a.size=100000", "stages.a.size: Input should be less than or equal to 16384 or a list, found 100000"),
        (
            "input.channels=[image, z]",
            "input.channels.1: Input should be 'image', 'y', 'image_y' or 'depth', found 'z'",
        ),
        ("predict.tta=[hflip, hflip]", "predict.tta: expected each transform once"),
        (
            "predict.weights=[snapshot9999999]",
            "predict.weights.0: Input should be model, best, swa, snapshots, snapshot1, snapshot2, …, found 'snapshot9999999'",
        ),
        ("batch_size=true", "batch_size: expected a number, found True"),
        ("input.size=[64, true]", "input.size: expected a number"),
        ("stages.a.loss.heads.levels=true", "stages.a.loss.heads.levels.weight: expected a number, found True"),
        ("model.finest_stride=true", "model.finest_stride: expected a number, found True"),
        (
            "model.encoder_options={drop_path_rate: 5}",
            "model.encoder_options: drop_path_rate must be at least 0 and less",
        ),
        ("model.encoder_options={drop_rate: high}", "model.encoder_options: drop_rate must be at least 0 and less"),
        ("stages.a.lr=.nan", "stages.a.lr: Input should be a finite number, found nan"),
        (
            "stages.a.loss.mask.focal.gamma=-1",
            "stages.a.loss.mask.focal.gamma: Input should be greater than or equal to 0",
        ),
        ("stages={a b: {epochs: 1, loss: {mask: {bce: 1}}}}", "stages.a b: String should match pattern"),
        ("machine.device=tpu", "machine.device: Input should be auto, cpu, cuda, cuda:N, mps or xpu, found 'tpu'"),
        ("machine.device=meta", "machine.device: Input should be auto, cpu"),
        ("model.encoder=" + "x" * 5000, "model.encoder: String should have at most 4096 characters"),
        ("init=" + "x" * 300, "init: expected a path that a file system takes"),
        ("seed=" + "9" * 5000, "seed: "),
        ("seed=" + "9" * 21, "seed: Input should be less than or equal to 4294967295, found 999"),
    ],
)
def test_wrong_settings_give_one_line(tmp_path: Path, override: str, message: str) -> None:
    file = write(tmp_path, "competition: tgs-salt\nstages: {a: {epochs: 1, loss: {mask: {bce: 1}}}}\n")
    with pytest.raises(SegfoldError) as error:
        load_experiment(file, [override])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_interpolation_is_refused_in_files(tmp_path: Path) -> None:
    with pytest.raises(SegfoldError, match="not supported"):
        load_experiment(write(tmp_path, "competition: ${oc.env:HOME}\n"))


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(SegfoldError, match=r"nowhere\.yaml"):
        load_experiment(tmp_path / "nowhere.yaml")
    with pytest.raises(SegfoldError, match="not YAML"):
        load_experiment(write(tmp_path, "a: [1, 2\n"))
    (tmp_path / "latin.yaml").write_bytes("competition: é".encode("latin-1"))
    with pytest.raises(SegfoldError, match="not YAML in UTF-8"):
        load_experiment(tmp_path / "latin.yaml")
    with pytest.raises(SegfoldError, match="stages is missing"):
        load_experiment(write(tmp_path, "competition: tgs-salt\n"))


def test_overrides_do_not_lose_each_other() -> None:
    assert read_overrides(["a.b=1", "a.c=x", "d=[1, 2]"]) == {"a": {"b": 1, "c": "x"}, "d": [1, 2]}


def changed(**values: object) -> Experiment:
    return check_experiment({**SMALL, **values}, "here")


def test_identity_is_what_changes_the_weights() -> None:
    base = changed()
    same = changed(machine={"workers": 3}, minutes=5, predict={"tta": ["identity"]}, validate={"every": 2})
    assert differing_keys(base, same) == []
    assert differing_keys(base, changed(seed=1, input={"size": 64})) == ["input.size", "seed"]
    assert differing_keys(base, changed(ema=None)) == ["ema.decay"]


def test_the_order_of_the_stages_changes_the_weights_and_no_other_order_does() -> None:
    one, two = SMALL["stages"]["a"], {"epochs": 2, "loss": {"mask": {"dice": 1}}}  # type: ignore[index]
    base = changed(stages={"a": one, "b": two})
    assert differing_keys(base, changed(stages={"b": two, "a": one})) == ["stages (their order)"]
    more = differing_keys(base, changed(stages={"a": one, "b": two, "c": one}))
    assert more and all(key.startswith("stages.c.") for key in more)
    steps, losses = {"hflip": True, "blur": True}, {"bce": 1, "dice": 2}
    first, second = (
        changed(augment=dict(order(steps)), stages={"a": {"epochs": 1, "loss": {"mask": dict(order(losses))}}})
        for order in (dict.items, lambda values: reversed(values.items()))
    )
    assert (
        differing_keys(first, second) == []
        and first.stages["a"].loss.mask.items() == second.stages["a"].loss.mask.items()
    )
    assert first.augment.items() == second.augment.items()


def test_a_fold_file_says_how_many_folds_there_are() -> None:
    file = changed(folds={"file": "mine.csv", "k": 3})
    assert differing_keys(file, changed(folds={"file": "mine.csv", "k": 4, "seed": 2})) == []
    assert differing_keys(file, changed(folds={"file": "other.csv", "k": 3})) == ["folds.file"]
    assert differing_keys(changed(folds={"k": 3}), changed(folds={"k": 4})) == ["folds.k"]


def test_schema_follows_the_signature() -> None:
    def builder(*, width: int = 3, name: str = "x") -> None: ...

    model = named_map("family", {"thing": builder}, weighted=True)
    assert model.model_validate({"thing": {"width": 5}}).thing.model_dump() == {
        "weight": 1.0,
        "end": None,
        "width": 5,
        "name": "x",
    }
    assert choice("family", {"thing": builder}).model_validate("thing").settings == {"width": 3, "name": "x"}
    assert set(named_map("mask", LOSSES, weighted=True).model_fields) == set(LOSSES)


def test_schema_needs_defaults() -> None:
    def builder(*, width: int) -> None: ...

    with pytest.raises(TypeError, match="needs a default"):
        named_map("family", {"thing": builder})
