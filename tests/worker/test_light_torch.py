"""PyTorch without its compiler takes the same steps, and whoever wants the compiler has it."""

import json
import os
import subprocess
import sys

# Each optimizer takes five steps over the same weights; tells their bits, and whether the compiler was loaded.
STEPS = """
import json, sys
if sys.argv[1] == "light":
    from worker.light_torch import leave_compiler_out
    leave_compiler_out()
import torch
bits = {}
for name, more in (
    ("SGD", {}), ("SGD", {"momentum": 0.9, "nesterov": True, "fused": True}), ("Adam", {"fused": True}),
    ("AdamW", {"fused": True}), ("Adam", {}), ("Adagrad", {}), ("RMSprop", {"momentum": 0.5}),
    ("LBFGS", {"line_search_fn": "strong_wolfe"}),
):
    torch.manual_seed(3)
    layer, x, y = torch.nn.Linear(4, 2), torch.randn(16, 4), torch.randn(16, 2)
    optimizer = getattr(torch.optim, name)(layer.parameters(), lr=0.01, **more)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(layer(x), y)
        loss.backward()
        return loss
    for _ in range(5):
        if more.get("fused"):
            closure()
            optimizer.step()
        else:
            optimizer.step(closure)
        schedule.step()
    bits[f"{name} {more}"] = layer.weight.detach().numpy().tobytes().hex()
print(json.dumps({"bits": bits, "compiler": "torch._dynamo.eval_frame" in sys.modules}))
"""
WANTED = """
from worker.light_torch import leave_compiler_out
leave_compiler_out()
import torch
torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1).step()
stood_in = type(torch._dynamo).__name__
compiled = torch.compile(lambda x: x + 1, backend="eager")
assert compiled(torch.ones(2)).tolist() == [2.0, 2.0]
assert torch._dynamo.config.suppress_errors is False
print(stood_in, type(torch._dynamo).__name__)
"""


WARM = """
import sys
from service.settings import Settings
from service.store.database import Database
from worker import trainer
settings = Settings.from_env()
database = Database(settings.database_url)
database.migrate()
trainer._leave_compiler_out()
trainer._warm_up(trainer.Ready(settings, database))
print("torch._dynamo.eval_frame" in sys.modules)
"""


def told(program, *words, **env):
    argv = [sys.executable, "-c", program, *words]
    done = subprocess.run(argv, env=os.environ | env, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_optimizer_takes_the_same_steps_to_the_bit():
    whole, light = (json.loads(told(STEPS, way)) for way in ("whole", "light"))
    assert (whole["compiler"], light["compiler"]) == (True, False)
    assert light["bits"] == whole["bits"]


def test_whoever_wants_the_compiler_has_it():
    assert told(WANTED).split() == ["_StandIn", "module"]


def test_a_zygote_that_is_warm_is_without_it(tmp_path):
    assert told(WARM, TRAIND_DATA_DIR=str(tmp_path)).split() == ["False"]
