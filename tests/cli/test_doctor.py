"""`i2i doctor` as a person uses it."""

import json

import pytest

from i2i import doctor
from i2i.doctor import Row

SOUND = Row("devices", "cpu", "2 cores")
BROKEN = Row("codecs", "webp", "cannot be written", "broken", "pip install pillow")


@pytest.fixture
def found(monkeypatch):
    """`found(rows)`: what there is to see."""
    return lambda *rows: monkeypatch.setattr(doctor, "examine", lambda device: iter(rows))


def test_it_looks_at_everything_and_says_where_to_start(i2i, monkeypatch):
    monkeypatch.delenv("I2I_WEIGHTS", raising=False)
    done = i2i("doctor", "--device", "cpu")
    assert done.status == 0, done.out
    assert all(f"\n{group}\n" in f"\n{done.out}" for group in ("versions", "devices", "step", "codecs", "weights", "room"))
    assert done.err == "next: i2i train cyclegan --data scenes --preset quick\n"


def test_what_is_broken_is_said_again_with_its_remedy_and_status_2(i2i, found):
    found(SOUND, BROKEN)
    done = i2i("doctor")
    assert done.status == 2
    assert "! webp" in done.out
    assert "broken: webp: cannot be written; pip install pillow" in done.err
    assert done.err.splitlines()[-1].startswith("next: i2i doctor")


@pytest.mark.parametrize(("rows", "sound", "status"), [((SOUND,), True, 0), ((SOUND, BROKEN), False, 2)])
def test_it_comes_as_json(i2i, found, rows, sound, status):
    found(*rows)
    done = i2i("doctor", "--json")
    told = json.loads(done.out)
    assert (done.status, told["sound"], len(told["rows"])) == (status, sound, len(rows))


def test_a_library_that_cannot_be_imported_is_said(i2i, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "i2i.doctor", None)
    done = i2i("doctor")
    assert done.status == 2
    assert "error: something that i2i needs cannot be imported" in done.err
    assert "hint: pip install" in done.err
