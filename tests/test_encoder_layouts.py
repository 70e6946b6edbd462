"""Encoders from files of other libraries compute what the libraries' own networks do, and one of another network is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from segfold.errors import SegfoldError
from segfold.models import build_model
from segfold.models.checkpoints import loaded_lines
from segfold.models.encoders import Encoder


def with_statistics(network: nn.Module) -> nn.Module:
    """As a trained network: its norms' statistics are none that a new one has."""
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def saved(tensors: dict[str, Tensor], folder: Path) -> str:
    torch.save(tensors, folder / "theirs.pth")
    return str(folder / "theirs.pth")


def assert_same_features(encoder: Encoder, network: nn.Module, forward: Callable[[Tensor], object]) -> None:
    """Each feature is what a layer of ``network`` gives for the same image."""
    given: list[Tensor] = []
    for module in network.modules():
        module.register_forward_hook(lambda module, inputs, output: given.append(output))
    pixels = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        features = encoder.eval()(pixels)
        forward(encoder.input(pixels))
    for feature in features:
        same = [x for x in given if isinstance(x, Tensor) and x.shape == feature.shape]
        assert any(torch.allclose(x, feature, rtol=1e-4, atol=1e-5 * float(x.abs().max())) for x in same)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("resnet18", "resnet18"),
        ("resnext50_32x4d", "resnext50_32x4d"),
        ("densenet121", "densenet121"),
        ("efficientnet_b0", "efficientnet_b0"),
        ("mobilenet_v2", "mobilenetv2_100"),
        ("regnet_y_400mf", "regnety_004"),
    ],
)
def test_torchvision(tmp_path: Path, theirs: str, ours: str) -> None:
    torch.manual_seed(1)
    network = with_statistics(getattr(torchvision.models, theirs)())
    encoder = Encoder(ours, 3, saved(network.state_dict(), tmp_path))
    assert_same_features(encoder, network, network)
    assert f"tensors of encoder {ours} from {tmp_path}" in encoder.loaded[0]


def test_torchvisions_vgg(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = torchvision.models.vgg11_bn().state_dict()
    tensors = {k: torch.rand(x.shape) for k, x in shapes.items() if x.ndim and not k.startswith("classifier.0")}
    encoder = Encoder("vgg11_bn", 1, saved(tensors, tmp_path))
    assert encoder.loaded[0].endswith(
        "beside it: classifier.3.weight, classifier.3.bias, classifier.6.weight and 1 more"
    )
    trunk = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"], batch_norm=True)
    trunk.load_state_dict({k.removeprefix("features."): x for k, x in tensors.items() if "features" in k}, strict=False)
    image = torch.rand(1, 1, 32, 32) * 255
    with torch.no_grad():
        found, expected = encoder.eval()(image)[-1], trunk.eval()(encoder.input(image).expand(1, 3, 32, 32))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("resnet18", "resnet18"),
        ("se_resnext50_32x4d", "legacy_seresnext50_32x4d"),
        ("efficientnet-b0", "tf_efficientnet_b0"),
        ("timm-efficientnet-b0", "efficientnet_b0"),
        ("mobilenet_v2", "mobilenetv2_100"),
        ("tu-mobilenetv3_small_050", "mobilenetv3_small_050"),
        ("tu-convnext_atto", "convnext_atto"),
    ],
)
def test_smp(tmp_path: Path, theirs: str, ours: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="smp is what make bench compares with")
    torch.manual_seed(1)
    network = with_statistics(smp.Unet(theirs, encoder_weights=None, decoder_channels=(16, 8, 8, 8, 8)))
    wrapped = {f"model.{k}": v for k, v in network.state_dict().items()}  # as Lightning would
    encoder = Encoder(ours, 3, saved({"state_dict": wrapped}, tmp_path))
    assert_same_features(encoder, network, network.encoder)


def in_mmsegmentations_names(name: str) -> str:
    """Of timm's resnet50c those of ResNetV1c, by mmsegmentation's rule: the deep stem is one sequence, its last norm in it."""
    if name.startswith("conv1."):
        return f"backbone.stem.{name.removeprefix('conv1.')}"
    return f"backbone.stem.7.{name.removeprefix('bn1.')}" if name.startswith("bn1.") else f"backbone.{name}"


def test_mmsegmentations_fcn_is_read_whole(tmp_path: Path) -> None:
    torch.manual_seed(1)
    backbone = with_statistics(timm.create_model("resnet50c", output_stride=8, num_classes=0))
    settings = {"channels": 8, "head_channels": 4, "heads": {"auxiliary": True}}
    trained = build_model("fcn_dilated", 3, 19, **settings)
    heads = {k: v for k, v in trained.state_dict().items() if not k.startswith("encoder.")}
    tensors = {in_mmsegmentations_names(k): v for k, v in backbone.state_dict().items()} | heads
    path = saved({"meta": {"epoch": 1}, "state_dict": tensors}, tmp_path)
    network = build_model("fcn_dilated", 3, 19, weights=path, **settings)
    assert_same_features(network.encoder, backbone, backbone)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in heads.items())
    heads_line, encoder_line = loaded_lines(network)
    assert heads_line == f"24 of 24 tensors of decode_head, auxiliary_head from {path}"
    assert encoder_line.startswith(f"275 of 275 tensors of encoder resnet50c from {path}; beside it: decode_head.")


def test_our_own_run(tmp_path: Path) -> None:
    """With gates in the encoder and without, of one channel, from ``model.safetensors``."""
    torch.manual_seed(1)
    settings = {"encoder": "test_resnet", "weights": "none", "decoder_channels": 8}
    trained = with_statistics(build_model("unet", 1, 2, encoder_attention="scse", **settings))
    encoder = Encoder("test_resnet", 1, saved(trained.state_dict(), tmp_path))
    theirs, ours = trained.encoder.net, encoder.net
    for name, tensor in ours.state_dict().items():
        stage, _, rest = name.partition(".")
        other = theirs[stage].stage if hasattr(theirs[stage], "stage") else theirs[stage]
        assert torch.equal(tensor, other.state_dict()[rest]), name
    gated = Encoder("test_resnet", 1, saved(trained.state_dict(), tmp_path), attention="cse")
    assert gated.loaded == encoder.loaded


def test_half_precision_and_variants_of_the_pyramid(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = {
        k: v.half() if v.is_floating_point() else v for k, v in timm.create_model("resnet10t").state_dict().items()
    }
    path = saved({f"module.{k}": v for k, v in state.items()}, tmp_path)
    for encoder in (
        Encoder("resnet10t", 3, path, stem_pool=False),
        Encoder("resnet10t", 3, path, options={"output_stride": 8}, every_stage=True),
        Encoder("resnet10t", 3, path, attention="scse", attention_stages=[5]),
    ):
        tensor = encoder.net["layer2"][0].conv1.weight
        assert tensor.dtype == torch.float32 and torch.equal(tensor, state["layer2.0.conv1.weight"].float())


def test_the_first_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = saved(torchvision.models.resnet18().state_dict(), tmp_path)
    with pytest.raises(SegfoldError) as caught:
        Encoder("resnet26", 3, path)
    text = str(caught.value)
    assert (
        "does not hold weights of resnet26: only" in text
        and "layer1.0.conv1.weight (64×64×3×3 in the file, 64×64×1×1 here)" in text
    )
    state = timm.create_model("resnet10t").state_dict()
    for name, tensor in (("layer4.0.bn2.running_var", None), ("layer4.0.bn2.weight", torch.ones(5))):
        changed = {k: v for k, v in state.items() if k != name} | ({} if tensor is None else {name: tensor})
        with pytest.raises(SegfoldError) as caught:
            Encoder("resnet10t", 3, saved(changed, tmp_path))
        found = "none" if tensor is None else "5"
        assert f"only 69 of its 70 tensors fit, not {name} ({found} in the file, 512 here);" in str(caught.value)
    without_counts = {k: v for k, v in state.items() if "num_batches" not in k}
    Encoder("resnet10t", 3, saved(without_counts, tmp_path))
    with pytest.raises(SegfoldError, match=r"layer4\.0\.conv2\.weight holds NaN"):
        Encoder(
            "resnet10t",
            3,
            saved(state | {"layer4.0.conv2.weight": state["layer4.0.conv2.weight"] * torch.nan}, tmp_path),
        )


def in_the_authors_names(name: str) -> str:
    """Of timm's ConvNeXt those of its authors."""
    name = re.sub(r"^stages\.(\d)\.downsample", r"downsample_layers.\1", name.replace("stem.", "downsample_layers.0."))
    name = name.replace(".blocks.", ".").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
    return name.replace("head.norm.", "norm.").replace("head.fc.", "head.")


def test_layouts_that_timm_converts(tmp_path: Path, capfd) -> None:
    """A tensor that timm would not miss is missed."""
    torch.manual_seed(1)
    network = timm.create_model("convnext_atto").eval()
    state = {in_the_authors_names(k): v for k, v in network.state_dict().items()}
    encoder = Encoder("convnext_atto", 3, saved(state, tmp_path))
    assert_same_features(encoder, network, network)
    assert encoder.loaded[0].endswith("in a layout that timm converts")
    assert all("state_dict" not in getattr(module, "pretrained_cfg", {}) for module in encoder.modules())
    del state["stages.3.1.pwconv2.bias"]
    with pytest.raises(SegfoldError, match="does not hold weights of convnext_atto"):
        Encoder("convnext_atto", 3, saved(state, tmp_path))
    assert capfd.readouterr().err == ""
