"""A first signal lets the step finish and saves; a second one ends the process at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import kills
import pytest

from i2i.errors import Interrupted
from i2i.training import checkpoint, signals
from i2i.training.folder import step_of
from i2i.training.signals import Stop

ASKED = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 143)]


@pytest.mark.parametrize(("number", "status"), ASKED)
def test_a_signal_is_remembered_and_the_handlers_are_given_back(number, status):
    before = signal.getsignal(number)
    with Stop() as stop:
        os.kill(os.getpid(), number)
        assert 128 + stop.signal == status
    assert signal.getsignal(number) == before


def test_the_echo_of_a_signal_counts_once():
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGINT


def test_a_second_signal_ends_the_process_at_once():
    code = (
        "import time; from i2i.training import signals; signals.ECHO = 0.1\n"
        "with signals.Stop():\n    print('open', flush=True); time.sleep(30); print('slept'); time.sleep(30)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    assert process.wait(10) == 143
    assert "slept" not in process.stdout.read()


def test_another_thread_than_the_main_one_leaves_the_handlers_alone():
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: Stop().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("number", "status"), ASKED)
def test_a_run_that_is_asked_to_stop_finishes_the_step_saves_and_says_how_to_go_on(new_run, trainer_of, watch, number, status):
    run, alone = new_run("cyclegan", "run"), new_run("cyclegan", "alone")
    trainer_of(alone).run()
    asking = watch(lambda done: os.kill(os.getpid(), number) if done == 3 else None)
    with pytest.raises(Interrupted, match="stopped by a signal after step 3 of 6; everything is saved") as stopped:
        trainer_of(run, watcher=asking).run()
    assert stopped.value.status == status
    assert stopped.value.hint == f"i2i resume {run}"
    assert step_of(checkpoint.latest(run)) == 3
    trainer_of(run).run()
    assert kills.differing_bytes(run, alone) == {}


def test_a_signal_in_the_last_step_does_not_turn_a_finished_run_into_an_interrupted_one(new_run, trainer_of, watch):
    run = new_run("pix2pix", steps=2)
    trainer_of(run, watcher=watch(lambda done: os.kill(os.getpid(), signal.SIGTERM) if done == 2 else None)).run()
    assert trainer_of(run).finished


def test_the_command_ends_with_143_after_sigterm_and_goes_on_where_it_would_have(new_run, trainer_of):
    alone, asked = new_run("pix2pix", "alone", steps=200), new_run("pix2pix", "asked", steps=200)
    trainer_of(alone).run()
    process = kills.resume(asked)
    kills.wait_for_a_line(process, asked)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "everything is saved" in said
    assert said.endswith(f"hint: i2i resume {asked}\n")
    trainer_of(asked).run()
    assert kills.differing_bytes(asked, alone) == {}


def test_the_window_for_echoes_is_short():
    assert signals.ECHO <= 1
