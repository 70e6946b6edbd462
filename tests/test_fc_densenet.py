"""FC-DenseNet: published sizes and widths, any input size, and checkpointing that changes memory alone."""

import copy

import pytest
import torch
from torch import nn

from segfold.errors import SegfoldError
from segfold.models import build_model
from segfold.models.fc_densenet import DenseBlock, FCDenseNet

FC67 = {"layers": (5,) * 5, "bottleneck": 5}
FC56 = {"layers": (4,) * 5, "bottleneck": 4, "growth": 12}
SMALL = {"layers": (2, 3), "bottleneck": 4, "growth": 4, "first_channels": 8}


def meta(classes: int = 11, **settings: object) -> FCDenseNet:
    with torch.device("meta"):
        model = build_model("fc_densenet", 3, classes, **settings)
    assert isinstance(model, FCDenseNet)
    return model


def small(**settings: object) -> FCDenseNet:
    torch.manual_seed(0)
    model = build_model("fc_densenet", 3, 1, **{**SMALL, **settings})
    assert isinstance(model, FCDenseNet)
    return model


def learnable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("settings", "classes", "parameters", "with_statistics", "convolutions"),
    [
        ({}, 11, 9_322_091, 9_425_163, 103),
        ({}, 1, 9_319_521, 9_422_593, 103),
        (FC67, 11, 3_463_243, 3_502_923, 67),
        (FC56, 11, 1_376_795, None, 56),
    ],
)
def test_published_sizes(settings, classes, parameters, with_statistics, convolutions) -> None:
    model = meta(classes, **settings)
    assert learnable(model) == parameters
    statistics = 2 * sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert with_statistics in (None, parameters + statistics)
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    assert sum(isinstance(m, kinds) for m in model.modules()) == convolutions


def test_published_widths_and_shapes() -> None:
    model = meta()
    seen = []
    for m in (*model.pool, model.bottleneck, *model.unpool, *model.up, model.last):
        m.register_forward_hook(lambda m, args, out: seen.append((m, tuple(args[0].shape[1:3]), tuple(out.shape[1:3]))))
    model(torch.empty(1, 3, 224, 224, device="meta"))
    pools = [(into, out) for m, into, out in seen if m in list(model.pool)]
    assert [into for into, _ in pools] == [(112, 224), (192, 112), (304, 56), (464, 28), (656, 14)]
    assert model.first.out_channels == 48
    (deepest,) = [(into, out) for m, into, out in seen if m is model.bottleneck]
    assert deepest == ((656, 7), (240, 7)) and 656 + 240 == 896
    # What goes up is the new maps alone; a block's input and its new maps together are the published widths.
    assert [into[0] for m, into, _ in seen if m in list(model.unpool)] == [240, 192, 160, 112, 80]
    ups = [(into, out) for m, into, out in seen if m in list(model.up)]
    assert [into[0] + out[0] for into, out in ups] == [1088, 816, 576, 384, 256]
    assert [into[1] for into, _ in ups] == [14, 28, 56, 112, 224]
    assert seen[-1][1] == (256, 224)


@pytest.mark.parametrize(("height", "width"), [(101, 101), (32, 47), (100, 130)])
def test_any_size(height: int, width: int) -> None:
    assert meta(1, **FC56)(torch.empty(2, 3, height, width, device="meta")).logits.shape == (2, 1, height, width)


def test_sizes_of_which_nothing_is_left_are_refused() -> None:
    with pytest.raises(SegfoldError, match=r"31×64.*at least 32"):
        meta(1)(torch.empty(1, 3, 31, 64, device="meta"))
    for key, wrong in {"bottleneck": 0, "layers": (4, 0), "growth": 0}.items():
        with pytest.raises(SegfoldError, match=rf"^model\.{key}\S*: Input should be .*, found 0$"):
            meta(1, **{key: wrong})


def test_a_dense_block_by_hand() -> None:
    torch.manual_seed(0)
    block = DenseBlock(3, 2, 2, dropout=0.0, saving=False).eval()
    x = torch.randn(2, 3, 5, 5)
    first, second = block.layers
    with torch.no_grad():
        a = first.conv(torch.relu(first.norm(x)))
        b = second.conv(torch.relu(second.norm(torch.cat([x, a], dim=1))))
        torch.testing.assert_close(block(x), torch.cat([a, b], dim=1))


def test_dropout_only_trains() -> None:
    x = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8)
    model = small(dropout=0.5)
    with torch.no_grad():
        assert not torch.equal(model(x).logits, model(x).logits)
        still = small(dropout=0.0)
        assert torch.equal(still(x).logits, still(x).logits)
        model.eval()
        assert torch.equal(model(x).logits, model(x).logits)


def stepped(model: FCDenseNet, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor], list[torch.Tensor]]:
    torch.manual_seed(7)
    out = model(x)
    out.logits.square().mean().backward()
    gradients = [p.grad for p in model.parameters()]
    return out.logits.detach(), model.state_dict(), gradients


@pytest.mark.parametrize("frozen", [False, True])
def test_checkpointing_changes_no_number(frozen: bool) -> None:
    """Logits, gradients, dropout, and the running statistics, which a second forward pass would move twice."""
    x = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    plain, saving = small(dropout=0.3), small(dropout=0.3, checkpoint=True)
    before = copy.deepcopy(saving.state_dict())
    for model in (plain, saving):
        model.train()
        for norm in model.modules():
            if frozen and isinstance(norm, nn.BatchNorm2d):
                norm.eval()
    expected, found = stepped(plain, x), stepped(saving, x)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(found[1][key], expected[1][key]) for key in expected[1])
    for a, b in zip(found[2], expected[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)
    moved = [key for key, value in saving.state_dict().items() if not torch.equal(value, before[key])]
    assert bool(moved) != frozen


def kept_bytes(model: FCDenseNet, x: torch.Tensor) -> int:
    """Bytes that the forward pass hands to autograd for the backward pass, each buffer once."""
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model.train()(x)
    weights = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    total = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in weights)
    del out
    return total


def test_checkpointing_keeps_a_fraction() -> None:
    settings = {"layers": (6,), "bottleneck": 6, "growth": 8, "first_channels": 8}
    x = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    assert kept_bytes(small(**settings, checkpoint=True), x) < 0.35 * kept_bytes(small(**settings), x)
