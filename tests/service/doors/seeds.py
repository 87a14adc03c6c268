"""Rows that stand in the store before a test calls, as other parts of the server would leave them."""

import json
import secrets

from service import ledger
from service.store import datasets, jobs, users

COLUMNS = [{"name": "area", "type": "NUMBER"}, {"name": "price", "type": "NUMBER"}]
TASK = {
    "inputs": ["area"],
    "target": ["price"],
    "network": {"linear": {}},
    "learn": {"gradient": {"epochs": 3}},
}


def add_dataset(database, owner, slug, rows=20):
    """A READY data set of two numeric columns, as far as SQL knows."""
    with database.write() as connection:
        return datasets.add_version(
            connection,
            owner_id=users.find_user(connection, owner).id,
            slug=slug,
            display_name=slug,
            sha256=secrets.token_hex(32),
            options_sha256="0" * 64,
            size_bytes=100,
            row_count=rows,
            columns_json=json.dumps(COLUMNS),
            table_sha256=secrets.token_hex(32),
            encoding="",
        )


def add_job(database, dataset, epochs=3, display_name=""):
    """A QUEUED job on a data set."""
    with database.write() as connection:
        return jobs.add(
            connection,
            owner_id=dataset.owner_id,
            dataset_id=dataset.id,
            dataset_name=f"datasets/{dataset.owner_name}.{dataset.slug}/versions/{dataset.version}",
            kind="train",
            display_name=display_name,
            model_slug=dataset.slug,
            task_json=json.dumps(TASK),
            resolved_json=json.dumps(TASK),
            parameter_count=2,
            epochs=epochs,
            request_id=None,
            request_hash=None,
        )


def run(database, job, epochs=3, *, fail=False, before_end=lambda: None):
    """What a worker leaves behind: epochs with figures, a finding-free end."""
    claim = ledger.claim(database, "seed:1", 60)
    assert claim.job.id == job.id, "another job was queued before"
    for epoch in range(1, epochs + 1):
        figures = {("train_loss", "train"): 1.0 / epoch, ("val_loss", "val"): float("nan")}
        ledger.publish_epochs(database, claim, [ledger.EpochFigures(epoch, figures)], b"checkpoint", epoch)
    before_end()
    if fail:
        ledger.fail(database, claim, "DIVERGED", "the loss became NaN in epoch 3: use a smaller rate")
    else:
        ledger.succeed(database, claim, None, metrics={"train_loss": 0.25, "r2": float("-inf")}, best_epoch=epochs)
