"""Sample sheets: a row for each image, a column for each thing, its name above."""

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from i2i.training import cells, sheets
from i2i.training.sheets import GAP, LABEL


def plain(value: float, *, batch: int = 1, channels: int = 3, height: int = 40, width: int = 60) -> torch.Tensor:
    return torch.full((batch, channels, height, width), value)


def cell(picture: np.ndarray, row: int, column: int, *, height: int = 40, width: int = 60) -> np.ndarray:
    top, left = LABEL + row * (height + GAP), GAP + column * (width + GAP)
    return picture[top : top + height, left : left + width]


@pytest.fixture
def draw(tmp_path):
    """`draw({"input": images})`: the picture of a sheet."""
    return lambda sheet: sheets.write(tmp_path / "drawn.png", sheet)


def test_each_image_has_its_row_and_each_name_its_column(draw):
    output = torch.cat([plain(-1.0), plain(0.0), plain(1.0)])
    picture = draw({"input": plain(-1.0, batch=3), "output": output})
    assert picture.shape == (LABEL + 3 * (40 + GAP), 2 * (60 + GAP) + GAP, 3)
    assert picture.dtype == np.uint8
    assert [set(cell(picture, row, 1).ravel().tolist()) for row in range(3)] == [{0}, {128}, {255}]
    assert set(cell(picture, 2, 0).ravel().tolist()) == {0}


def test_every_column_has_a_name_above_it_and_none_below(draw):
    picture = draw({"a": plain(1.0), "b": plain(1.0)})
    for column in range(2):
        left = GAP + column * (60 + GAP)
        assert (picture[:LABEL, left : left + 60] < 128).any()
    assert (picture[LABEL:] == 255).all()


def test_a_name_wider_than_its_column_does_not_run_into_the_next_one(draw):
    picture = draw({"a very long name": plain(1.0, width=16), "": plain(1.0, width=16)})
    dark = (picture[:LABEL] < 128).any((0, 2)).nonzero()[0]
    assert dark.max() < picture.shape[1] // 2


def test_grey_is_shown_as_grey_and_of_many_channels_the_first_three(draw):
    picture = draw({"grey": plain(0.0, channels=1), "many": torch.cat([plain(1.0), plain(-1.0, channels=2)], 1)})
    assert set(cell(picture, 0, 0).ravel().tolist()) == {128}
    assert set(cell(picture, 0, 1).ravel().tolist()) == {255}


def test_values_out_of_range_are_clipped(draw):
    assert set(cell(draw({"x": plain(7.0)}), 0, 0).ravel().tolist()) == {255}


def test_sheets_of_one_image_each_become_rows():
    rows = sheets.cat([{"x": plain(-1.0)}, {"x": plain(1.0, height=40)}])
    assert rows["x"].shape == (2, 3, 40, 60)


def test_a_label_map_gets_a_colour_for_each_class(draw):
    ids = torch.arange(20).view(4, 5).repeat_interleave(10, 0).repeat_interleave(12, 1)
    one_hot = torch.nn.functional.one_hot(ids, 20).movedim(-1, 0)[None].float()
    shown = cell(draw({"x": one_hot}), 0, 0)
    colours = {tuple(pixel) for pixel in shown.reshape(-1, 3).tolist()}
    assert len(colours) == 20
    assert len({tuple(pixel) for pixel in shown[:10, :12].reshape(-1, 3).tolist()}) == 1


def test_an_image_of_many_channels_that_is_no_label_map_shows_its_first_three(draw):
    picture = cell(draw({"x": torch.cat([plain(v) for v in (1.0, -1.0)], 1)}), 0, 0)
    assert set(picture.ravel().tolist()) == {255}


def test_a_written_sheet_says_where_its_cells_lie(tmp_path):
    sheet = {"grey": plain(0.0, batch=2, channels=1), "a long name": plain(1.0, batch=2, height=20, width=30)}
    picture = sheets.write(tmp_path / "sheet.png", sheet)
    found = cells.read(tmp_path / "sheet.png")
    assert {name: [cell.size for cell in column] for name, column in found.items()} == {
        "grey": [(60, 40), (60, 40)],
        "a long name": [(30, 20), (30, 20)],
    }
    assert {cell.getpixel((5, 5)) for cell in found["grey"]} == {(128, 128, 128)}
    assert (np.asarray(Image.open(tmp_path / "sheet.png")) == picture).all()
    assert (picture == np.asarray(Image.open(tmp_path / "sheet.png"))).all()


def test_the_same_sheet_gives_the_same_bytes(tmp_path):
    for name in "ab":
        sheets.write(tmp_path / f"{name}.png", {"x": plain(0.3)})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "text", ["[]", '{"x": [[0, 0, 999, 9]]}', '{"x": [[5, 5, 5, 9]]}', '{"x": 1}', '{"x": [["a", 0, 1, 1]]}']
)
def test_a_sheet_that_says_nonsense_of_its_cells_is_one_cell(tmp_path, text):
    info = PngInfo()
    info.add_text(cells.CHUNK, text)
    Image.new("RGB", (50, 40)).save(tmp_path / "sheet.png", pnginfo=info)
    assert {name: len(column) for name, column in cells.read(tmp_path / "sheet.png").items()} == {cells.WHOLE: 1}
