"""The loop goes both ways: by the written-out step it tells the history that autograd's tells, and resumes alike."""

import numpy as np
import pytest
import torch

from tests.worker import descents
from tests.worker.descents import LOSSES, OPTIMIZERS
from worker import checkpoints
from worker.autograd_step import AutogradStep
from worker.checkpoints import Origin
from worker.written_out import WrittenOut

ORIGIN = Origin("ab" * 32, '{"seed":3}', '{"columns":[]}', 67, np.arange(50, 67))
MLP = {"mlp": {"hidden": [6, 5], "activation": "GELU", "bias": True, "dropout": 0.2}}
WITHOUT_SEARCH = [name for name in OPTIMIZERS if name != "lbfgs"]
WAYS = {
    "plain": {},
    "clipped": {"clip": {"norm": 0.3}},
    "scheduled": {"schedule": {"cosine": {"finalShare": 0.1}, "warmUpSteps": 3}},
    "on a plateau": {"schedule": {"reduceOnPlateau": {"factor": 0.5, "patience": 0, "threshold": 0.2}}},
    "stopped early": {"earlyStopping": {"patience": 2, "minDelta": 0.05}, "epochs": 12},
}


def both(**choices):
    written, general = (descents.learning(**choices, path=path) for path in ("WRITTEN_OUT", "GENERAL"))
    assert isinstance(written.step, WrittenOut)
    assert isinstance(general.step, AutogradStep)
    return written, general


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", WITHOUT_SEARCH)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_history_and_weights(loss, optimizer, way):
    written, general = both(network=MLP, loss=loss, optimizer=optimizer, **WAYS[way])
    torch.manual_seed(8)
    found = written.run()
    torch.manual_seed(8)
    expected = general.run()
    assert len(found) == len(expected) > 1
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    assert written.state.best_epoch == general.state.best_epoch
    for name, weight in general.state.weights.items():
        torch.testing.assert_close(written.state.weights[name], weight, rtol=0, atol=1e-10)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", WITHOUT_SEARCH)
@pytest.mark.parametrize("dtype", descents.FLOATS)
def test_resumed_equals_never_stopped(dtype, optimizer, way):
    choices = {"network": MLP, "loss": "mse", "optimizer": optimizer, "dtype": dtype, "path": "WRITTEN_OUT"}
    choices |= WAYS[way]
    whole = descents.learning(**choices)
    history, saved = [], []
    for record in whole.epochs():
        history.append(record)
        saved.append(checkpoints.encode(checkpoints.capture(whole.state, ORIGIN)))
    for done in range(1, len(history)):
        torch.manual_seed(99)  # a new process has drawn other numbers
        resumed = descents.learning(**choices)
        checkpoints.restore(resumed.state, checkpoints.decode(saved[done - 1]))
        assert list(resumed.epochs()) == history[done:]
        assert resumed.state.best_epoch == whole.state.best_epoch
        for name, weight in whole.state.weights.items():
            assert torch.equal(resumed.state.weights[name], weight), name
