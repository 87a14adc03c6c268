"""The whole way in under a minute, from data to predictions: what is measured stands beside what is known.

    make demo                              with a server of its own, which is stopped at the end
    TRAIND_URL=... make demo               on a server that runs already

Exits with 1 if a single number is off.
"""

import contextlib
import signal
import sys
import time

from demo_house import house_prices, learning_rates
from demo_penguins import penguins
from demo_points import four_points
from demo_report import Report
from demo_server import own_server, running_server


def main() -> int:
    """Run every part; answers the exit code."""
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, lambda number, _: sys.exit(128 + number)
        )  # through the exits below, which stop the server
    report = Report()
    report.say("What stands beside `deck` or `known` was worked out by hand or is the data's own.")
    with contextlib.ExitStack() as stack:
        server = running_server() or stack.enter_context(own_server(report))
        house_prices(server.client, report)
        four_points(server.client, report)
        learning_rates(server.client, report)
        penguins(server, report)
    return report.close(time.monotonic() - began)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
