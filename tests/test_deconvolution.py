"""Transposed convolutions that interpolate, held to torch's own interpolation."""

import torch
import torch.nn.functional as F

from segfold.models.deconvolution import bilinear_deconvolution, bilinear_kernel


def test_the_kernel_is_that_of_the_paper() -> None:
    """A-FCN-4: row 0 of the 4×4 kernel."""
    assert bilinear_kernel(4)[0].tolist() == [0.0625, 0.1875, 0.1875, 0.0625]
    assert bilinear_kernel(3).tolist() == [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]


def test_twice_the_size_equals_interpolation_away_from_the_border() -> None:
    x = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = bilinear_deconvolution(3, 4, 2, 1)(x)
    wanted = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found[:, :, 1:-1, 1:-1], wanted[:, :, 1:-1, 1:-1], rtol=0, atol=1e-6)
    assert (found - wanted).abs().max() > 0.01  # the border rows see nothing outside


def test_channels_do_not_mix_at_the_start() -> None:
    weight = bilinear_deconvolution(4, 16, 8).weight
    assert weight.shape == (4, 4, 16, 16)
    for i in range(4):
        for j in range(4):
            assert torch.equal(weight[i, j], bilinear_kernel(16) if i == j else torch.zeros(16, 16))
