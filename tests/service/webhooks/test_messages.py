"""The message and its signature, against a published example and against the snippet of the handbook."""

import base64
import pathlib
import re
import time

from service.webhooks.messages import headers_of

ROOT = pathlib.Path(__file__).resolve().parents[3]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))


def test_the_published_example():
    """That of the Svix manual, from which the specification came."""
    headers = headers_of("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', KEY, 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_what_the_handbook_tells_receivers_to_check():
    text = (ROOT / "docs" / "operations.md").read_text()
    (snippet,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "is_ours" in block]
    names = {}
    exec(compile(snippet, "operations.md", "exec"), names)
    is_ours, body = names["is_ours"], '{"job":"펭귄"}'.encode()
    headers = headers_of("job_1_lab", body, KEY, int(time.time()))
    assert is_ours(headers, body, SECRET)
    assert not is_ours(headers, body + b" ", SECRET)
    assert not is_ours(headers | {"webhook-id": "job_2_lab"}, body, SECRET)
    assert not is_ours(headers, body, "whsec_" + base64.b64encode(bytes(range(32))).decode())
    old = headers_of("job_1_lab", body, KEY, int(time.time()) - 3600)
    assert not is_ours(old, body, SECRET)
