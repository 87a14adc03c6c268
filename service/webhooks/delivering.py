"""Sends webhooks: a thread for each target, so that a slow receiver holds up nobody but itself."""

import http.client
import logging
import random
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping

from service.errors import TraindError
from service.store import jobs, webhooks
from service.store.database import Database
from service.webhooks.messages import body_of, headers_of, id_of
from service.webhooks.targets import Target

log = logging.getLogger("traind.webhooks")

# Seconds before the second try, the third, ...; after the last one it is given up.
PAUSES_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0)
# The longest `Retry-After` that is followed.
LONGEST_RETRY_AFTER_S = 3600.0
# Seconds for connecting, and for each part of the answer.
TIMEOUT_S = 5.0
# A claimed try is made again after so long, if whoever claimed it died.
CLAIM_S = 30.0
LOOK_S = 1.0
AT_ONCE = 20


class Deliverer:
    """Sends what is due to every target until it is stopped. Several processes may: a try is one process's."""

    def __init__(self, database: Database, targets: Mapping[str, Target]) -> None:
        """Nothing is sent before `start`."""
        self._database = database
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(target,), name=f"webhooks {target.name}", daemon=True)
            for target in targets.values()
        ]
        self._names = set(targets)

    def start(self) -> None:
        """Begin, and say which ends wait for a target that is not set up any more."""
        for thread in self._threads:
            thread.start()
        with self._database.read() as connection:
            found = webhooks.counts(connection)
        lost = {name: count for (name, state), count in found.items() if state == "waiting" and name not in self._names}
        for name, count in sorted(lost.items()):
            log.warning("%d webhooks wait for %s, which TRAIND_WEBHOOKS does not name", count, name)

    def stop(self, timeout_s: float = 3.0) -> None:
        """End; what is under way is not waited for longer, and is tried again by whoever comes next."""
        self._stopped.set()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _run(self, target: Target) -> None:
        while not self._stopped.is_set():
            try:
                more = self._send_due(target)
            except TraindError as error:
                log.warning("webhooks to %s wait: %s", target.name, error)
                more = False
            except Exception:
                # A defect in one try must not end all later ones.
                log.exception("webhooks to %s failed", target.name)
                more = False
            if not more:
                self._stopped.wait(LOOK_S)

    def _send_due(self, target: Target) -> bool:
        """Send what is due, and answer whether there may be more."""
        with self._database.read() as connection:
            found = webhooks.due(connection, target.name, AT_ONCE)
        for one in found:
            if self._stopped.is_set():
                return False
            self._try(target, one)
        return len(found) == AT_ONCE

    def _try(self, target: Target, one: webhooks.Due) -> None:
        with self._database.write() as connection:
            if not webhooks.claim(connection, target.name, one, CLAIM_S):
                return
            job = jobs.find_by_id(connection, one.job_id)
        assert job is not None
        message_id, body = id_of(job.id, target.name), body_of(job)
        status, answer, retry_after_s = _post(target, body, headers_of(message_id, body, target.key, int(time.time())))
        state, pause_s = _what_follows(status, one.tries, retry_after_s)
        if state == "given_up":
            log.warning("webhook %s is given up after %d tries: %s", message_id, one.tries + 1, answer)
        elif state == "waiting":
            log.info("webhook %s is tried again in %.0f s: %s", message_id, pause_s, answer)
        with self._database.write() as connection:
            webhooks.settle(connection, target.name, one, state, answer, pause_s)


def _what_follows(status: int, tries: int, retry_after_s: float) -> tuple[str, float]:
    """The state after a try that `tries` others came before, and the seconds until the next one."""
    if 200 <= status < 300:
        return "delivered", 0.0
    if status == http.client.GONE or tries >= len(PAUSES_S):
        return "given_up", 0.0
    # Spread, so that what failed together does not come back together.
    pause_s = PAUSES_S[tries] * random.uniform(0.9, 1.1)  # noqa: S311 - nothing to guess
    return "waiting", max(pause_s, min(retry_after_s, LONGEST_RETRY_AFTER_S))


def _post(target: Target, body: bytes, headers: dict[str, str]) -> tuple[int, str, float]:
    """Status (0 = none came), what happened in a few words, and the seconds of `Retry-After`.

    Redirects are not followed, and proxies of the environment not used: it goes where the administrator said.
    """
    parts = urllib.parse.urlsplit(target.url)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
    )
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        told = answer.getheader("retry-after", "")
        return answer.status, f"status {answer.status}", float(told) if told.isdecimal() else 0.0
    except TimeoutError:
        return 0, f"no answer within {TIMEOUT_S:g} s", 0.0
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: an address that cannot be sent
        return 0, type(error).__name__, 0.0
    finally:
        connection.close()
