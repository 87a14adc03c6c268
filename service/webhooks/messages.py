"""What is sent when a job has ended, and how it is signed: by the Standard Webhooks specification, version 1.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import datetime as dt
import hashlib
import hmac
import json

from service.store.records import JobRow
from traind.reasons_en import FAILURES


def body_of(job: JobRow) -> bytes:
    """The message as JSON: which job ended and how; nothing of its data or spec.

    A failure is told by its reason and what that means in general, for its own message may quote columns and values.
    """
    data: dict[str, str | dict[str, str]] = {
        "job": f"jobs/{job.id}",
        "displayName": job.display_name,
        "state": job.state,
        "dataset": job.dataset_name,
        "modelVersion": job.model_name,
        "endTime": _time(job.ended_at),
    }
    if job.failure_reason:
        data["failure"] = {"reason": job.failure_reason, "message": FAILURES[job.failure_reason][0]}
    message = {"type": "job.ended", "timestamp": _time(job.ended_at), "data": data}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def id_of(job_id: str, target: str) -> str:
    """The same at every try, so that a receiver knows what it has had before."""
    return f"job_{job_id}_{target}"


def headers_of(message_id: str, body: bytes, key: bytes, now: int) -> dict[str, str]:
    """The headers of one try at `now`, seconds since 1970."""
    signed = f"{message_id}.{now}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "content-type": "application/json; charset=utf-8",
        "user-agent": "traind",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,{signature}",
    }


def _time(seconds: float | None) -> str:
    moment = dt.datetime.fromtimestamp(seconds or 0.0, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
