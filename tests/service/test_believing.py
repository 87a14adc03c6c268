"""What SQL said a moment ago."""

import pytest

from service import believing
from service.believing import Believed


@pytest.fixture(autouse=True)
def _slowly(monkeypatch):
    """A slow machine must not let it grow old."""
    monkeypatch.setattr(believing, "BELIEVED_S", 30.0)


def kept(names):
    names.keep("house", 7, names.moment())
    return names._said["house"]


def recalled(names, times, *, may_wait=False):
    found = [names.recall("house", may_wait=may_wait) for _ in range(times)]
    return [said and said.told for said in found]


def test_it_is_believed_until_it_is_old_or_something_changed():
    names = Believed(10)
    assert recalled(names, 1) == [None]
    said = kept(names)
    assert recalled(names, 2) == [7, 7]
    assert names.recall("mill", may_wait=False) is None
    before = names.moment()
    names.changed()
    assert recalled(names, 1) == [None]
    names.keep("house", 7, before)
    assert recalled(names, 1) == [None], "what was asked before the change is not kept"
    said = kept(names)
    said.at -= believing.BELIEVED_S + 0.1
    assert recalled(names, 2) == [None] * 2


def test_one_caller_asks_again_before_the_others_have_to():
    names = Believed(10)
    kept(names).at -= 16
    assert recalled(names, 3) == [None, 7, 7]
    assert recalled(names, 1, may_wait=True) == [None], "whoever may wait asks"
    kept(names)
    assert recalled(names, 3) == [7] * 3


def test_nothing_may_be_what_was_said():
    names = Believed(10)
    names.keep("house", None, names.moment())
    assert names.recall("house", may_wait=False).told is None


def test_it_is_bounded_and_the_newest_stay():
    names = Believed(10)
    for number in range(95):
        names.keep(number, number, names.moment())
        assert len(names._said) <= 10
    assert all(names.recall(number, may_wait=False).told == number for number in range(90, 95))


def test_who_asked_earlier_and_heard_later_says_nothing_new():
    names = Believed(10)
    earlier, later = names.moment(), names.moment()
    names.keep("house", 8, later)
    names.keep("house", 7, earlier)
    assert recalled(names, 1) == [8]
    names.keep("mill", 7, earlier)
    assert names._said["mill"].at == earlier.at, "it is as old as the question"
