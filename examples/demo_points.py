"""Four points that no line separates, and how a hidden layer moves them until one does."""

from demo_report import Report, numbers
from demo_server import DATA

import traind
from traind.tables_in import read_table

KEEP = {"split": {"none": {}}, "preprocess": {"scale": "NONE"}, "dtype": "FLOAT64"}


def four_points(client: traind.Client, report: Report) -> None:
    """(0,0) and (1,1) are white, (1,0) and (0,1) black."""
    report.heading("four points: what a line cannot do")
    file = DATA / "four_points.csv"
    client.datasets.create(file, name="four-points")
    columns = read_table(file).columns
    inputs, target = list(columns)[:2], list(columns)[2]
    points = [[float(columns[name][i]) for name in inputs] for i in range(4)]
    train = KEEP | {"inputs": inputs, "target": [target]}
    _perceptron(client, report, train)
    stack = {"network": {"mlp": {"hidden": [4, 4], "activation": "IDENTITY"}}, "learn": _adam(300)}
    bent = {"network": {"mlp": {"hidden": [4], "activation": "TANH"}}, "learn": _adam(500)}
    _deck(client, report, train | _steps(), points)
    flat = _accuracy(client, "points-stack", train | stack | {"seed": 7})[1]
    mark = report.check("a stack of linear layers stays at 0.75 at most", flat <= 0.75)
    report.say(f"Three layers without a nonlinearity: accuracy {flat:g}; deck: at most 0.75   {mark}")
    model, curved = _accuracy(client, "points-mlp", train | bent | {"seed": 7})
    mark = report.check("an MLP separates the four points", curved == 1.0)
    report.say(f"A hidden layer of 4 tanh units, learned: accuracy {curved:g}; deck: 1   {mark}")
    _moved(report, model, points)


def _perceptron(client: traind.Client, report: Report, train: dict[str, object]) -> None:
    train = train | {"network": {"perceptron": {}}, "learn": {"perceptronRule": {"epochs": 100}}}
    job = client.jobs.create(dataset="four-points", model="points-perceptron", train=train).wait()
    best = job.model.evaluate("four-points").metrics["accuracy"]
    found = next((finding for finding in job.findings if finding.code == "NOT_SEPARABLE"), None)
    mark = report.check("the perceptron reaches 0.75 and says why not more", best == 0.75 and found is not None)
    report.say(f"The perceptron rule: accuracy {best:g}; deck: 0.75   {mark}")
    report.say(f"  {found.message if found else 'no finding was made'}")


def _steps() -> dict[str, object]:
    """The deck's own hidden layer: one step unit fires from one coordinate on, the other from two."""
    weights = {
        "layers.0.weight": [[1.0, 1.0], [1.0, 1.0]],
        "layers.0.bias": [-0.5, -1.5],
        "layers.1.weight": [[-1.0, 1.0]],
        "layers.1.bias": [0.5],
    }
    return {
        "network": {"mlp": {"hidden": [2], "activation": "STEP"}},
        "learn": {"given": {"weights": weights}},
    }


def _deck(client: traind.Client, report: Report, train: dict[str, object], points: list[list[float]]) -> None:
    model = client.jobs.create(dataset="four-points", model="points-steps", train=train).wait().model
    accuracy = model.evaluate("four-points").metrics["accuracy"]
    mark = report.check("given step units separate the four points", accuracy == 1.0)
    report.say(f"A hidden layer of two step units with given weights: accuracy {accuracy:g}; deck: 1   {mark}")
    _moved(report, model, points)


def _accuracy(client: traind.Client, name: str, train: dict[str, object]) -> tuple[traind.Model, float]:
    model = client.jobs.create(dataset="four-points", model=name, train=train).wait().model
    return model, model.evaluate("four-points").metrics["accuracy"]


def _moved(report: Report, model: traind.Model, points: list[list[float]]) -> None:
    """Where the last hidden layer puts the points."""
    answer = model.predict(points, hidden=True)
    layer = list(answer.hidden.values())[-1]
    rows = [
        (numbers(point), numbers([round(x, 3) + 0.0 for x in moved]), str(colour))
        for point, moved, colour in zip(points, layer, answer.values, strict=True)
    ]
    report.table(("POINT", "MOVED TO", "PREDICTED"), rows)


def _adam(epochs: int) -> dict[str, object]:
    return {"gradient": {"optimizer": {"adam": {"lr": 0.05}}, "epochs": epochs}}
