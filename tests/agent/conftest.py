"""The agent, built once for all tests here."""

from __future__ import annotations

import pytest

from tests.agent.compiler import build_agent


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_agent(tmp_path_factory.mktemp("agent") / "agent"))
