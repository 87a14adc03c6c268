"""Every reason of the contract is explained in both languages, and what explains is not older than the contract."""

import json
import os
import pathlib
import re

import pytest

from traind import reasons
from traind.cli import run_command as run
from traind.errors import NotFound
from traind.languages import language_of
from traind.reason_pages import page

DOCS = pathlib.Path(__file__).resolve().parents[3] / "docs"
PLACES = {"en": "errors.md", "ko": "errors.ko.md"}


@pytest.mark.parametrize("language", reasons.LANGUAGES)
@pytest.mark.parametrize("kind", reasons.ENUMS)
def test_the_contract_and_the_texts_know_the_same_reasons(kind, language):
    names = [name for name, number in reasons.ENUMS[kind].items() if number]
    assert sorted(reasons.texts(kind, language)) == sorted(names)


@pytest.mark.parametrize("reason", reasons.every_reason(), ids=lambda reason: f"{reason.kind}-{reason.name}")
def test_every_text_is_whole_sentences_in_its_language(reason):
    english, korean = reason.told("en"), reason.told("ko")
    for text in (english.meaning, english.cause, english.cure, korean.meaning, korean.cause, korean.cure):
        assert len(text) >= 10
        assert re.search(r"[.}]$", text), text
    assert all(re.search("[가-힣]", text) for text in (korean.meaning, korean.cause, korean.cure))
    assert not re.search("[가-힣]", english.meaning + english.cause + english.cure)
    # What can be typed is the same in both.
    assert set(re.findall(r"`(traind [^`]+)`", english.cure)) <= set(re.findall(r"`(traind [^`]+)`", korean.cure))


def test_codes_are_those_of_the_contract():
    found = {reason.name: reason for reason in reasons.every_reason() if reason.kind == "error"}
    assert (found["DISK_FULL"].code, found["DISK_FULL"].http) == ("RESOURCE_EXHAUSTED", 507)
    assert found["INVALID_TABLE"].raised.__name__ == "InvalidSpec"
    assert all(reason.code and reason.http >= 400 and reason.raised for reason in found.values())


@pytest.mark.parametrize("language", reasons.LANGUAGES)
def test_the_page_is_fresh(language):
    written = (DOCS / PLACES[language]).read_text(encoding="utf-8")
    assert written == page(language), f"run: python -m traind.reason_pages {language} > docs/{PLACES[language]}"


@pytest.mark.parametrize("given", ["WORKER_LOST", "worker_lost", " Worker-Lost ", "worker lost"])
def test_a_name_is_found_however_it_is_written(given):
    assert [reason.kind for reason in reasons.find_reasons(given)] == ["failure"]


def test_one_name_may_be_of_two_kinds():
    assert [reason.kind for reason in reasons.find_reasons("DIVERGED")] == ["failure", "finding"]


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(NotFound) as unknown:
        reasons.find_reasons("DIVERGE")
    assert "DIVERGED" in unknown.value.fix
    with pytest.raises(NotFound, match="QQQ"):
        reasons.find_reasons("QQQ")


def test_the_command(monkeypatch, capsys):
    monkeypatch.setenv("TRAIND_URL", "grpc://127.0.0.1:1")
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    assert run(["explain", "token_rejected"]) == 0
    out, _ = capsys.readouterr()
    assert "gRPC UNAUTHENTICATED · HTTP 401 · exit 4 · traind.AuthRequired" in out
    assert "unknown, expired or revoked" in out
    assert run(["explain", "DIVERGED", "--lang", "ko"]) == 0
    out, _ = capsys.readouterr()
    assert "학습률" in out
    assert "종료 코드 3 · traind.JobFailed" in out
    assert run(["explain", "DIVERGED", "-o", "json"]) == 0
    failure, finding = json.loads(capsys.readouterr().out)
    assert (failure["kind"], failure["exit"], failure["python"]) == ("failure", 3, "traind.JobFailed")
    assert "exit" not in finding
    assert run(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(reasons.every_reason())
    assert run(["explain", "NONSENSE"]) == 5


def test_the_language_is_that_of_the_terminal():
    assert language_of({"LANG": "ko_KR.UTF-8"}) == "ko"
    assert language_of({"LANG": "ko_KR.UTF-8", "LC_ALL": "C"}) == "en"
    assert language_of({}) == "en"
    assert language_of(os.environ | {"LC_ALL": "ko"}) == "ko"
