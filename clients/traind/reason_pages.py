"""The pages docs/errors.md and docs/errors.ko.md, written from the reasons.

python -m traind.reason_pages en > docs/errors.md
python -m traind.reason_pages ko > docs/errors.ko.md
"""

from __future__ import annotations

import sys

from traind.reasons import LANGUAGES, Reason, every_reason

KINDS = {
    "en": {"error": "refused call", "failure": "failed job", "finding": "finding"},
    "ko": {"error": "거절된 호출", "failure": "실패한 작업", "finding": "알림"},
}
LABELS = {
    "en": {"meaning": "means", "cause": "cause", "cure": "cure ", "exit": "exit", "columns": "REASON KIND MEANING"},
    "ko": {"meaning": "뜻  ", "cause": "원인", "cure": "해결", "exit": "종료 코드", "columns": "이유 종류 뜻"},
}
_HEADS = {
    "en": (
        "# Errors, failures and findings",
        (
            "What traind says, by the reason that programs decide by. `traind explain REASON` tells the same without a "
            "network. Written by `python -m traind.reason_pages en`; in Korean: [errors.ko.md](errors.ko.md)."
        ),
    ),
    "ko": (
        "# 오류, 실패, 알림",
        (
            "traind가 알려 주는 이유와 그 뜻입니다. `traind explain REASON`은 네트워크 없이 같은 것을 보여 줍니다. "
            "`python -m traind.reason_pages ko`로 만들었습니다. 영어: [errors.md](errors.md)."
        ),
    ),
}
_SECTIONS = {
    "en": {
        "error": "## Refused calls\n\n`reason` of the error's `google.rpc.ErrorInfo`, over gRPC and REST.",
        "failure": "## Failed jobs\n\n`failure.reason` of a job that FAILED.",
        "finding": "## Findings\n\n`code` of what a person should know about a job or a data set; nothing failed.",
    },
    "ko": {
        "error": "## 거절된 호출\n\ngRPC와 REST 오류의 `google.rpc.ErrorInfo`에 있는 `reason`입니다.",
        "failure": "## 실패한 작업\n\nFAILED로 끝난 작업의 `failure.reason`입니다.",
        "finding": "## 알림\n\n작업이나 데이터 세트에 대해 알아 둘 것의 `code`입니다. 실패한 것은 아닙니다.",
    },
}


def page(language: str) -> str:
    """The whole page as Markdown."""
    parts = list(_HEADS[language])
    for kind, head in _SECTIONS[language].items():
        parts.append(head)
        parts += [_entry(reason, language) for reason in every_reason() if reason.kind == kind]
    return "\n\n".join(parts) + "\n"


def _entry(reason: Reason, language: str) -> str:
    told, labels = reason.told(language), LABELS[language]
    codes = f"\n\n`{reason.code}`, HTTP {reason.http}" if reason.code else ""
    if reason.raised is not None:
        codes += f"{', ' if codes else chr(10) * 2}`traind.{reason.raised.__name__}`"
    return (
        f"### {reason.name}{codes}\n\n{told.meaning}\n\n"
        f"- **{labels['cause'].strip()}**: {told.cause}\n- **{labels['cure'].strip()}**: {told.cure}"
    )


if __name__ == "__main__":
    if sys.argv[1:] not in [[language] for language in LANGUAGES]:
        sys.exit(f"usage: python -m traind.reason_pages {'|'.join(LANGUAGES)}")
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(page(sys.argv[1]))
