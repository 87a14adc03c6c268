"""The page /docs: everything is on it, every link leads somewhere, nothing comes from elsewhere."""

import base64
import dataclasses
import hashlib
import itertools
import pathlib
import re
import time
from html.parser import HTMLParser

import pytest

from service import policy
from service.programs.api import methods_of
from service.rest.docs.contents import REASONS
from service.rest.docs.limits import split_reason
from service.rest.docs.markup import Prose, code_block
from service.rest.docs.page import Page
from service.rest.errors import BY_CODE, BY_REASON
from service.rest.routes import Routes
from service.serverinfo import Addresses
from tests.service.doors.running import running
from traind.contract_comments import read_comments

VOID = {"meta", "link", "input", "br", "hr", "wbr"}
INLINE = {"a", "code", "span"}
MOST_BYTES = 400_000


class Document(HTMLParser):
    """A page by what the tests ask of it. Elements must be closed in the order in which they were opened."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open = [], {}, []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, (tag, self.getpos())
        if tag not in INLINE:
            self.handle_data(" ")

    def handle_data(self, data):
        for _, place in self.open:
            self.text[place] = self.text.get(place, "") + data

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]

    def text_of(self, anchor):
        """All text inside the element with an id."""
        place = next(n for n, (_, attrs) in enumerate(self.elements) if attrs.get("id") == anchor)
        return " ".join(self.text[place].split())


@pytest.fixture(scope="module")
def response(door):
    return door.rest("GET", "/docs")


@pytest.fixture(scope="module")
def page(response):
    return Document(response.text)


def test_it_is_a_page_of_a_reasonable_size_for_everybody(response):
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert 50_000 < len(response.content) <= MOST_BYTES


def test_every_method_stands_with_verb_path_grpc_name_and_scope(door, page):
    routes = Routes(methods_of(door.app).values()).all
    for route in routes:
        told = page.text_of(route.method.full_name.removeprefix("traind.v1."))
        assert f"gRPC {route.method.path} Scope {policy.TABLE[route.method.full_name]} " in told
        assert f" {route.verb} /v1/" in told
    assert "/v1/datasets/{id}/versions/{n}:preview" in page.text_of("DatasetService.PreviewDataset")
    assert {r.method.full_name for r in routes} == {f"traind.v1.{a}" for a in page.attributes("data-curl")}


def test_every_comment_of_the_contract_is_there(page):
    ids = set(page.attributes("id"))
    plain = " ".join(page.text[0].split())
    seen = 0
    for name, comment in read_comments().items():
        anchor = name.removeprefix("traind.v1.")
        # What nobody sends; what stands beside its method, without a message of its own; and the table of reasons.
        if anchor.endswith(("_UNSPECIFIED", "Request")) or anchor.startswith("ErrorReason."):
            continue
        words = " ".join(comment.replace("`", "").split())
        assert words in (page.text_of(anchor) if anchor in ids else plain), anchor
        # Files and oneofs have no place of their own.
        seen += anchor in ids
    assert seen > 300


def test_ids_are_unique_and_every_link_leads_to_one(page):
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    links = [link for link in page.attributes("href") if link.startswith("#")]
    assert len(links) > 200
    assert {link[1:] for link in links} <= set(ids)


@pytest.mark.parametrize(
    ("anchor", "says"),
    [
        ("Job.dataset", "dataset text required 1 to 200 characters"),
        ("Adam.lr", "greater than 0 and at most 1,000 finite default 0.001"),
        ("Mlp.hidden", "list of whole number, int32 at most 512 entries each 1 to 1,048,576"),
        ("Mlp.activation", "Network.Activation default RELU"),
        ("Mlp.dropout", "at least 0 and less than 1"),
        ("Gradient.epochs", "1 to 1,000,000 default 10"),
        ("Job.state", "set by the server"),
        ("TrainSpec.target", "required 1 to 64 entries no entry twice each 1 to 256 characters"),
        ("Given.weights", "map of text to Tensor required 1 to 1,024 entries"),
        ("CreateJobRequest.request_id", "query a UUID"),
        ("CreateJobRequest.job", "body required"),
        ("GetJobRequest.name", "path required"),
        ("CreateDatasetRequest.dataset_id", "lower-case letters, digits and hyphens, beginning with a letter"),
        ("Upload.sha256", "the 64 lower-case hexadecimal digits of a SHA-256, or left out"),
        ("Gradient.Path", "Left out: WRITTEN_OUT where it can be, else GENERAL."),
        ("Learn", "Exactly one of gradient, exact, perceptron_rule, given."),
        ("Schedule", "At most one of step,"),
    ],
)
def test_types_rules_and_defaults_stand_in_words(page, anchor, says):
    assert says in page.text_of(anchor)


def test_no_rule_is_told_raw(page):
    """A rule of protovalidate that has no words yet would stand as `name = value` in a mark."""
    marks = [page.text[n] for n, (_, attrs) in enumerate(page.elements) if "rule" in attrs.get("class", "").split()]
    assert len(marks) > 100
    assert not [mark for mark in marks if "=" in mark or "\n" in mark]


def test_the_table_of_reasons_says_what_the_server_answers(page):
    comments = read_comments()
    rows = [" ".join(text.split()) for text in cells(page)]
    for value in REASONS.values[1:]:
        code, status, said = split_reason(comments[f"traind.v1.ErrorReason.{value.name}"])
        assert int(status) == (BY_REASON.get(value.name) or BY_CODE[code]), value.name
        row = next(row for row in rows if row.startswith(f"{value.name} {code} "))
        assert row == f"{value.name} {code} {status} {said.replace('`', '')}"


def cells(page):
    return [page.text[n] for n, (tag, _) in enumerate(page.elements) if tag == "tr"]


def test_limits_are_those_of_this_server(tmp_path):
    with running(
        "sqlite",
        tmp_path,
        max_parameters=1234,
        max_upload_bytes=5_678_901,
        max_job_bytes=87_654_321,
        max_queued_jobs=4321,
    ) as doors:
        told = Document(doors.rest("GET", "/docs").text).text_of("limits")
    for figure in ("1,234 weights", "5,678,901 bytes", "4,194,304 bytes", "16,384 bytes", "2,000", "30 s", "300 s"):
        assert figure in told
    for row in ("87,654,321 bytes (TRAIND_MAX_JOB_BYTES)", "4,321 (TRAIND_MAX_QUEUED_JOBS)", "QUEUE_FULL"):
        assert row in told


def test_nothing_comes_from_elsewhere_and_nothing_could(response, page):
    for tag, attrs in page.elements:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            target = attrs.get(name, "#")
            assert target.startswith("#") or target in {"/openapi.json", "data:,"}, (tag, target)
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
    style, script = (page.text[n] for tag in ("style", "script") for n, (t, _) in enumerate(page.elements) if t == tag)
    assert not re.search(r"url\(|@import|https?:|//[a-z]", style)
    assert not re.search(r"https?:|innerHTML|eval\(|import\(", script)
    policy_of_page = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy_of_page == {
        "default-src": "'none'",
        "style-src": hash_of(style),
        "script-src": hash_of(script),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-content-type-options"] == "nosniff"


def hash_of(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_address_is_the_one_that_the_caller_used(door):
    page = door.rest("GET", "/docs", headers={"host": "lab.example:8080"}).text
    assert "curl -s http://lab.example:8080/v1/serverInfo" in page
    assert f"grpc://lab.example:{door.grpc_port}" in page
    page = door.rest("GET", "/docs", headers={"host": "[::1]:8080"}).text
    assert f"grpc://[::1]:{door.grpc_port}" in page


@pytest.mark.parametrize("host", ["a<script>", "a b", "x';--", "a:1:2", "a\u00e9", "-", "$(id)", "a" * 300])
def test_a_host_that_is_none_is_not_written_into_the_page(door, host):
    response = door.rest("GET", "/docs", headers={"host": host.encode("latin-1")})
    assert f"curl -s http://127.0.0.1:{door.http_port}/v1/serverInfo" in response.text
    assert f"//{host}" not in response.text


def test_with_tls_the_page_says_so(door):
    settings = dataclasses.replace(door.settings, tls_cert=pathlib.Path("c.pem"), tls_key=pathlib.Path("k.pem"))
    page = Page(Routes(methods_of(door.app).values()).all, settings, Addresses(8443, 8444)).render("lab:8443").decode()
    assert "curl -s https://lab:8443/v1/serverInfo" in page
    assert "grpcs://lab:8444" in page
    assert "grpcurl -H" in page
    assert "-plaintext" not in page


@pytest.mark.parametrize(
    ("host", "told"), [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]"), ("lab.example", "lab.example")]
)
def test_without_a_host_header_the_address_is_that_of_the_settings(door, host, told):
    page = Page((), dataclasses.replace(door.settings, host=host), Addresses(8080, 8081))
    address = page.address(None)
    assert (address.http, address.grpc) == (f"http://{told}:8080", f"grpc://{told}:8081")


def test_a_browser_that_has_it_gets_it_again_only_when_it_changed(door, response):
    etag = response.headers["etag"]
    assert response.headers["cache-control"] == "no-cache"
    again = door.rest("GET", "/docs", headers={"if-none-match": f'W/"x", {etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert "content-security-policy" in again.headers
    other = door.rest("GET", "/docs", headers={"if-none-match": etag, "host": "other:1"})
    assert other.status_code == 200
    assert other.headers["etag"] != etag


def test_head_and_other_verbs(door, response):
    head = door.rest("HEAD", "/docs")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(response.content))
    assert door.rest("POST", "/docs").status_code == 405


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
def test_the_bare_address_leads_to_it(door, verb):
    response = door.rest(verb, "/")
    assert (response.status_code, response.headers["location"]) == (302, "/docs")


def test_paths_beside_it_are_not_there(door):
    for path in ("/docs/", "/docs/x", "/doc", "/index.html"):
        assert door.rest("GET", path).json()["error"]["details"][0]["reason"] == "METHOD_NOT_FOUND"


def test_it_can_be_switched_off(tmp_path):
    with running("sqlite", tmp_path, docs=False) as doors:
        for path in ("/", "/docs", "/openapi.json"):
            assert doors.rest("GET", path).status_code == 404


@pytest.mark.alone
def test_it_is_made_once_and_quickly(door, response):
    began = time.perf_counter()
    for _ in range(20):
        assert len(door.rest("GET", "/docs").content) == len(response.content)
    assert (time.perf_counter() - began) / 20 < 0.1


def test_headings_descend_by_one(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_what_scrolls_is_reached_by_keyboard(page):
    for tag, attrs in page.elements:
        if tag == "pre" or attrs.get("class") == "wide":
            assert attrs["tabindex"] == "0"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(page, scheme):
    style = next(page.text[n] for n, (tag, _) in enumerate(page.elements) if tag == "style")
    light, dark = re.findall(r":root \{([^}]*)\}", style)
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]+)", light if scheme == "light" else dark))
    for front in ("text", "soft", "link", "mark", "good"):
        for back in ("ground", "raised"):
            assert contrast(colours[front], colours[back]) >= 4.5, (front, back)
    assert contrast(colours["focus"], colours["ground"]) >= 3
    assert contrast(colours["soft"], colours["ground"]) >= 3


def contrast(one, other):
    """WCAG 2.2, relative luminance."""
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a < b & `c > d`", "a &lt; b &amp; <code>c &gt; d</code>"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("`<script>` and `", "<code>&lt;script&gt;</code> and `"),
        ("one ` alone", "one ` alone"),
        ("see `Job.State` and `Other`", 'see <a href="#Job.State"><code>Job.State</code></a> and <code>Other</code>'),
        ("NOT_FOUND (x)", '<a href="#ErrorReason.NOT_FOUND">NOT_FOUND</a> (x)'),
        ("as CreateJob. Job", 'as <a href="#CreateJob">CreateJob</a>. Job'),
        ("한글 `값`", "한글 <code>값</code>"),
    ],
)
def test_comments_become_safe_html(text, made):
    assert Prose({"Job", "Job.State", "CreateJob", "ErrorReason.NOT_FOUND"}).line(text) == made


def test_paragraphs_and_code_are_escaped():
    assert Prose(()).paragraphs("a\n\n<b>\n\n") == "<p>a</p><p>&lt;b&gt;</p>"
    assert "<b>" not in code_block("<b>", '"<b>')
