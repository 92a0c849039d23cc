"""Chromium and its driver for the tests: Debian's packages. With FOOTHOLD_TEST_INSTALL, which `./foothold
test --install` sets, they are installed if they are absent.

Where they cannot be installed, the tests that need them are skipped with the reason.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

PACKAGES = ("chromium", "chromium-driver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1280,900",
)  # fmt: skip
SECONDS = 120  # for a page to load; the machine may be busy


def missing() -> str:
    """Say why there is no Chromium; empty if there is one. It may be installed first."""
    if _is_here():
        return ""
    may_install = "FOOTHOLD_TEST_INSTALL" in os.environ and os.geteuid() == 0
    if not may_install or not shutil.which("apt-get"):
        return "no chromium and chromedriver; as root: ./foothold test --install"
    sys.stderr.write(f"tests.browser: installing {' '.join(PACKAGES)}\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
    for argv in (["apt-get", "update", "-qq"], install):
        subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, check=False)
    return "" if _is_here() else f"{' '.join(PACKAGES)} could not be installed"


def _is_here() -> bool:
    return all(shutil.which(each) for each in ("chromium", "chromedriver"))


@contextlib.contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser that has no past, and tells its console and every request that it makes."""
    with tempfile.TemporaryDirectory(prefix="foothold-chromium-") as profile:
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            driver.set_page_load_timeout(SECONDS)
            yield driver
        finally:
            driver.quit()
