"""What FCN takes of a classifier: VGG16 files of torchvision and timm, whole or without their linear layers, in any precision."""

import re
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models import build_model, fcn_vgg
from segfold.optim.groups import encoder_of

WIDTH, FC = 4, 24


class Classifier(nn.Module):
    """VGG16 as torchvision builds it, narrow: the oracle, written without segfold."""

    def __init__(self, norms: bool, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for count, factor in ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8)):
            for _ in range(count):
                layers.append(nn.Conv2d(in_channels, factor * WIDTH, 3, padding=1))
                layers += [nn.BatchNorm2d(factor * WIDTH)] if norms else []
                layers.append(nn.ReLU())
                in_channels = factor * WIDTH
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        linear = [nn.Linear(49 * 8 * WIDTH, FC), nn.ReLU(), nn.Dropout(), nn.Linear(FC, FC), nn.ReLU(), nn.Dropout()]
        self.classifier = nn.Sequential(*linear, nn.Linear(FC, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def classifier(norms: bool = False) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(norms)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def timm_names(model: Classifier) -> dict[str, Tensor]:
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    found = {}
    for name, tensor in model.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if name in ("classifier.0.weight", "classifier.3.weight"):
            tensor = tensor.reshape(FC, -1, 7, 7) if name == "classifier.0.weight" else tensor.reshape(FC, FC, 1, 1)
        found[f"{names.get(layer, layer)}.{kind}"] = tensor
    return found


def saved(tensors: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({name: x.contiguous() for name, x in tensors.items()}, path)
    else:
        torch.save({"state_dict": {f"module.{name}": x for name, x in tensors.items()}}, path)
    return path


def network(path: Path | str, encoder: str = "vgg16", in_channels: int = 3, **settings: object) -> nn.Module:
    torch.manual_seed(1)
    given = {"weights": str(path), "encoder": encoder, "width": WIDTH, "fc_width": FC, **settings}
    return build_model("fcn", in_channels, 2, **given).eval()


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("layout", ["torchvision", "timm"])
def test_the_convolutions_give_the_classifiers_own_logits(norms: bool, layout: str, tmp_path: Path) -> None:
    """On an image of the classifier's size, without the wide border."""
    theirs = classifier(norms)
    tensors = dict(theirs.state_dict()) if layout == "torchvision" else timm_names(theirs)
    path = saved(tensors, tmp_path / f"vgg.{'pth' if layout == 'torchvision' else 'safetensors'}")
    ours = network(path, "vgg16_bn" if norms else "vgg16", pad=1)
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        seen = torch.relu(ours.fc7(torch.relu(ours.fc6(ours.encoder(pixels)[-1]))))
        assert seen.shape == (2, FC, 1, 1)
        expected = theirs(ours.encoder.input(pixels))
        assert expected.std() > 0.05
        torch.testing.assert_close(theirs.classifier[6](seen[:, :, 0, 0]), expected, rtol=0, atol=1e-4)
    wanted = 26 + 52 * norms
    assert ours.loaded == [
        f"{wanted} of {wanted} tensors of encoder.features and 4 of 4 tensors of fc6, fc7 from {path}"
    ]


def test_names_are_timms_own() -> None:
    with torch.device("meta"):
        real = timm.create_model("vgg16_bn").state_dict()
    assert set(timm_names(classifier(norms=True))) == set(real)
    assert real["pre_logits.fc1.weight"].shape == (4096, 512, 7, 7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("width", rf"0 of 4 tensors of fc6, fc7 from .*; left: fc6\.weight \({FC}×32×7×7 in the file, 5×32×7×7 here\)"),
        ("features", r"0 of 4 tensors of fc6, fc7 from .*; left: fc6\.weight \(none in the file, 24×32×7×7 here\)"),
    ],
)
def test_without_a_classifier_that_fits_the_encoder_is_filled(change: str, said: str, tmp_path: Path) -> None:
    tensors = dict(classifier().state_dict())
    if change == "features":
        tensors = {name: x for name, x in tensors.items() if name.startswith("features.")}
    path = saved(tensors, tmp_path / "vgg.safetensors")
    ours = network(path, fc_width=5 if change == "width" else FC)
    for name, tensor in ours.encoder.features.state_dict().items():
        assert torch.equal(tensor, tensors[f"features.{name}"])
    assert re.search(said, ours.loaded[0])
    # Drawn as without the file: He's deviation, over 49 · 32 inputs.
    assert ours.fc6.weight.std().item() == pytest.approx((2 / (49 * 8 * WIDTH)) ** 0.5, rel=0.05)


def test_half_precision_is_read(tmp_path: Path) -> None:
    tensors = {n: x.half() if x.is_floating_point() else x for n, x in classifier(norms=True).state_dict().items()}
    ours = network(saved(tensors, tmp_path / "half.safetensors"), "vgg16_bn")
    assert {x.dtype for x in ours.parameters()} == {torch.float32}
    assert torch.equal(ours.encoder.features[0].weight, tensors["features.0.weight"].float())
    assert torch.equal(ours.encoder.features[1].running_var, tensors["features.1.running_var"].float())
    assert torch.equal(ours.fc7.weight[:, :, 0, 0], tensors["classifier.3.weight"].float())


def test_old_files_have_no_counts_of_batches(tmp_path: Path) -> None:
    tensors = {n: x for n, x in classifier(norms=True).state_dict().items() if "num_batches" not in n}
    ours = network(saved(tensors, tmp_path / "old.pth"), "vgg16_bn")
    assert ours.loaded[0].startswith("78 of 78 tensors")


def test_filters_of_colours_are_summed_for_one_channel(tmp_path: Path) -> None:
    tensors = dict(classifier().state_dict())
    ours = network(saved(tensors, tmp_path / "vgg.pth"), in_channels=1)
    torch.testing.assert_close(ours.encoder.features[0].weight, tensors["features.0.weight"].sum(1, keepdim=True))


def test_a_run_of_fcn_is_a_file_too(tmp_path: Path) -> None:
    first = network(saved(dict(classifier().state_dict()), tmp_path / "vgg.pth"))
    again = network(saved(first.state_dict(), tmp_path / "run.safetensors"))
    for name in ("encoder.features.28.weight", "fc6.weight", "fc7.bias"):
        assert torch.equal(again.state_dict()[name], first.state_dict()[name])


@pytest.mark.parametrize(("norms", "encoder"), [(True, "vgg16"), (False, "vgg16_bn")])
def test_the_other_vgg_is_refused_by_the_first_tensors_that_do_not_fit(
    norms: bool, encoder: str, tmp_path: Path
) -> None:
    path = saved(dict(classifier(norms).state_dict()), tmp_path / "vgg.safetensors")
    with pytest.raises(
        SegfoldError, match=r"encoder\.features.*only \d+ of its \d+ tensors fit, not .*in the file"
    ) as error:
        network(path, encoder)
    assert str(error.value).isprintable()


def test_another_width_is_refused(tmp_path: Path) -> None:
    path = saved(dict(classifier().state_dict()), tmp_path / "vgg.safetensors")
    with pytest.raises(SegfoldError, match=r"features\.0\.weight \(4×3×3×3 in the file, 2×3×3×3 here\)"):
        network(path, width=2)
    with pytest.raises(SegfoldError, match=r"model\.width is 4, but timm's weights of vgg16 are 64 wide"):
        network("imagenet")


def test_imagenets_weights_come_from_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Downloaded:
        def state_dict(self) -> dict[str, Tensor]:
            return timm_names(classifier())

    def create(name: str, **settings: object) -> Downloaded:
        asked.append((name, settings))
        return Downloaded()

    monkeypatch.setattr(fcn_vgg, "FULL_WIDTH", WIDTH)
    monkeypatch.setattr(timm, "create_model", create)
    ours = network("imagenet")
    assert torch.equal(ours.fc6.bias, classifier().classifier[0].bias)
    assert asked == [("vgg16", {"pretrained": True, "in_chans": 3, "num_classes": 0})]

    def offline(name: str, **settings: object) -> nn.Module:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        SegfoldError, match=r"vgg16 could not be downloaded \(ConnectionError\); set model\.weights=none"
    ):
        network("imagenet")


def test_what_is_frozen_is_the_trunk() -> None:
    model = network("none")
    inside = {id(parameter) for parameter in encoder_of(model, "test").parameters()}
    outside = [name for name, parameter in model.named_parameters() if id(parameter) not in inside]
    assert {name.partition(".")[0] for name in outside} == {"fc6", "fc7", "scores", "doublings"}
    assert len(inside) == 26
