"""A headless Chromium (Debian's package) with an empty profile, and pages that write down all that goes wrong."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Opened:
    """A page in the browser, with what it asked for and what it complained of."""

    page: object
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def check(self) -> None:
        """No request but for the file itself and what lies in it; no error, no warning."""
        left = [url for url in self.requests[1:] if not url.startswith(("data:", "blob:"))]
        assert not left and not self.complaints, (left, self.complaints)


@pytest.fixture(scope="session")
def context(tmp_path_factory) -> Iterator:
    from playwright.sync_api import sync_playwright

    profile = tmp_path_factory.mktemp("profile")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=CHROMIUM,
            headless=True,
            args=list(FLAGS),
            accept_downloads=True,
            viewport={"width": 1200, "height": 900},
        )
        yield context
        context.close()


@pytest.fixture
def visit(context) -> Iterator:
    """Opens a file; every page is checked when its test ends."""
    opened: list[Opened] = []

    def visit(path: Path) -> Opened:
        found = Opened(context.new_page())
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("dialog", lambda dialog: (found.complaints.append(dialog.message), dialog.dismiss()))
        found.page.goto(path.as_uri())
        opened.append(found)
        return found

    yield visit
    for found in opened:
        found.check()
        found.page.close()
