"""/metrics: what was called is counted exactly, at both doors; nothing of a caller's becomes a label."""

import contextlib
import threading
import time

import grpc
import pytest

from service import policy
from service.store import tables
from service.store.database import Database
from tests import servers
from tests.service.doors import seeds
from tests.service.doors.running import Refusal, running
from tests.waiting import wait_until
from traind.v1 import jobs_pb2, server_pb2

NOWHERE = "jobs/00000000-0000-4000-8000-000000000000"
INFO, GET, WATCH = (
    f"traind.v1.{name}" for name in ("ServerService.GetServerInfo", "JobService.GetJob", "JobService.WatchJob")
)
HOSTILE = '"}\n# TYPE evil counter\nevil{x="\\'


@pytest.fixture(scope="module")
def parse():
    """The samples of a page by name and labels, as Prometheus' own parser reads them."""
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError as error:
        servers.missing(error)

    def read(page):
        samples = {}
        for family in text_string_to_metric_families(page):
            assert family.documentation
            for sample in family.samples:
                key = (sample.name, *sorted(sample.labels.items()))
                assert key not in samples, "told twice"
                samples[key] = sample.value
        return samples

    return read


def scrape(doors, **more):
    response = doors.rest("GET", "/metrics", doors.token("scraper", ["metrics"]), **more)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return response.text


def risen(before, after):
    """What of the calls rose, by door, method and code."""
    rise = {}
    for key, value in after.items():
        if key[0] == "traind_calls_total" and value != before.get(key, 0):
            labels = dict(key[1:])
            rise[labels["door"], labels["method"], labels["code"]] = value - before.get(key, 0)
    return rise


def test_what_was_called_is_counted_and_nothing_else(doors, parse):
    kim, info = doors.token("kim"), server_pb2.GetServerInfoRequest()
    before = parse(scrape(doors))
    for _ in range(3):
        doors.rpc("ServerService.GetServerInfo", info, kim)
    for _ in range(2):
        assert doors.rest("GET", "/v1/serverInfo", kim).status_code == 200
    doors.rpc("ServerService.GetServerInfo", info)
    doors.rest("GET", "/v1/serverInfo")
    assert isinstance(doors.rpc("JobService.GetJob", jobs_pb2.GetJobRequest(name=NOWHERE), kim), Refusal)
    doors.rest("GET", f"/v1/{NOWHERE}", kim)
    doors.rpc("JobService.GetJob", jobs_pb2.GetJobRequest(name=NOWHERE), doors.token("kim", ["predict"]))
    doors.rest("GET", "/v1/jobs?pageSize=-1", kim)
    for path in ("/healthz", "/readyz", "/openapi.json", "/metrics"):
        doors.rest("GET", path)
    after = parse(scrape(doors))
    assert risen(before, after) == {
        ("grpc", INFO, "OK"): 3,
        ("rest", INFO, "OK"): 2,
        ("grpc", INFO, "UNAUTHENTICATED"): 1,
        ("rest", INFO, "UNAUTHENTICATED"): 1,
        ("grpc", GET, "NOT_FOUND"): 1,
        ("rest", GET, "NOT_FOUND"): 1,
        ("grpc", GET, "PERMISSION_DENIED"): 1,
        ("rest", "traind.v1.JobService.ListJobs", "INVALID_ARGUMENT"): 1,
    }
    count = ("traind_call_seconds_count", ("method", INFO))
    assert after[count] - before.get(count, 0) == 7
    buckets = [
        value for key, value in after.items() if key[0] == "traind_call_seconds_bucket" and ("method", INFO) in key
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == after[count]


def test_streams_are_counted_while_they_run_and_at_their_end(doors, parse):
    kim = doors.token("kim")
    job = new_job(doors)
    before = parse(scrape(doors))
    request, metadata = jobs_pb2.WatchJobRequest(name=job), [("authorization", f"Bearer {kim}")]
    assert (
        len(doors.rpc_stream("JobService.WatchJob", jobs_pb2.WatchJobRequest(name=job, stored_only=True), metadata))
        == 1
    )
    running_ = ("traind_calls_in_flight", ("door", "grpc"), ("method", WATCH))
    stream = doors.method("JobService.WatchJob")(request, metadata=metadata)
    next(stream)
    assert parse(scrape(doors))[running_] == 1
    stream.cancel()
    wait_until(lambda: parse(scrape(doors))[running_] == 0, "the stream has left", 60)
    with doors.http.stream("GET", f"/v1/{job}:watch", headers={"authorization": f"Bearer {kim}"}) as response:
        # Kept, for the end of the iterator ends the stream.
        coming = response.iter_lines()
        next(coming)
        wait_until(
            lambda: parse(scrape(doors)).get(("traind_calls_in_flight", ("door", "rest"), ("method", WATCH))) == 1,
            "it runs",
            60,
        )
    assert isinstance(
        doors.rpc_stream("JobService.WatchJob", jobs_pb2.WatchJobRequest(name=NOWHERE), metadata), Refusal
    )
    assert doors.rest("GET", f"/v1/{NOWHERE}:watch", kim).status_code == 404
    wanted = {
        ("grpc", WATCH, "OK"): 1,
        ("grpc", WATCH, "CANCELLED"): 1,
        ("rest", WATCH, "CANCELLED"): 1,
        ("grpc", WATCH, "NOT_FOUND"): 1,
        ("rest", WATCH, "NOT_FOUND"): 1,
    }
    wait_until(lambda: risen(before, parse(scrape(doors))) == wanted, f"all are counted: {wanted}", 60)


def test_nothing_that_a_caller_or_a_user_wrote_is_a_label(doors, parse):
    kim = doors.token("kim")
    before = parse(scrape(doors))
    doors.rest("GET", "/v1/evil%22%7D%0Aevil", kim)
    doors.rest("PATCH", "/v1/jobs?evil=evil", kim)
    for path in ("/traind.v1.JobService/Evil", '/evil"}/{x="1"', "/grpc.health.v1.Evil/Check"):
        with pytest.raises(grpc.RpcError):
            doors.channel.unary_unary(path)(b"", metadata=[("x-request-id", "evil")])
    doors.rest("GET", "/v1/serverInfo", kim, {"x-request-id": "evil", "user-agent": "evil"})
    new_job(doors, "evil", "evil")
    doors.rest("GET", "/v1/models/evil", kim)
    doors.token("evil-user")
    page = scrape(doors)
    after = parse(page)
    assert risen(before, after)["rest", "none", "UNIMPLEMENTED"] == 2
    assert risen(before, after)["grpc", "none", "UNIMPLEMENTED"] == 3
    for word in ("evil", "Evil", "PATCH", "kim", "scraper", "table"):
        assert word not in page
    # Every word that a label has is one of ours.
    methods = {value for key in after for name, value in key[1:] if name == "method"}
    assert methods <= {*policy.TABLE, *policy.PUBLIC_METHODS, "grpc.health.v1.Health.Check", "none"}
    assert {name for key in after for name, _ in key[1:]} <= {
        "door", "method", "code", "le", "state", "reason", "kind", "version", "python", "database",
    }  # fmt: skip


def test_hostile_labels_would_be_escaped(parse):
    from service.observing import exposition

    family = exposition.by_label("counter", "traind_x_total", "About.", "label", {HOSTILE: 3})
    assert parse(exposition.encode([family]).decode()) == {("traind_x_total", ("label", HOSTILE)): 3}


def test_sql_s_figures_are_those_of_the_tables(doors, parse):
    start = dict.fromkeys(tables.STATES, 0)

    def jobs():
        return {dict(key[1:])["state"]: n for key, n in parse(scrape(doors)).items() if key[0] == "traind_jobs"}

    wait_until(lambda: set(jobs()) == set(start), "they are told", 60)
    time.sleep(5.5)  # until the next look
    before = jobs()
    new_job(doors)
    wait_until(lambda: jobs() == before | {"QUEUED": before["QUEUED"] + 1}, "the job is seen", 60, every=0.5)
    told = parse(scrape(doors))
    assert told["traind_database_up",] == 1
    assert told["traind_queue_waiting",] == before["QUEUED"] + 1
    assert told["traind_queue_oldest_seconds",] > 5
    for name in ("traind_workers", "traind_slots", "traind_slots_busy", "traind_refused_writes_total"):
        assert told[name,] == 0
    assert told["process_resident_memory_bytes",] > 30e6
    assert abs(time.time() - told["process_start_time_seconds",]) < 3600


def test_the_cache_of_models_is_told(door, parse):
    cache = door.app.models
    before = parse(scrape(door))
    cache._keep("a", object(), 1000)
    cache._keep("b", object(), cache._limit)
    after = parse(scrape(door))
    assert after["traind_model_cache_entries",] == before["traind_model_cache_entries",] + 1
    assert after["traind_model_cache_bytes",] == cache.used_bytes == cache._limit
    assert after["traind_model_cache_evictions_total",] == 1


def test_a_database_that_is_away_takes_only_its_own_figures_along(tmp_path, parse, monkeypatch):
    from service import figures

    monkeypatch.setattr(figures, "FRESH_S", 0.0)
    with running("sqlite", tmp_path) as doors:
        assert parse(scrape(doors))["traind_database_up",] == 1

        @contextlib.contextmanager
        def away(self):
            raise figures_error()
            yield

        def figures_error():
            from service.errors import DatabaseUnavailable

            return DatabaseUnavailable("gone")

        token = doors.token("scraper", ["metrics"])
        doors.rest("GET", "/metrics", token)
        monkeypatch.setattr(Database, "read", away)
        wait_until(
            lambda: "traind_database_up 0" in doors.rest("GET", "/metrics", token).text, "it is seen", 60, every=0.05
        )
        told = parse(doors.rest("GET", "/metrics", token).text)
        assert ("traind_queue_waiting",) not in told
        assert ("traind_build_info",) in {key[:1] for key in told}


def test_who_may_read_them(doors):
    for token, status in {
        None: 401,
        "trd_aaaaaaaa_" + "A" * 43: 401,
        doors.token("kim", ["read", "submit", "predict"]): 403,
        doors.token("kim", ["metrics"]): 200,
        doors.token("kim", ["admin"]): 200,
    }.items():
        response = doors.rest("GET", "/metrics", token)
        assert response.status_code == status, token
        assert ("traind_" in response.text) == (status == 200)
    assert doors.rest("POST", "/metrics", doors.token("kim", ["metrics"])).status_code == 405
    token = doors.token("kim", ["metrics"])
    assert doors.rest("GET", f"/metrics?token={token}", token).status_code == 401
    # And the scope opens nothing else.
    assert doors.rest("GET", "/v1/serverInfo", token).status_code == 403
    head = doors.rest("HEAD", "/metrics", token)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8080"}, 200),
        ({"host": "[::1]:8080"}, 200),
        ({"host": "evil.example:8080"}, 401),
        ({"x-forwarded-for": "203.0.113.9"}, 401),
        ({"forwarded": "for=203.0.113.9"}, 401),
        ({"via": "1.1 proxy"}, 401),
    ],
)
def test_this_machine_needs_no_token_where_the_setting_says_so(loopback, headers, status):
    assert loopback.rest("GET", "/metrics", headers=headers).status_code == status
    token = loopback.token("scraper", ["metrics"])
    assert loopback.rest("GET", "/metrics", token, headers).status_code == 200


@pytest.fixture(scope="module")
def loopback(tmp_path_factory):
    with running("sqlite", tmp_path_factory.mktemp("loopback"), metrics="loopback") as doors:
        yield doors


def test_off_is_no_path(tmp_path):
    with running("sqlite", tmp_path, metrics="off") as doors:
        assert doors.rest("GET", "/metrics", doors.token("kim")).status_code == 404


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_scrape_is_quick_beside_500_watches(doors):
    kim = doors.token("kim")
    job = new_job(doors)
    watch = doors.method("JobService.WatchJob")
    streams = [
        watch(jobs_pb2.WatchJobRequest(name=job), metadata=[("authorization", f"Bearer {kim}")]) for _ in range(500)
    ]
    try:
        for stream in streams:
            next(stream)
        assert f'traind_calls_in_flight{{door="grpc",method="{WATCH}"}} 500' in scrape(doors)
        took = []
        for _ in range(20):
            began = time.perf_counter()
            scrape(doors)
            took.append(time.perf_counter() - began)
            time.sleep(0.3)
        assert sorted(took)[len(took) // 2] < 0.05, took
    finally:
        for stream in streams:
            stream.cancel()


def test_counts_of_many_threads_are_exact():
    from service.observing.counts import CallCounts

    counts = CallCounts()
    counts.declare("fast", ["a.B.C"])

    def work():
        for _ in range(5000):
            counts.count("fast", "a.B.C", "OK", 0.001)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.count("fast", HOSTILE, HOSTILE, 1e9)
    codes, buckets, seconds, now = counts.line("fast", "a.B.C").read()
    assert (codes["OK"], buckets[1], sum(buckets), now) == (40_000, 40_000, 40_000, 0)
    assert seconds == pytest.approx(40.0)
    codes, buckets, _, _ = counts.line("fast", "none").read()
    assert (codes["UNKNOWN"], buckets[-1]) == (1, 1)


def new_job(doors, slug="table", display_name=""):
    """The name of a queued job of kim's, which nobody learns."""
    doors.token("kim")
    dataset = seeds.add_dataset(doors.app.database, "kim", slug)
    return f"jobs/{seeds.add_job(doors.app.database, dataset, display_name=display_name).id}"
