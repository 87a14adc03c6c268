"""Palmer penguins: sent over gRPC, learned with the progress shown, asked over REST."""

import json
import sys
import urllib.request

from demo_report import Report
from demo_server import DATA, Server

ROWS = 333
FLOOR = 0.95
TRAIN = {
    "target": ["species"],
    "network": {"mlp": {"hidden": [16], "activation": "RELU"}},
    "learn": {"gradient": {"optimizer": {"adam": {"lr": 0.01}}, "epochs": 40}},
    "seed": 7,
}
# An Adelie of Torgersen, the first bird of the table.
BIRD = {
    "island": "Torgersen",
    "bill_length_mm": 39.1,
    "bill_depth_mm": 18.7,
    "flipper_length_mm": 181,
    "body_mass_g": 3750,
    "sex": "male",
}


def penguins(server: Server, report: Report) -> None:
    """Three species from bill, flipper, weight, sex and island."""
    report.heading("penguins: from a file to an answer over REST")
    dataset = server.client.datasets.create(DATA / "penguins.csv", name="penguins", display_name="Palmer penguins")
    mark = report.check("rows of the penguins", dataset.row_count == ROWS)
    report.say(f"sent over gRPC: {dataset.name}, {dataset.row_count} rows; known: {ROWS}   {mark}")
    job = server.client.jobs.create(dataset=dataset, model="penguins", train=TRAIN).follow(sys.stdout)
    accuracy = job.metrics.get("val_accuracy", 0.0)
    mark = report.check("the penguins' held-out accuracy", job.state == "SUCCEEDED" and accuracy >= FLOOR)
    report.say(f"accuracy on rows it has not seen: {accuracy:.3f}; asked for: {FLOOR} or more   {mark}")
    _ask(server, report)


def _ask(server: Server, report: Report) -> None:
    """The call as a person would type it, then the same call made."""
    columns = [
        {"name": name, "strings" if isinstance(value, str) else "numbers": [value]} for name, value in BIRD.items()
    ]
    body = json.dumps({"columns": columns})
    url = f"{server.http}/v1/models/penguins:predict"
    secret = f"$(cat {server.token_file})" if server.token_file else "$TRAIND_TOKEN"
    report.say(f"\ncurl -s {url} \\\n  -H \"authorization: Bearer {secret}\" -H 'content-type: application/json' \\")
    report.say(f"  -d '{body}'")
    headers = {"authorization": f"Bearer {server.token}", "content-type": "application/json"}
    request = urllib.request.Request(url, body.encode(), headers)
    # No web proxy: the server is on this machine, or where TRAIND_URL says.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        text = response.read().decode()
    report.say(text)
    answer = json.loads(text)
    species = answer["predictions"][0]["strings"][0]
    direct = server.client.predict("penguins", [BIRD])[0]
    mark = report.check("REST and gRPC answer the same, and rightly", species == direct == "Adelie")
    report.say(f"over REST: {species}; over gRPC: {direct}; known: Adelie   {mark}")
