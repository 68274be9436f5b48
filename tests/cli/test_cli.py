"""The command as a whole: help, mistakes, exit statuses, streams, and what is not imported."""

import os
import subprocess
import sys

import pytest

from i2i import cli
from i2i.errors import Diverged, Interrupted, NothingDone, OutOfResources, UserError

COMMANDS = ["train", "resume", "translate", "evaluate", "import", "export", "show", "compare", "methods", "config",
            "data check", "data list", "plan", "report", "doctor"]  # fmt: skip


def shell(command: str, **environment: str) -> subprocess.CompletedProcess:
    """The command in a shell, where `i2i` is this checkout's."""
    text = command.replace("i2i", f"{sys.executable} -m i2i")
    run = ["bash", "-o", "pipefail", "-c", text]
    return subprocess.run(run, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("--help", 0), ("--version", 0), ("", 2), ("methods", 0), ("train --help", 0), ("trian", 2),
        ("train pix2pix --dta x", 2),
        ("plan --help", 0), ("report --help", 0), ("report none", 2), ("plan x --method pix2pxi", 2), ("doctor --help", 0),
        ("train pix2pxi", 2), ("config cyclegna", 2),
        ("train cyclegan --batch many", 2), ("train", 2),
    ],
)  # fmt: skip
def test_what_needs_no_torch_does_not_import_it(words, status):
    code = (
        "import sys, atexit\natexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['i2i', *{words.split()!r}]\nfrom i2i.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    assert done.stderr.endswith("False\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example(i2i, command):
    done = i2i(*command.split(), "--help")
    assert done.status == 0
    assert "Example" in done.out
    assert f"i2i {command}" in done.out


def test_help_names_every_command_and_where_to_start(i2i):
    done = i2i("--help")
    assert all(command.split()[0] in done.out for command in COMMANDS)
    assert "Start with: i2i train" in done.out


def test_without_a_word_the_help_is_shown(i2i):
    done = i2i()
    assert done.status == 2
    assert "Start with: i2i train" in done.out + done.err


def test_the_version_is_printed(i2i):
    assert i2i("--version").out.startswith("i2i ")


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("trian", "no such command 'trian'. Did you mean 'train'?", "i2i --help"),
        ("train pix2pix --stpes 3", "no such option: --stpes", "i2i train --help"),
        ("train pix2pxi", "there is no method 'pix2pxi'", "did you mean 'pix2pix'?"),
        ("config", "missing argument 'method'", "i2i config --help"),
        ("train pix2pix --batch many", "invalid value for '--batch'", "i2i train --help"),
        ("train pix2pix --data x --preset smal", "pix2pix has no preset 'smal'", "did you mean 'small'?"),
        (
            "train pix2pix --data x --set train.bach=1",
            "there is no setting 'train.bach' (from --set)",
            "did you mean 'train.batch'?",
        ),
        ("train pix2pix --data x --set lr", "--set takes key=value with a dotted key, not 'lr'", "such as --set train.lr=1e-4"),
        ("train pix2pix --data x --set train.lr=fast", "train.lr must be a valid number", None),
        ("train pix2pix --data x --batch 0", "train.batch must be greater than or equal to 1, but --batch says 0", None),
        ("train pix2pix --data x --config nowhere.yaml", "cannot read the config file 'nowhere.yaml'", None),
        ("train pix2pix", "there is no data to train on", "--data FOLDER"),
        ("train pix2pix --data ./nowhere", "there is no folder './nowhere'", None),
        ("train pix2pix --data horse2zebr", "no known set is called 'horse2zebr'", "did you mean horse2zebra"),
        ("resume nowhere", "'nowhere' is not a run", "runs lie in runs/"),
        ("show nowhere", "'nowhere' is not a run", "runs lie in runs/"),
        ("compare nowhere", "'nowhere' is not a run", "runs lie in runs/"),
        ("compare nowhere --sort smim", "--sort: there is no metric 'smim'", "did you mean 'ssim'?"),
    ],
)
def test_a_mistake_is_one_sentence_and_a_hint_on_stderr_with_status_2(i2i, words, error, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = i2i(*words.split())
    lines = done.err.splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    assert done.status == 2
    assert done.out == ""
    assert len(told) == 1
    assert told[0].startswith(f"error: {error}")
    if hint:
        assert lines[-1].startswith(f"hint: {hint}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("x"), 2),
        (NothingDone("x"), 4),
        (Diverged("x"), 5),
        (OutOfResources("x"), 6),
        (Interrupted("x", signal=2), 130),
        (Interrupted("x", signal=15), 143),
        (KeyboardInterrupt(), 130),
        (PermissionError(13, "Permission denied", "runs"), 2),
        (OSError(28, "No space left on device", "runs/a"), 6),
        (MemoryError(), 6),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), 6),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), 6),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_every_kind_of_end_has_its_exit_status(i2i, monkeypatch, error, status):
    def end(*_, **__):
        raise error

    monkeypatch.setattr(cli, "app", end)
    done = i2i("methods")
    assert done.status == status
    assert done.out == ""
    assert ("Traceback" in done.err) == (status == 1)


def test_what_the_system_refuses_is_one_sentence(i2i, monkeypatch):
    def end(*_, **__):
        raise PermissionError(13, "Permission denied", "runs/x")

    monkeypatch.setattr(cli, "app", end)
    assert (
        i2i("methods").err == "error: cannot use 'runs/x': Permission denied\nhint: check the name, who owns it and its mode\n"
    )


def test_quiet_leaves_results_and_errors(i2i):
    done = i2i("--quiet", "methods")
    assert done.out.startswith("pix2pix")
    assert done.err == ""
    assert i2i("-q", "config", "nothing").err.startswith("error: ")


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word():
    done = shell("i2i -q config pix2pix | head -1")
    assert done.returncode == 0
    assert done.stdout == "method: pix2pix\n"
    assert done.stderr == ""


def test_an_odd_file_name_can_be_printed_anywhere():
    done = shell("i2i resume $'caf\\xe9 \\u2603'", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'caf")


def test_colour_is_for_terminals_that_want_it(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    cli.messages.fail(UserError("x", "y"))
    assert "\x1b[" in capsys.readouterr().err
    for name, value in {"NO_COLOR": "1", "TERM": "dumb"}.items():
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            cli.messages.fail(UserError("x", "y"))
        assert capsys.readouterr().err == "error: x\nhint: y\n"
