"""Stock clients of the Open Inference Protocol, unmodified, in processes and environments of their own."""

import numpy as np
import pytest

from tests.interop import conftest, environments

TRITON_DOORS = [
    f"{library} at the {port}" for library in ("grpc", "grpc.aio") for port in ("port of predictions", "main port")
]
TRITON_DOORS += ["http", "http.aio"]
KSERVE_DOORS = ["grpc at the port of predictions", "grpc at the main port", "rest"]
CASES = list(conftest.cases())


@pytest.fixture(scope="module")
def triton(server):
    return server.answers(environments.python("triton"), "triton_calls.py")


@pytest.fixture(scope="module")
def kserve(server):
    return server.answers(environments.python("kserve"), "kserve_calls.py")


def equal(told, expected):
    """What a client understood, beside what Predict says."""
    if isinstance(expected, list):
        assert told["values"] == expected
    else:
        assert told["shape"][0] == len(expected)
        np.testing.assert_allclose(told["values"], np.asarray(expected).reshape(-1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("door", TRITON_DOORS)
@pytest.mark.parametrize("case", CASES)
def test_triton_is_answered_as_predict_answers(server, triton, door, case):
    expected = server.predicted(case)
    ways = triton[door][case]
    assert set(ways) >= ({"all", "some"} if "main port" in door else {"all", "some", "gzip", "deflate"})
    for way, answer in ways.items():
        wanted = list(expected)[-1:] if way == "some" else list(expected)
        if way == "some":
            assert answer["id"] == "질문-1"
        assert set(answer["outputs"]) == set(wanted)
        for name in wanted:
            equal(answer["outputs"][name], expected[name])


@pytest.mark.parametrize("door", KSERVE_DOORS)
@pytest.mark.parametrize("case", CASES)
def test_kserve_is_answered_as_predict_answers(server, kserve, door, case):
    expected = server.predicted(case)
    ways = kserve[door][case]
    assert len(ways) == 2 + (case != "classes")
    for way, answer in ways.items():
        assert answer["id"] == "질문-1"
        assert answer["model"] == server.asked["cases"][case][0]
        wanted = list(expected)[-1:] if way == "some" else list(expected)
        assert set(answer["outputs"]) == set(wanted)
        for name in wanted:
            equal(answer["outputs"][name], expected[name])


@pytest.mark.parametrize("case", ["numbers", "doubles"])
def test_plain_torch_says_the_same(server, triton, kserve, case):
    expected = server.by_torch(case)
    for door in TRITON_DOORS:
        equal(triton[door][case]["all"]["outputs"]["prediction"], expected)
    for door in KSERVE_DOORS:
        equal(kserve[door][case]["raw"]["outputs"]["prediction"], expected)


@pytest.mark.parametrize("door", TRITON_DOORS)
def test_triton_asks_how_the_server_is(server, triton, door):
    told = triton[door]
    assert told["live"] is True
    assert told["ready"] == [True, True, True]
    assert told["server"]["name"] == "traind"
    assert "binary_tensor_data" in told["server"]["extensions"]
    index = told["index"] if isinstance(told["index"], list) else told["index"]["models"]
    assert {one["name"] for one in index} >= {f"{server.owner}.{name}" for name in conftest.SPECS}


@pytest.mark.parametrize("door", KSERVE_DOORS)
def test_kserve_asks_how_the_server_is(kserve, door):
    assert kserve[door]["live"] is True
    assert kserve[door]["ready"] == [True, True]


@pytest.mark.parametrize("door", TRITON_DOORS)
def test_triton_is_told_of_tensors(triton, door):
    told = triton[door]["metadata"]
    inputs = {one["name"]: (one["datatype"], [int(size) for size in one["shape"]]) for one in told["mixed"]["inputs"]}
    assert inputs == {
        "area": ("FP64", [-1, 1]),
        "rooms": ("INT64", [-1, 1]),
        "city": ("BYTES", [-1, 1]),
        "new": ("BOOL", [-1, 1]),
    }
    assert {one["name"] for one in told["classes"]["outputs"]} >= {"label", "probabilities"}
    assert {one["name"] for one in told["numbers"]["inputs"]} == {"input", "a", "b", "c"}


# Status by gRPC and by HTTP, and what the text must hold.
REFUSED = {
    "model": ("StatusCode.NOT_FOUND", "404", "numbers-nobody"),
    "version": ("StatusCode.NOT_FOUND", "404", "99"),
    "input": ("StatusCode.INVALID_ARGUMENT", "400", "nobody"),
    "output": ("StatusCode.INVALID_ARGUMENT", "400", "nobody"),
    "token": ("StatusCode.UNAUTHENTICATED", "401", "token"),
    "metadata": ("StatusCode.NOT_FOUND", "404", "numbers-nobody"),
}


@pytest.mark.parametrize("door", TRITON_DOORS)
@pytest.mark.parametrize("what", REFUSED)
def test_triton_hears_why(triton, door, what):
    by_grpc, by_http, word = REFUSED[what]
    status, message = triton[door]["errors"][what]
    assert status == (by_http if door.startswith("http") else by_grpc)
    assert word in message


@pytest.mark.parametrize("door", [door for door in TRITON_DOORS if "main port" in door])
def test_the_main_port_takes_no_packed_calls(triton, door):
    status, message = triton[door]["errors"]["packed"]
    assert (status, "gzip" in message) == ("StatusCode.UNIMPLEMENTED", True)


@pytest.mark.parametrize("door", KSERVE_DOORS)
@pytest.mark.parametrize("what", ["model", "token"])
def test_kserve_hears_why(kserve, door, what):
    by_grpc, by_http, word = REFUSED[what]
    status, message = kserve[door]["errors"][what]
    assert status == (int(by_http) if door == "rest" else by_grpc.removeprefix("StatusCode."))
    assert word in message
