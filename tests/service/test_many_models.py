"""Many more models than there is memory for answer one after the other, each with its own answers."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch

from service import models
from service.store.database import Database
from tests import servers
from tests.service.lab import Lab
from traind.v1 import models_pb2

MODELS = 500
# 0.53 MB of weights each, so that 500 of them are more than the bound.
WIDTHS = [360, 360]
GROWTH_BYTES = 300e6
ASKED = torch.tensor([[30.0, 2.0, 0.5], [45.5, 4.0, 1.25]], dtype=torch.float64)


@pytest.mark.timeout(400)
def test_five_hundred_models_under_a_bound_of_256_mb(tmp_path):
    with servers.fresh_database("sqlite") as url:
        database = Database(url)
        database.migrate()
        lab = Lab(database, tmp_path)
        lab.push("house_prices")
        train = {
            "target": ["price"],
            "network": {"mlp": {"hidden": WIDTHS}},
            "preprocess": {"scale": "NONE"},
            "split": {"none": {}},
            "learn": {"gradient": {"epochs": 1}},
        }
        for number in range(MODELS):
            lab.submit({"dataset": "house-prices", "model": f"m{number}", "train": train | {"seed": number}})
        assert lab.work() == MODELS
        env = {"TRAIND_DATA_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
        root = pathlib.Path(__file__).resolve().parents[2]
        done = subprocess.run(
            [sys.executable, "-m", "tests.service.many_models", url, lab.caller.user_id, "kim", str(MODELS)],
            cwd=root, env=env, capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        print({name: told[name] for name in ("most_used", "growth", "evictions", "limit")})
        assert told["limit"] == 256 << 20
        assert 0.9 * told["limit"] < told["most_used"] <= told["limit"]
        assert told["evictions"] > MODELS // 10
        assert told["growth"] <= GROWTH_BYTES
        assert told["again"] == told["answers"][: len(told["again"])]
        assert len({tuple(answer) for answer in told["answers"]}) == MODELS
        for number in range(0, MODELS, 50):
            assert told["answers"][number] == pytest.approx(by_torch(lab, f"models/m{number}"), rel=1e-6)
        database.dispose()


def by_torch(lab, name):
    """What plain torch says with a model's weights."""
    told = models.get_weights(lab.app, lab.caller, models_pb2.GetWeightsRequest(name=name))
    weights = {tensor: torch.tensor(list(one.values)).reshape(list(one.shape)) for tensor, one in told.weights.items()}
    hidden = ASKED.float()
    for layer in range(len(WIDTHS) + 1):
        hidden = torch.nn.functional.linear(hidden, weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"])
        if layer < len(WIDTHS):
            hidden = torch.relu(hidden)
    return hidden.reshape(-1).tolist()
