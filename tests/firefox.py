"""Debian's Firefox, for tests of the tracker that should hold in more than one browser (make firefox)."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.conftest import absent


@contextmanager
def running_firefox() -> Iterator[Browser]:
    """Yield a Firefox as it is shipped, by WebDriver BiDi; what that cannot do, no test of it may ask for."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if not program:
        absent("no firefox (Debian: apt-get install firefox-esr)")
    with sync_playwright() as playwright:
        browser = playwright.firefox.launch(executable_path=program, channel="moz-firefox")
        yield browser
        browser.close()
