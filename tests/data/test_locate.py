import pytest

from i2i import images
from i2i.data import catalogue, folders, locate
from i2i.errors import UserError


@pytest.fixture(autouse=True)
def hurried(tmp_path, monkeypatch):
    """Every step is worth a word, and named sets lie in a folder of the test."""
    monkeypatch.setattr(locate, "EVERY", 0.0)
    monkeypatch.setenv("I2I_DATA", str(tmp_path / "sets"))


def test_drawing_scenes_tells_how_far_it_is_and_is_done_once(tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "SCENES", 2)
    monkeypatch.setattr(locate, "SMALLEST", 16)
    said = []
    place = locate.locate("scenes", "paired", said.append, (16, 16))
    assert place == str(tmp_path / "sets" / "scenes-paired-2x16")
    assert said == [f"making 2 scenes of 16 pixels in {place}", *(f"drew {done} of 3 scenes" for done in (1, 2, 3))]
    assert locate.locate("scenes", "paired", said.append, (16, 16)) == place
    assert len(said) == 4


@pytest.mark.parametrize("kind", ["labels", "simreal"])
def test_scenes_come_in_the_layout_and_the_shape_that_the_method_wants(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(locate, "SCENES", 1)
    monkeypatch.setattr(locate, "SMALLEST", 16)
    place = locate.locate("scenes", kind, lambda text: None, (16, 32))
    assert place == str(tmp_path / "sets" / f"scenes-{kind}-1x32x16")
    train = folders.find(place).splits["train"]
    header = images.header(train.a[0].path)
    assert (header.width, header.height) == (32, 16)
    assert bool(train.instances) == (kind == "labels")


def test_a_download_tells_how_far_it_is(tmp_path, monkeypatch):
    def fetch(name, folder, on_progress):
        on_progress(120_000_000, 2_200_000_000)
        on_progress(130_000_000, None)
        return folder / name

    monkeypatch.setattr(catalogue, "fetch", fetch)
    said = []
    assert locate.locate("facades", "paired", said.append) == str(tmp_path / "sets" / "facades")
    assert said[1:] == ["fetched 120 of 2200 MB", "fetched 130 MB"]


def test_a_place_that_is_not_there_says_where_else_to_look():
    with pytest.raises(UserError, match="there is no folder") as caught:
        locate.locate("./photos", "paired", print)
    assert "i2i data list" in caught.value.hint
    assert "data.source" in caught.value.hint
