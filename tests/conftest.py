"""The end of a run tells how many of the reference vectors it checked."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from tests.support import golden_data

# The original's fake quantization is a mode of its own here, with its own placement.
COMPAT_TOPICS = ("09_qat",)


@dataclass
class Seen:
    """What a run made of one topic: the ids of cases by mode and outcome, and the number of tests."""

    default: set[str] = field(default_factory=set)
    compat: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    tests: int = 0


SEEN = pytest.StashKey[dict[str, Seen]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SEEN] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or report.failed:
        for mark in item.iter_markers("golden"):
            topic, case = mark.args
            seen = item.config.stash[SEEN].setdefault(topic, Seen())
            seen.tests += 1
            if report.failed:
                seen.failed.add(case)
            elif report.passed:
                (seen.compat if mark.kwargs["compat"] or topic in COMPAT_TOPICS else seen.default).add(case)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    seen = terminalreporter.config.stash[SEEN]
    if not seen:
        return
    terminalreporter.section(f"reference vectors of {golden_data.ROOT}")
    total = known = tests = 0
    for topic, found in sorted(seen.items()):
        passed = (found.default | found.compat) - found.failed
        count = len(golden_data.cases(topic))
        failed = f", {len(found.failed)} FAILED" if found.failed else ""
        terminalreporter.write_line(
            f"{topic}: {len(passed)} of {count} cases pass{failed} "
            f"({len(found.default)} by default, {len(found.compat)} as in the original), {found.tests} tests"
        )
        total, known, tests = total + len(passed), known + count, tests + found.tests
    terminalreporter.write_line(f"all: {total} of {known} cases pass, {tests} tests")
