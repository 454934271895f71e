"""Takes the pictures of docs/images: `make screenshots`."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from playwright.sync_api import expect

from edge_api.local import stack as local_stack
from edge_api.local.packages import PROJECT
from tests.page.browser import Visitor, launched, visiting

IMAGES = PROJECT / "docs" / "images"
LOOKS: tuple[tuple[str, str, Literal["light", "dark"], int], ...] = (
    ("ada", "light", "light", 1200),
    ("grace", "dark", "dark", 1200),
    ("lin", "narrow", "light", 360),
)


def main() -> None:
    with ExitStack() as running:
        state = Path(tempfile.mkdtemp(prefix="edge-api-screenshots-"))
        running.callback(local_stack.reset, state)
        stack = running.enter_context(local_stack.run(state, durable=False))
        browser = running.enter_context(launched())
        shutil.rmtree(IMAGES, ignore_errors=True)
        IMAGES.mkdir(parents=True)

        def take(visitor: Visitor, name: str) -> None:
            visitor.page.screenshot(path=IMAGES / f"{name}.png", full_page=True)

        for person, look, scheme, width in LOOKS:
            with visiting(browser, f"{stack.api_url}/", scheme=scheme, width=width) as visitor:
                visitor.come()
                expect(visitor.page.get_by_label("Password")).to_be_visible()
                take(visitor, f"signed-out-{look}")
                visitor.fill_in(f"{person}@example.com")
                expect(visitor.fresh).to_be_visible()
                take(visitor, f"account-{look}")
                visitor.rename("Paper trading ")
                expect(visitor.page.get_by_role("alert")).to_be_visible()
                take(visitor, f"refused-{look}")
                visitor.page.route("**/rpc/get_or_create_account", lambda route: route.abort())
                visitor.page.reload()
                expect(visitor.page.get_by_text("Supabase does not respond")).to_be_visible()
                take(visitor, f"failed-{look}")


if __name__ == "__main__":
    main()
