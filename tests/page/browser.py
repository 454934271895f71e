"""A real browser: Debian's chromium, driven by Playwright."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from edge_api.local.node import node
from edge_api.local.packages import PROJECT
from tests.chromium import chromium

_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # it would look for updates and the like, at hosts far away
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A browser says so by itself of each response that is an error, and of each that does not come.
_FAILED_REQUEST = "Failed to load resource"
_AXE = PROJECT / "node_modules" / "axe-core" / "axe.min.js"
PASSWORD = "correct horse battery"


@contextmanager
def launched() -> Iterator[Browser]:
    # Playwright's own wants a library that a bare machine lacks (libatomic)
    os.environ["PLAYWRIGHT_NODEJS_PATH"] = str(node())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=_FLAGS, timeout=30_000)
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """Somebody with a browser window of their own, and what they do on the page."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.console: list[str] = []
        self.hosts: set[str | None] = set()
        page.set_default_timeout(15_000)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))

    def _on_console(self, message: ConsoleMessage) -> None:
        self.console.append(message.text)

    def complaints(self) -> list[str]:
        """What the console holds besides the browser's own lines on failed requests."""
        return [text for text in self.console if not text.startswith(_FAILED_REQUEST)]

    def come(self) -> None:
        self.page.goto(self.url)

    def fill_in(self, email: str, *, password: str = PASSWORD, way: str = "Sign up") -> None:
        self.page.get_by_role("radio", name=way).check(force=True)
        self.page.get_by_label("E-mail address").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name=way, exact=True).click()

    def sign_up(self, email: str) -> None:
        self.come()
        self.fill_in(email)
        expect(self.fresh).to_be_visible()

    def rename(self, name: str) -> None:
        self.name.fill(name)
        self.page.locator("#rename button").click()

    def clipboard(self) -> str:
        return str(self.page.evaluate("() => navigator.clipboard.readText()"))

    @property
    def title(self) -> Locator:
        return self.page.locator("#user-title")

    @property
    def fresh(self) -> Locator:
        return self.page.locator("#fresh")

    @property
    def name(self) -> Locator:
        return self.page.get_by_role("textbox", name="Name")


@contextmanager
def visiting(
    browser: Browser, url: str, *, scheme: Literal["light", "dark"] = "light", width: int = 1200, height: int = 800
) -> Iterator[Visitor]:
    """A visitor of the page, who has never been there; in the end all requests must have stayed on this machine."""
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, reduced_motion="reduce", locale="en-GB"
    )
    try:
        visitor = Visitor(context.new_page(), url)
        yield visitor
        assert visitor.complaints() == []
        assert visitor.hosts == {"127.0.0.1"}
    finally:
        context.close()


def violations(page: Page) -> list[str]:
    """What axe has to say against what the page shows now."""
    if not page.evaluate("() => 'axe' in window"):  # 0.5 MB: not for each page that is opened
        page.evaluate(_AXE.read_text())
    found = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
    assert found["passes"]
    return [f"{each['id']}: {node['html']}" for each in found["violations"] for node in each["nodes"]]
