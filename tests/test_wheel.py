"""The wheel is whole: built, installed into an empty folder, and trained one step from there."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what belongs to the package, since a build leaves files beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("i2i", "presets", "pyproject.toml", "README.md", "LICENSE"):
        run("cp", "-r", ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_module_preset_and_weight(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "i2i").rglob("*.py")}
    shipped = {f"i2i/presets/{path.name}" for path in (ROOT / "presets").iterdir() if path.suffix in (".py", ".yaml")}
    shipped |= {str(path.relative_to(ROOT)) for path in (ROOT / "i2i" / "metrics").glob("lpips_linear.*")}
    shipped |= {str(path.relative_to(ROOT)) for path in (ROOT / "i2i" / "report").glob("*.*") if path.suffix != ".py"}
    assert modules | shipped | {"i2i/py.typed"} <= inside
    assert not [name for name in inside if name.startswith(("tests", "presets", "examples"))]


def test_the_installed_wheel_trains_one_step_and_translates(wheel: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", elsewhere, wheel)
    environment = {**os.environ, "PYTHONPATH": str(elsewhere), "I2I_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}

    def inside(*words: str | Path) -> str:
        return run(sys.executable, *words, env=environment, cwd=tmp_path)

    i2i = elsewhere / "bin" / "i2i"
    where = inside("-c", "import i2i, i2i.presets; print(i2i.__file__, i2i.presets.__file__)")
    assert all(Path(file).is_relative_to(elsewhere) for file in where.split())
    inside(i2i, *["data", "make", "scenes", "set", "--layout", "unpaired", "--count", "2", "--size", "64"])
    inside(i2i, *["train", "cyclegan", "--data", "set", "--preset", "quick", "--steps", "1", "--out", "run"])
    inside(i2i, *["translate", "run", "set/testA", "-o", "made"])
    assert len(list((tmp_path / "made").glob("*.png"))) == len(list((tmp_path / "set" / "testA").iterdir()))
