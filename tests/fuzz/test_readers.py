"""The readers take or refuse, by our own errors, what is kept and some thousand broken inputs, always the same ones."""

import pytest

from service.errors import InvalidField
from tests.fuzz import mutation, readers

SEED = 1
# A few seconds of each.
MUTATIONS = {"spec": 6000, "csv": 1500, "tensors": 2500, "model": 1500}
KEPT = [(name, kept) for name in readers.READERS for kept in readers.seeds(name)]


@pytest.mark.parametrize(("name", "kept"), KEPT)
def test_what_is_kept(name, kept):
    """Seeds are read, so that what is made of them gets deep; `refused-…` and what once broke a reader is refused."""
    reason = readers.attempt(name, readers.seeds(name)[kept])
    assert bool(reason) == kept.startswith(("refused-", "broke-")), reason


@pytest.mark.parametrize("name", readers.READERS)
def test_mutations(name):
    seeds = list(readers.seeds(name).values())
    reasons = set()
    for data in mutation.mutations(name, seeds, MUTATIONS[name], SEED):
        try:
            reasons.add(readers.attempt(name, data))
        except Exception as error:
            raise AssertionError(f"the reader {name} broke at {data!r}") from error
    # Taken, and refused: mutations that are all refused at the first byte would show nothing.
    assert "" in reasons
    assert len(reasons) >= 2


def test_mutations_are_the_same_for_a_seed_and_differ_from_their_seeds():
    seeds = list(readers.seeds("spec").values())
    first, again, other = (list(mutation.mutations("spec", seeds, 50, seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first) - set(seeds)) > 45


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda data: data[7], IndexError),
        (lambda _: sum(number * number for number in range(100_000)), readers.TooSlow),
    ],
)
def test_a_reader_that_breaks_is_found(monkeypatch, wrong, what):
    monkeypatch.setitem(readers.READERS, "csv", wrong)
    monkeypatch.setattr(readers, "MOST_S", 0.001)
    with pytest.raises(what):
        readers.attempt("csv", b"")


def test_a_refusal_of_a_reader_is_none_of_its_findings(monkeypatch):
    def refuse(_):
        raise InvalidField("a: must not be empty")

    monkeypatch.setitem(readers.READERS, "csv", refuse)
    assert readers.attempt("csv", b"") == "INVALID_FIELD"
