"""A signal as a request to stop."""

from __future__ import annotations

import signal
import threading

import pytest

from actsr_cli.training.interrupt import stop_on_interrupt

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_acts_as_usual(number: signal.Signals) -> None:
    usual = signal.getsignal(number)
    with stop_on_interrupt() as stopped:
        assert not stopped()
        signal.raise_signal(number)
        assert stopped()
        assert signal.getsignal(number) == usual
    assert signal.getsignal(number) == usual


@pytest.mark.parametrize("number", SIGNALS)
def test_who_stands_around_hears_it_too(number: signal.Signals) -> None:
    """A study whose trial gets the signal with its last batch behind it begins no other trial."""
    usual = signal.getsignal(number)
    with stop_on_interrupt() as of_study:
        with stop_on_interrupt() as of_trial:
            signal.raise_signal(number)
            assert of_trial() and of_study()
            assert signal.getsignal(number) == usual
        with stop_on_interrupt() as of_next:
            assert of_study() and not of_next()
    assert signal.getsignal(number) == usual


def test_without_a_signal_nothing_stays() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_on_interrupt() as outer:
        outside = [signal.getsignal(number) for number in SIGNALS]
        with stop_on_interrupt() as inner:
            assert not inner()
        assert [signal.getsignal(number) for number in SIGNALS] == outside != before
        assert not outer()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_another_thread_hears_nothing() -> None:
    heard = []

    def listen() -> None:
        with stop_on_interrupt() as stopped:
            heard.append(stopped())

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [False]
