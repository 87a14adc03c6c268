"""In a process of its own: predict with every model of a person in turn, and tell what that took of memory.

python -m tests.service.many_models DATABASE_URL USER_ID USER_NAME COUNT; settings from the environment. Prints JSON.
"""

import json
import pathlib
import re
import sys

from service.app import App
from service.callers import Caller
from service.data.opening import open_objects
from service.predictions import predict
from service.settings import Settings
from service.store.database import Database
from traind.v1 import predictions_pb2, tables_pb2

AGAIN = 25
COLUMNS = [
    tables_pb2.ColumnValues(name=name, numbers=values)
    for name, values in {"area": [30.0, 45.5], "rooms": [2, 4], "station_km": [0.5, 1.25]}.items()
]


def anonymous_bytes():
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status)[1])


def main():
    url, user_id, user_name, count = sys.argv[1:]
    settings = Settings.from_env()
    app = App(settings, Database(url), open_objects(settings))
    caller = Caller(user_id, user_name, "t", frozenset({"predict"}))

    def ask(number):
        request = predictions_pb2.PredictRequest(name=f"models/m{number}", columns=COLUMNS)
        return list(predict(app, caller, request).predictions[0].numbers)

    answers = [ask(0)]
    first = anonymous_bytes()
    used, most = [], 0
    for number in range(1, int(count)):
        answers.append(ask(number))
        used.append(app.models.tally().used_bytes)
        most = max(most, anonymous_bytes())
    # The oldest have left, and come back.
    again = [ask(number) for number in range(AGAIN)]
    tally = app.models.tally()
    told = {"answers": answers, "again": again, "most_used": max(used), "growth": most - first}
    json.dump(told | {"evictions": tally.evictions, "limit": tally.limit_bytes}, sys.stdout)


if __name__ == "__main__":
    main()
