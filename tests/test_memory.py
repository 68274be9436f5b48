"""What the system tells of memory."""

import sys

import pytest

from i2i import memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads files of Linux's")


@linux
@pytest.mark.parametrize(("name", "told"), [("MemAvailable", 2048), ("Mem", None), ("None", None)])
def test_a_number_is_found_by_its_whole_name_in_bytes(tmp_path, name, told):
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:       2 kB\n")
    assert memory._told(str(tmp_path / "meminfo"), name) == told
    assert memory._told(str(tmp_path / "nothing"), name) is None


def test_there_is_memory_and_some_of_it_was_taken():
    assert memory.free_memory() > 0
    assert memory.peak() > 0
