"""The table of what tests need: a missing thing is told once, in the right way."""

from __future__ import annotations

import pytest

from tests.tools import needs

GONE = needs.Package("gone", ("no-such-command-here", "/no/such/*/path"), ("gone",), (), ("unit",))


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(needs._BY_NAME, "gone", GONE)
    return "gone"


def test_a_missing_package_is_a_skip_at_home(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="gone"):
        needs.require_package(gone)


def test_a_missing_package_is_a_failure_under_ci(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="gone"):
        needs.require_package(gone)


def test_a_missing_kernel_feature_is_a_failure_under_ci_unless_the_list_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setitem(needs._KERNEL, "netem", lambda: False)
    monkeypatch.setitem(needs._KERNEL, "teleport", lambda: False)
    with pytest.raises(pytest.skip.Exception):
        needs.require_kernel("netem")
    with pytest.raises(pytest.fail.Exception):
        needs.require_kernel("teleport")


def test_every_excused_feature_can_be_asked_for() -> None:
    assert set(needs.excused_kernel_features()) <= set(needs._KERNEL)


def test_every_package_can_be_installed_somewhere() -> None:
    assert all(package.debian for package in needs.PACKAGES)
