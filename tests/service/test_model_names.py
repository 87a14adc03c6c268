"""What names of models meant a moment ago."""

from service import model_names
from service.model_names import ModelNames, Named

NAMED = Named("one", "kim", "house", 1, 4)


def kept(names):
    names.keep("kim", "models/house", NAMED, names.generation)
    (said,) = names._meant.values()
    return said


def recalled(names, times, *, may_wait=False):
    return [names.recall("kim", "models/house", may_wait=may_wait) for _ in range(times)]


def test_a_name_is_believed_until_it_is_old_or_something_changed():
    names = ModelNames()
    assert recalled(names, 1) == [None]
    said = kept(names)
    assert recalled(names, 2) == [NAMED] * 2
    assert names.recall("lee", "models/house", may_wait=False) is None
    names.changed()
    assert recalled(names, 1) == [None]
    said = kept(names)
    said.at -= model_names.BELIEVED_S + 0.1
    assert recalled(names, 2) == [None] * 2


def test_one_caller_looks_it_up_again_before_the_others_have_to(monkeypatch):
    monkeypatch.setattr(model_names, "BELIEVED_S", 30.0)
    names = ModelNames()
    kept(names).at -= 16
    assert recalled(names, 3) == [None, NAMED, NAMED]
    assert recalled(names, 1, may_wait=True) == [None], "whoever may wait looks it up"
    kept(names)
    assert recalled(names, 3) == [NAMED] * 3
