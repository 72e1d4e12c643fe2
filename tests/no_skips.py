"""The option ``--no-skips``, which fails a run that skipped something."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--no-skips``, for machines on which every test can run."""
    parser.addoption("--no-skips", action="store_true", help="fail if any test was skipped")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a passed run into a failed one where something was skipped and must not be."""
    if unwanted_skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name what was skipped and must not be."""
    if skips := unwanted_skips(config):
        terminalreporter.section("skipped, which --no-skips forbids", red=True, bold=True)
        for nodeid in skips:
            terminalreporter.line(nodeid)


def unwanted_skips(config: pytest.Config) -> list[str]:
    """The tests and files that were skipped, where ``--no-skips`` was given."""
    if not config.getoption("--no-skips"):
        return []
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [report.nodeid for report in reporter.stats.get("skipped", [])] if reporter else []
