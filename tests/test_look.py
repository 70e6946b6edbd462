"""The contact sheet: every image in its own cell, its mask tinted and outlined."""

import numpy as np
import pytest

from segfold.data.geometry.window import Window
from segfold.data.look import OUTLINE, TINT, contact_sheet, shrunk

GAP, CELL = 4, 60


def sheet(count: int, **settings: object) -> np.ndarray:
    images = [np.full((30, 30, 3), 20 * i % 240 + 10, np.uint8) for i in range(count)]
    masks = [np.zeros((30, 30), np.uint8) for _ in range(count)]
    return contact_sheet(images, masks, cell=CELL, gap=GAP, **settings)  # type: ignore[arg-type]


def test_images_fill_cells_of_one_size_in_order() -> None:
    found = sheet(5, columns=3)
    assert found.shape == (GAP + 2 * (CELL + GAP), GAP + 3 * (CELL + GAP), 3) and found.dtype == np.uint8
    for i in range(6):
        y, x = GAP + i // 3 * (CELL + GAP), GAP + i % 3 * (CELL + GAP)
        cell = found[y : y + CELL, x : x + CELL]
        assert (cell == (20 * i + 10 if i < 5 else 255)).all()  # the last cell is empty paper
    assert (found[:GAP] == 255).all() and (found[:, :GAP] == 255).all()


def test_default_sheet_is_no_narrower_than_high() -> None:
    for count in range(1, 41):
        height, width, _ = sheet(count).shape
        assert width >= height


def test_mask_is_tinted_inside_and_outlined_at_its_edge() -> None:
    image, mask = np.full((30, 30, 1), 100, np.uint8), np.zeros((30, 30), np.uint16)
    mask[10:20, 10:20] = 65535
    found = contact_sheet([image], [mask], cell=CELL, gap=0)
    assert (found[5, 5] == 100).all() and (found[30, 5] == 100).all()
    inside = found[30, 30].astype(int)
    expected = 0.68 * 100 + 0.32 * np.array(TINT)
    assert np.abs(inside - expected).max() <= 1
    edge = found[30, 18:23].astype(int)
    assert np.abs(edge - TINT).sum(axis=1).min() < 90


def test_sixteen_bits_are_shown_as_their_nearest_eight() -> None:
    mask = np.zeros((CELL, CELL), np.uint8)
    for dtype, scale in ((np.uint16, 257), (np.float32, 1)):
        values = np.arange(256).repeat(15)[: CELL * CELL].reshape(CELL, CELL, 1)
        deep = (values * scale + 0.4 * scale).astype(dtype)
        found = contact_sheet([deep], [mask], cell=CELL, gap=0)
        np.testing.assert_array_equal(found, values.repeat(3, axis=2))
    found = contact_sheet([np.full((CELL, CELL, 3), 65535, np.uint16)], [mask], cell=CELL, gap=0)
    assert (found == 255).all()


def test_alpha_is_not_shown() -> None:
    image = np.dstack([np.full((CELL, CELL), value, np.uint8) for value in (10, 20, 30, 255)])
    found = contact_sheet([image], [np.zeros((CELL, CELL))], cell=CELL, gap=0)
    assert (found == (10, 20, 30)).all()


def test_a_large_mask_is_shrunk_by_its_area() -> None:
    image, mask = np.zeros((600, 600, 1), np.uint8), np.zeros((600, 600), np.uint8)
    mask[:] = ~np.isin(np.arange(600) % 10, (4, 5))  # four fifths of each pixel of the cell, but not its middle
    found = contact_sheet([image], [mask], cell=CELL, gap=0)
    assert found.any(axis=2).all()


def test_second_outline_has_its_own_colour() -> None:
    image, mask, truth = np.full((30, 30, 3), 100, np.uint8), np.zeros((30, 30)), np.zeros((30, 30))
    truth[10:20, 10:20] = 1
    found = contact_sheet([image], [mask], outlines=[truth], cell=CELL, gap=0)
    assert np.abs(found[30, 18:23].astype(int) - OUTLINE).sum(axis=1).min() < 90
    assert (found[30, 30] == 100).all()


def test_titles_take_a_line_above_their_image() -> None:
    plain, titled = sheet(2, columns=2), sheet(2, columns=2, titles=["a", "0.85"])
    assert titled.shape[0] > plain.shape[0] and titled.shape[1] == plain.shape[1]
    strip = titled.shape[0] - plain.shape[0]
    assert titled[GAP : GAP + strip, :].min() < 128
    np.testing.assert_array_equal(titled[GAP + strip :], plain[GAP:])


def test_other_shapes_keep_their_proportions_and_are_centred() -> None:
    found = contact_sheet([np.zeros((20, 40, 1), np.uint8)], [np.zeros((20, 40))], cell=CELL, gap=0)
    assert found.shape == (CELL, CELL, 3)
    assert (found[15:45] == 0).all() and (found[:15] == 255).all() and (found[45:] == 255).all()


def test_what_does_not_belong_together_is_refused() -> None:
    image, mask = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20))
    for arguments in (([], []), ([image], []), ([image], [np.zeros((20, 21))])):
        with pytest.raises(ValueError, match="mask"):
            contact_sheet(*arguments)
    with pytest.raises(ValueError, match="found"):
        contact_sheet([image], [mask], titles=["a", "b"])


def test_a_huge_image_is_read_in_strips_and_every_so_many_th_pixel_is_kept() -> None:
    image = np.random.default_rng(0).integers(0, 256, (700, 450, 3), np.uint8)
    heights = []

    class Reader:
        shape, dtype = image.shape, image.dtype

        def window(self, window: Window) -> np.ndarray:
            heights.append(window.height)
            return image[window.slices]

    np.testing.assert_array_equal(shrunk(Reader(), 250), image[::3, ::3])
    assert heights == [192, 192, 192, 124]
    np.testing.assert_array_equal(shrunk(image[:, :, 0], 100), image[::7, ::7, 0])
    assert shrunk(image, 700).base is image
