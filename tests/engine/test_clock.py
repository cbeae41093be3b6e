"""The time that counts as a method's own, on a watch that the test sets."""

import pytest
import torch

from unlearn_cli.engine import clock as module
from unlearn_cli.engine.clock import Clock


class Watch:
    def __init__(self):
        self.now = 1000.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def watch(monkeypatch):
    watch = Watch()
    monkeypatch.setattr(module, "time", watch)
    return watch


def test_seconds_are_those_since_the_block_began(watch):
    clock = Clock(torch.device("cpu"))
    with clock.running():
        watch.now += 3
        assert clock.elapsed() == 3
    watch.now += 50
    with clock.running():
        watch.now += 2
        assert clock.elapsed() == 2, "a second block begins anew"


def test_what_happens_while_it_is_paused_does_not_count_even_if_that_fails(watch):
    clock = Clock(torch.device("cpu"))
    with clock.running():
        watch.now += 3
        with pytest.raises(ZeroDivisionError), clock.paused():
            watch.now += 10
            raise ZeroDivisionError
        watch.now += 4
        assert clock.elapsed() == 7


def test_pauses_of_one_block_are_not_taken_off_the_next(watch):
    clock = Clock(torch.device("cpu"))
    for _ in range(2):
        with clock.running():
            watch.now += 5
            with clock.paused():
                watch.now += 1
            assert clock.elapsed() == 5
