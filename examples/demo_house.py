"""House prices: given weights, the exact solution, gradient descent, and what a learning rate does."""

import itertools

from demo_report import Report, close, numbers
from demo_server import DATA

import traind
from traind.display import figure, sparkline

INPUTS = ["area", "rooms", "station_km"]
ROWS = [[32, 3, 0.3], [33, 3, 0.5], [36, 4, 0.5]]
PRICES = [6.0, 7.0, 8.5]

# Weights, bias, and what comes of them: predictions, absolute errors, their mean.
DECK = [
    ([0.1, 0.3, 4.0], None, [5.3, 6.2, 6.8], [0.7, 0.8, 1.7], 1.0667),
    ([0.1, 0.3, 3.0], 0.5, [5.5, 6.2, 6.8], [0.5, 0.8, 1.7], 1.0),
    ([0.1, 0.3, 4.0], 0.5, [5.8, 6.7, 7.3], [0.2, 0.3, 1.2], 0.5667),
    ([0.1, 0.2, 2.0], 0.5, [4.9, 5.4, 5.9], [1.1, 1.6, 2.6], 1.7667),
]
RAW = {"inputs": INPUTS, "target": ["price"], "preprocess": {"scale": "NONE"}, "split": {"none": {}}}
EPOCHS = 1000


def house_prices(client: traind.Client, report: Report) -> None:
    """Three houses with area (pyeong), rooms and the distance to a station (km); prices in 억원."""
    report.heading("house prices: three houses, and what weights make of them")
    dataset = client.datasets.create(DATA / "house_prices.csv", name="house-prices")
    rows = [_given(client, report, dataset, *line) for line in DECK]
    header = ("WEIGHTS", "BIAS", "PREDICTED", "DECK", "ABSOLUTE ERRORS", "DECK", "MAE", "DECK", "")
    report.table(header, rows)
    exact = _exact(client, report)
    _descend(client, report, exact)


def _given(
    client: traind.Client,
    report: Report,
    dataset: traind.Dataset,
    weights: list[float],
    bias: float | None,
    predicted: list[float],
    errors: list[float],
    mae: float,
) -> list[str]:
    given = {"weight": [weights]} | ({} if bias is None else {"bias": [bias]})
    train = RAW | {
        "network": {"linear": {"bias": bias is not None}},
        "learn": {"given": {"weights": given}},
        "dtype": "FLOAT64",
    }
    model = client.jobs.create(dataset=dataset, model="house-given", train=train).wait().model
    answered = model.predict(ROWS)
    off = [abs(price - value) for price, value in zip(PRICES, answered, strict=True)]
    measured = model.evaluate(dataset, loss="mae").metrics["loss"]
    ok = close(answered, predicted, 1e-9) and close(off, errors, 1e-9) and close([measured], [mae], 5e-5)
    return [
        numbers(weights),
        "none" if bias is None else figure(bias),
        numbers(answered),
        numbers(predicted),
        numbers(off),
        numbers(errors),
        f"{measured:.4f}",
        f"{mae:.4f}",
        report.check(f"house prices with weights {weights} and bias {bias}", ok),
    ]


def _exact(client: traind.Client, report: Report) -> list[float]:
    """The least-squares solution; answers its predictions."""
    train = RAW | {"network": {"linear": {"bias": False}}, "learn": {"exact": {}}, "dtype": "FLOAT64"}
    model = client.jobs.create(dataset="house-prices", model="house-exact", train=train).wait().model
    weights = model.weights()["weight"][0]
    answered: list[float] = model.predict(ROWS)
    ok = close(weights, [0.0, 1.5, 5.0], 1e-9) and close(answered, PRICES, 1e-9)
    clean = [0.0 if abs(weight) < 1e-9 else weight for weight in weights]
    mark = report.check("the exact solution", ok)
    report.say(f"\nThe exact solution without bias: weights {numbers(clean)}; deck: 0, 1.5, 5   {mark}")
    return answered


def _descend(client: traind.Client, report: Report, exact: list[float]) -> None:
    train = RAW | {
        "network": {"linear": {}},
        "preprocess": {"scale": "STANDARD"},
        "learn": {"gradient": {"optimizer": {"gradientDescent": {"lr": 0.3}}, "epochs": EPOCHS}},
        "dtype": "FLOAT64",
        "seed": 7,
    }
    job = client.jobs.create(dataset="house-prices", model="house", train=train).wait()
    answered = job.model.predict(ROWS)
    gap = max(abs(a - b) for a, b in zip(answered, exact, strict=True))
    steps, losses = job.history()["train_loss"]
    mark = report.check("gradient descent reaches the exact solution's predictions", gap <= 1e-8)
    report.say(
        f"Gradient descent, standardised, {len(steps)} epochs: loss {sparkline(losses[:60], 20)} "
        f"{figure(losses[0])} -> {figure(losses[-1])}"
    )
    report.say(f"  its predictions {numbers(answered)} differ from the exact ones by at most {gap:.0e}   {mark}")


def learning_rates(client: traind.Client, report: Report) -> None:
    """The raw rows, neither scaled nor shifted: the same job at three rates."""
    report.heading(f"learning rates: the raw house rows, {EPOCHS} epochs of gradient descent")
    jobs = {}
    for rate in (1e-5, 5e-4, 1e-3):
        descent = {"optimizer": {"gradientDescent": {"lr": rate}}, "epochs": EPOCHS}
        train = RAW | {"network": {"linear": {"bias": False}}, "learn": {"gradient": descent}, "seed": 7}
        jobs[rate] = client.jobs.create(dataset="house-prices", model="house-raw", train=train)
    ended = {rate: job.wait(raise_on_failure=False) for rate, job in jobs.items()}
    for rate, job in ended.items():
        losses = job.history()["train_loss"][1]
        report.say(f"rate {rate:<6g} {sparkline(losses, 24)}  loss {figure(losses[0])} -> {figure(losses[-1])}")
        for line in _verdict(report, rate, job):
            report.say(f"    {line}")
    small, good = (ended[rate].history()["train_loss"][1] for rate in (1e-5, 5e-4))
    mark = report.check("5e-4 ends lower than 1e-5", good[-1] < small[-1])
    report.say(f"After {EPOCHS} epochs the rate 0.0005 is at {good[-1]:.4f}, 1e-05 only at {small[-1]:.4f}   {mark}")


def _verdict(report: Report, rate: float, job: traind.Job) -> list[str]:
    """What became of a rate, in words."""
    findings = {finding.code: finding for finding in job.findings}
    if rate == 1e-5:
        found = findings.get("RATE_TOO_SMALL")
        mark = report.check("1e-5 crawls", job.state == "SUCCEEDED" and found is not None)
        return [f"it crawls: {found.message if found else job.findings}   {mark}"]
    if rate == 5e-4:
        losses = job.history()["train_loss"][1]
        falls = all(later <= earlier for earlier, later in itertools.pairwise(losses))
        mark = report.check("5e-4 descends", job.state == "SUCCEEDED" and falls and "DIVERGED" not in findings)
        return [f"it descends: no epoch's loss is above the one before   {mark}"]
    failure, found = job.failure, findings.get("DIVERGED")
    figures = found.figures if found else {}
    proposed, largest = figures.get("proposed_lr", 0.0), figures.get("largest_stable_lr", 0.0)
    ok = failure is not None and failure.reason == "DIVERGED" and 0 < proposed < 8.7127e-4
    mark = report.check("1e-3 diverges, and a stable rate is proposed", ok)
    known = report.check("largest stable rate", abs(largest - 8.7126e-4) < 1e-7)
    return [
        f"it diverges: {failure.message if failure else job.state}",
        f"proposed rate {proposed:.2g}   {mark}; largest stable rate {largest:.2e}, known 8.7e-04   {known}",
    ]
