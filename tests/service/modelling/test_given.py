"""Given weights of networks with normalisation and embeddings."""

import pytest
import torch

from service.modelling import given as given_weights
from service.modelling import networks
from service.modelling.inputs import Embedded, InputLayout
from tests.service.modelling.cases import given, spec_of

SPEC = {
    "mlp": {"hidden": [2], "activation": "IDENTITY", "bias": True, "normalisation": "BATCH"},
}
LAYOUT = InputLayout(2, [Embedded(1, 2, 1)])
WEIGHTS = {
    "layers__0__weight": [[1.0, 0.0], [0.0, 1.0]],
    "layers__0__bias": [0.0, 0.0],
    "layers__1__weight": [[1.0, 10.0]],
    "layers__1__bias": [0.5],
    "norms__0__weight": [1.0, 1.0],
    "norms__0__bias": [0.0, 0.0],
    "norms__0__running_mean": [1.0, 2.0],
    "norms__0__running_var": [4.0, 9.0],
    "embeddings__0__weight": [[0.0], [5.0], [8.0]],
}


def problems(dtype=torch.float64, **changed):
    network = spec_of({"network": SPEC}).network
    learn = spec_of(given(**WEIGHTS | changed)).learn.given
    found = given_weights.given_misfits(learn, networks.weight_shapes(network, LAYOUT, 1), dtype)
    return [(problem.field, problem.description) for problem in found]


def test_they_are_taken():
    assert problems() == []
    network = networks.build_network(spec_of({"network": SPEC}).network, LAYOUT, 1, torch.float64)
    learn = spec_of(given(**WEIGHTS)).learn.given
    network.load_state_dict(given_weights.given_tensors(learn, torch.float64))
    network.eval()
    x = torch.tensor([[3.0, 1], [3.0, 2], [3.0, 0]], dtype=torch.float64)
    with torch.no_grad():
        found = network(x)[:, 0].tolist()
    first = (3 - 1) / 4.00001**0.5
    expected = [first + 10 * (vector - 2) / 9.00001**0.5 + 0.5 for vector in (5, 8, 0)]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("changed", "name", "words"),
    [
        ({"embeddings__0__weight": [[1.0], [5.0], [8.0]]}, "embeddings.0.weight", "row 0 that is not 0"),
        ({"norms__0__running_var": [4.0, -9.0]}, "norms.0.running_var", "holds -9; a variance must be at least 0"),
        ({"norms__0__running_mean": None}, "norms.0.running_mean", "missing; shape [2]"),
        ({"embeddings__0__weight": [[0.0], [5.0]]}, "embeddings.0.weight", "has shape [2, 1]; the network's is [3, 1]"),
        ({"norms__1__weight": [1.0]}, "norms.1.weight", "the network has no such weight"),
    ],
)
def test_misfits(changed, name, words):
    ((field, description),) = problems(**changed)
    assert field == f'job.train.learn.given.weights["{name}"]'
    assert words in description


def test_numbers_that_the_dtype_cannot_hold():
    large = {"norms__0__weight": [1.0, -1e39]}
    ((_, description),) = problems(torch.float32, **large)
    assert description == "holds -1e+39, and FLOAT32 at most 3.40282e+38; set dtype to FLOAT64"
    assert problems(torch.float64, **large) == []
