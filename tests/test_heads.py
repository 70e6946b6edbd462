"""Every head of the family: what it promises to networks, losses and predictions, whatever it computes."""

import pytest
import torch
from torch import nn

from segfold.losses import HeadTerm, StageLoss
from segfold.models import HEADS, MODELS, build_model
from segfold.models.headed import DeepestHeads, Headed
from segfold.models.heads import Features, Offer
from test_comparison_models import HEADED, SMALL

UNET = {"encoder": "test_resnet", "weights": "none", "decoder_channels": 8, "finest_stride": 2}
heads = pytest.mark.parametrize("head", HEADS)


def unet(classes: int = 1, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return build_model("unet", 3, classes, **{**UNET, **settings})


def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@heads
def test_logits_have_the_shape_of_what_they_are_of(head: str) -> None:
    with torch.device("meta"):
        found = unet(3, heads={head: True}).train()(torch.empty(2, 3, 64, 96, dtype=torch.uint8)).heads
    assert list(found) == [head]
    shape = tuple(found[head].shape)
    if HEADS[head].of == "image":
        assert shape == (2, 1)
    else:
        assert shape[0] == 2 and shape[-3:] == (3, 64, 96) and len(shape) in (4, 5)


@heads
def test_prediction_computes_what_it_uses(head: str) -> None:
    model = unet(heads={head: True}).eval()
    ran: list[str] = []
    model.get_submodule(head).register_forward_hook(lambda *_: ran.append(head))
    with torch.no_grad():
        found = model(pixels()).heads
    assert list(found) == ran == ([head] if HEADS[head].in_inference else [])


@heads
def test_every_parameter_learns_and_other_weights_stay_what_they_were(head: str) -> None:
    """The head alone has a gradient of its own, and the weights drawn before it are those without it."""
    plain, model = unet(), unet(heads={head: True}).train()
    with_it, without = model.state_dict(), plain.state_dict()
    assert {name for name in with_it if name not in without} == {
        f"{head}.{name}" for name in model.get_submodule(head).state_dict()
    }
    assert all(torch.equal(with_it[name], tensor) for name, tensor in without.items())
    out = model(pixels())
    y = (torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    _, parts = StageLoss({"bce": (1.0, {})}, {head: HeadTerm(0.5)})(out.logits, out.heads, y)
    assert parts.keys() == {"bce", head} and parts[head] > 0
    total, _ = StageLoss({"bce": (1.0, {})}, {head: HeadTerm(0.5)})(out.logits.detach(), out.heads, y)
    total.backward()
    assert [name for name, p in model.get_submodule(head).named_parameters() if p.grad is None] == []
    assert all(p.grad is None for p in model.pixels.parameters())


@pytest.mark.parametrize("name", HEADED)
def test_networks_without_levels_have_the_heads_that_need_none(name: str) -> None:
    assert set(DeepestHeads.model_fields) == {head for head in HEADS if HEADS[head].needs == "deepest"}
    torch.manual_seed(0)
    wanted = dict.fromkeys(DeepestHeads.model_fields, True)
    model = build_model(name, 3, 1, **SMALL[name], heads=wanted).train()
    assert isinstance(model, Headed) and set(model(pixels()).heads) == set(wanted)


def test_no_head_has_the_name_of_another_part() -> None:
    """A head's logits stand beside the losses by name, and its module beside the parts of every network."""
    small = {name: build_model(name, 3, 1, **SMALL[name]) for name in HEADED}
    networks = {**small, "unet": unet()}
    assert set(networks) <= set(MODELS)
    for head in HEADS:
        assert not any(hasattr(network, head) for network in networks.values())


def test_heads_are_drawn_in_the_order_of_the_family() -> None:
    """The heads of a seed, whichever are asked for before them, follow the order of ``HEADS``: runs can be repeated."""
    every = unet(heads=dict.fromkeys(HEADS, True))
    assert [name for name, _ in every.named_children() if name in HEADS] == list(HEADS)
    torch.manual_seed(3)
    offer = Offer(deepest=6, classes=1, hidden=4, levels=(5, 6, 7), middle=3)
    alike = []
    for _ in range(2):
        torch.manual_seed(3)
        alike.append([value for head in HEADS.values() for value in head(offer).state_dict().values()])  # type: ignore[attr-defined]
    assert all(torch.equal(a, b) for a, b in zip(*alike, strict=True))


@heads
def test_a_head_sees_what_a_network_offers(head: str) -> None:
    """Built from any offer, without a network; channels and sizes are those of the offer."""
    offer = Offer(deepest=6, classes=2, hidden=4, levels=(5, 6, 7), dropout=0.5, bias=True, middle=3)
    seen = Features(
        torch.randn(2, 6, 4, 4),
        [torch.randn(2, c, 32 >> i, 32 >> i) for i, c in enumerate(offer.levels)],
        2,
        middle=torch.randn(2, 3, 8, 8),
        size=(64, 64),
    )
    logits = HEADS[head](offer)(seen)
    assert logits.shape == (2, 1) if HEADS[head].of == "image" else logits.shape[-3:] == (2, 64, 64)


def test_a_decoder_of_one_level_has_an_auxiliary_head_on_it() -> None:
    """Of an encoder dilated to stride 8 the decoder to stride 4 is one block."""
    torch.manual_seed(0)
    dilated = {**UNET, "encoder_options": {"output_stride": 8}, "finest_stride": 4}
    model = build_model("unet", 3, 1, **{**dilated, "heads": {"auxiliary": True}}).train()
    assert len(model.decoder) == 1
    assert model(pixels()).heads["auxiliary"].shape == (2, 1, 64, 64)
