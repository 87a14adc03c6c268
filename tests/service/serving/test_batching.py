"""Questions that are answered together are answered as each would be by itself."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from service import believing
from service.errors import InvalidField, TooLarge
from service.model_names import Named
from service.serving import batching
from service.serving.batching import MOST_TOGETHER, Question
from tests.service.modelling.cases import HOUSE_SPEC, table_of
from tests.service.modelling.test_predictor import predictor_of
from tests.service.serving import wires
from tests.service.serving.conftest import columns_of
from tests.service.serving.test_infer import infer, predicted

CITIES = {"city": ["서울", "부산", "대구", "서울"], "area": [32.0, 33.0, 36.0, 20.0], "price": [6.0, 7.0, 8.5, 4.0]}
SPEC = HOUSE_SPEC | {"inputs": ["city", "area"]}


@pytest.fixture
def predictor():
    return predictor_of(SPEC, table_of(CITIES), weight=[[1.0, 2.0, 3.0, 0.1]])


def question(predictor, cities, areas, tell=lambda predicted: predicted.values.tolist(), version="one", parameters=4):
    named = Named(version, "kim", "house", 1, parameters)
    return Question(named, predictor, table_of({"city": cities, "area": areas}), tell)


def passes(predictor):
    """Rows of each pass through the network from now on."""
    seen = []
    predictor.network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    return seen


def test_one_pass_answers_all_and_each_its_own_rows(predictor):
    asked = [
        question(predictor, ["서울"], [30.0]),
        question(predictor, ["대구", "부산"], [31.0, 32.0]),
        question(predictor, ["부산"], [33.0]),
    ]
    alone = [one.answer() for one in asked]
    seen = passes(predictor)
    assert batching.answer(asked) == [pytest.approx(np.array(answer), rel=1e-12) for answer in alone]
    assert seen == [4]


def test_what_one_has_wrong_is_told_to_it_alone(predictor):
    def full(_):
        raise TooLarge("no room")

    asked = [
        question(predictor, ["서울"], [30.0]),
        question(predictor, ["부산", "아테네"], [30.0, 31.0]),
        question(predictor, ["대구"], [30.0]),
    ]
    first, wrong, last = batching.answer(asked)
    assert isinstance(wrong, InvalidField)
    assert "아테네" in str(wrong)
    assert (first, last) == (asked[0].answer(), asked[2].answer())
    assert isinstance(batching.answer([question(predictor, ["서울"], [30.0], full), asked[0]])[0], TooLarge)


def test_parts_are_of_one_version_and_bounded(predictor):
    light = [(n, question(predictor, ["서울"], [30.0], version="ab"[n % 2])) for n in range(2 * MOST_TOGETHER + 20)]
    groups = list(batching.by_version(light))
    assert [[holder % 2 for holder, _ in group] for group in groups] == [[0] * 74, [1] * 74]
    part, left = batching.first_part(groups[0])
    assert ([holder for holder, _ in part], len(left)) == (list(range(0, 128, 2)), 10)
    # Rows, and multiplications, of what others wait for.
    wide = [(n, question(predictor, ["서울"] * 30, [30.0] * 30)) for n in range(20)]
    assert len(batching.first_part(wide)[0]) == batching.LIGHT_ROWS // 30
    much = [(n, question(predictor, ["서울"], [30.0], parameters=900_000)) for n in range(20)]
    assert len(batching.first_part(much)[0]) == 2
    heavy = [(n, question(predictor, ["서울"] * 3000, [30.0] * 3000)) for n in range(20)]
    assert all(one.heavy for _, one in heavy)
    assert len(batching.first_part(heavy)[0]) == 2
    assert len(batching.first_part(heavy[:1])[0]) == 1


@pytest.fixture(params=["light", "heavy"])
def weight(request):
    """Of the questions: light ones are answered where they come in, heavy ones on threads."""
    return request.param


@pytest.fixture
def sizes(weight, monkeypatch):
    """How many questions were answered together, of each time."""
    seen, answer = [], batching.answer

    def counted(questions):
        seen.append(len(questions))
        # Time for others to come: to the one thread, or to the first of each pool.
        if len(seen) <= (1 if weight == "light" else 4):
            time.sleep(0.5)
        return answer(questions)

    monkeypatch.setattr(batching, "answer", counted)
    # Who asks SQL about the token or the name goes through a thread, and is answered there.
    monkeypatch.setattr(believing, "BELIEVED_S", 60.0)
    if weight == "heavy":
        monkeypatch.setattr(batching, "QUICK_WORK", 0)
    return seen


def at_once(callers, work):
    """What `work` answers to each number below `callers`, begun at the same moment, three times over."""
    barrier = threading.Barrier(callers)

    def one(number):
        found = []
        for _ in range(3):
            barrier.wait(60)
            found.append(work(number))
        return found

    with ThreadPoolExecutor(callers) as pool:
        return [answer for answers in pool.map(one, range(callers)) for answer in answers]


@pytest.mark.parametrize("door", ["predictions", "main", "rest"])
def test_calls_at_the_same_time_share_passes(server, door, weight, sizes):
    """Of different rows, on the model with categories; at least some of them together.

    gRPC's asyncio server takes one call after another from its queue, so that it is chance which light ones meet there.
    """
    expected = {number: predicted(server, "mixed", columns_of("mixed", number + 1))[0][0] for number in range(24)}
    sizes.clear()

    def ask(number):
        return number, infer(server, door, "mixed", columns_of("mixed", number + 1))["prediction"].reshape(-1)

    for number, found in at_once(24, ask):
        assert found == pytest.approx(np.array(expected[number]), rel=1e-6, abs=1e-6), number
    assert max(sizes) > 1 or (door, weight) == ("main", "light")
    assert sum(sizes) > 36


def test_a_wrong_call_among_right_ones_is_refused_alone(server, sizes):
    right = columns_of("mixed", 3)
    wrong = right | {"city": ["서울", "아테네", "대구"]}
    expected = predicted(server, "mixed", right)[0][0]
    with wires.rpc(server.predict_port, server.token("kim")) as wire:

        def ask(number):
            if number % 3:
                return wire.infer("kim.mixed", right)[1]["prediction"].reshape(-1)
            return wire.refusal("ModelInfer", wires.request_of("kim.mixed", wrong))

        for found in at_once(24, ask):
            if isinstance(found, grpc.RpcError):
                assert found.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert "inputs[2]" in found.details()
                assert "아테네" in found.details()
            else:
                assert found == pytest.approx(np.array(expected), rel=1e-6, abs=1e-6)
    assert max(sizes) > 1
