"""Rows that the store's tests begin with."""

import itertools
import json

import pytest

from service.store import datasets, jobs, tables, users

_numbers = itertools.count(1)


def only(kind):
    """A test of what one of the databases alone does."""
    return pytest.mark.parametrize("database_kind", [kind], indirect=True)


def make_user(database, name="kim"):
    with database.write() as connection:
        return users.add_user(connection, name)


def make_dataset(database, owner, slug="penguins", sha256="", options_sha256="as-is", table_sha256="", columns="area"):
    number = next(_numbers)
    with database.write() as connection:
        return datasets.add_version(
            connection,
            owner_id=owner.id,
            slug=slug,
            display_name="Penguins",
            sha256=sha256 or f"file{number}",
            options_sha256=options_sha256,
            size_bytes=12,
            row_count=3,
            columns_json=json.dumps([{"name": name, "type": "NUMBER"} for name in columns.split()]),
            table_sha256=table_sha256 or f"table{number}",
            encoding="UTF-8",
        )


def job_values(owner_id, dataset_id, request_id=None, **changes):
    """What jobs.add takes."""
    return {
        "owner_id": owner_id,
        "dataset_id": dataset_id,
        "dataset_name": "datasets/kim.penguins/versions/1",
        "kind": "train",
        "display_name": "",
        "model_slug": "churn",
        "task_json": '{"seed":7}',
        "resolved_json": '{"seed":7,"dtype":"FLOAT64"}',
        "parameter_count": 4,
        "epochs": 10,
        "request_id": request_id,
        "request_hash": request_id,
    } | changes


def add_job(connection, owner, dataset, request_id=None, **changes):
    return jobs.add(connection, **job_values(owner.id, dataset.id, request_id, **changes))


def make_job(database, owner, dataset, request_id=None, **changes):
    with database.write() as connection:
        return add_job(connection, owner, dataset, request_id, **changes)


def make_queue(database, count=1):
    """A user, a data set and so many queued jobs, oldest first."""
    owner = make_user(database)
    dataset = make_dataset(database, owner)
    return owner, [make_job(database, owner, dataset) for _ in range(count)]


# A random UUID, as each database writes it.
_UUID = {
    "sqlite": "printf('%s-%s-4%s-8%s-%s', lower(hex(randomblob(4))), lower(hex(randomblob(2))), "
    "substr(lower(hex(randomblob(2))), 2), substr(lower(hex(randomblob(2))), 2), lower(hex(randomblob(6))))",
    "postgresql": "gen_random_uuid()::text",
}


def double_jobs(database, times):
    """Copy all jobs, so many times, each copy a little younger: thousands of rows in a moment."""
    columns = [column.name for column in tables.job.columns]
    for number in range(times):
        later = 10.0**-3 * 2**number
        values = {"id": _UUID[database.kind], "created_at": f"created_at + {later}", "request_id": "NULL"}
        chosen = ", ".join(values.get(name, name) for name in columns)
        with database.write() as connection:
            connection.exec_driver_sql(f"INSERT INTO job ({', '.join(columns)}) SELECT {chosen} FROM job")


def job_of(database, job_id):
    with database.read() as connection:
        return jobs.find_by_id(connection, job_id)
