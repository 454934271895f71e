"""The page of `make dev`, in a real browser."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect
from playwright.sync_api import Error as PlaywrightError

from edge_api.local import gateway as supabase_gateway
from edge_api.local import stack as local_stack
from edge_api.local.postgres import PostgresVersion
from edge_api.local.stack import MIGRATOR, Stack
from edge_api.local.types import DATABASE_TYPES
from tests.edge.serving import serving
from tests.local.test_gateway import SYSTEM_PATHS
from tests.page.browser import PASSWORD, Visitor, launched, violations, visiting
from tests.support import ACCOUNTS, User

NARROW = 360
MARKUP = """<img src=x onerror="document.title='broken'"><b>&amp;"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, stack: Stack) -> Iterator[Callable[..., Visitor]]:
    with ExitStack() as visits:
        yield lambda **options: visits.enter_context(visiting(browser, f"{stack.api_url}/", **options))


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    return visit()


def address() -> str:
    return f"ada-{uuid4()}@example.com"


def test_a_new_user_sees_the_account_made_and_what_made_it(visitor: Visitor) -> None:
    email = address()
    visitor.come()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("One account per user, created on first need")
    visitor.fill_in(email)

    expect(visitor.title).to_have_text("Default Alpaca Account")
    expect(visitor.title).to_be_focused()
    expect(visitor.fresh).to_be_visible()
    expect(visitor.page.get_by_role("status")).to_have_text("Your account was created just now.")
    expect(visitor.page.get_by_text(email)).to_be_visible()
    straight, through_the_api = (visitor.page.locator(f"[data-way={way}]") for way in ("supabase", "api"))
    expect(straight).to_contain_text('await supabase.rpc("get_or_create_account").single()')
    expect(straight).to_contain_text("POST /rest/v1/rpc/get_or_create_account")
    expect(straight).to_contain_text('"created": true')
    expect(through_the_api).to_contain_text('await fetch("/api/accounts/get-or-create"')
    expect(through_the_api).to_contain_text("POST /api/accounts/get-or-create")
    expect(through_the_api).to_contain_text('"created": false')
    assert visitor.console == []


def test_what_is_shown_of_a_token_is_no_token(visitor: Visitor) -> None:
    visitor.sign_up(address())
    shown = visitor.page.locator("#ways").inner_text()
    assert shown.count("Bearer eyJ") == 2
    assert all(len(word) <= len("eyJhbG…abcd") for word in shown.split() if word.startswith("eyJ"))


def test_a_reload_keeps_the_session_and_signing_out_ends_it(visitor: Visitor) -> None:
    email = address()
    visitor.sign_up(email)
    visitor.page.reload()
    expect(visitor.title).to_have_text("Default Alpaca Account")
    expect(visitor.fresh).to_be_hidden()

    visitor.page.get_by_role("button", name="Sign out").click()
    expect(visitor.page.locator("#signed-out-title")).to_be_focused()
    visitor.page.reload()
    expect(visitor.page.get_by_label("Password")).to_be_visible()
    visitor.fill_in(email, way="Sign in")
    expect(visitor.title).to_have_text("Default Alpaca Account")
    expect(visitor.fresh).to_be_hidden()
    assert visitor.console == []


def test_a_wrong_password_and_a_taken_address_are_told_in_supabases_words(visitor: Visitor) -> None:
    email = address()
    visitor.sign_up(email)
    visitor.page.get_by_role("button", name="Sign out").click()
    visitor.fill_in(email, way="Sign in", password="not this one")
    expect(visitor.page.get_by_role("alert")).to_have_text("Invalid login credentials")
    visitor.fill_in(email, way="Sign up")
    expect(visitor.page.get_by_role("alert")).to_have_text("User already registered")


def test_what_cannot_be_an_address_or_a_password_is_not_sent(visitor: Visitor) -> None:
    visitor.come()
    visitor.fill_in("ada")
    expect(visitor.page.get_by_role("alert")).to_have_text("An address such as ada@example.com.")
    expect(visitor.page.get_by_label("E-mail address")).to_be_focused()
    visitor.fill_in(address(), password="short")
    expect(visitor.page.get_by_role("alert")).to_have_text("A password of 6 characters or more.")
    expect(visitor.page.get_by_label("Password")).to_be_focused()
    assert visitor.console == []


def test_a_rename_is_shown_and_kept(visitor: Visitor) -> None:
    visitor.sign_up(address())
    visitor.rename("Paper trading")
    expect(visitor.title).to_have_text("Paper trading")
    expect(visitor.page.get_by_role("status")).to_have_text("Saved: Paper trading.")
    expect(visitor.page.locator("[data-way=supabase]")).to_contain_text("POST /rest/v1/rpc/rename_account")
    expect(visitor.page.locator("[data-way=api]")).to_contain_text("PATCH /api/accounts/")
    visitor.page.reload()
    expect(visitor.title).to_have_text("Paper trading")
    assert visitor.console == []


WRONG_NAMES = (
    ("", "A name has at least one character.", "String should have at least 1 character"),
    ("x" * 256, "1 characters too many: 255 at most.", "String should have at most 255 characters"),
    ("x ", "No spaces at the start or the end.", "white space"),
    ("\u3000x", "No spaces at the start or the end.", "white space"),
    ("x\u0007y", "No control characters, such as tabs and line breaks.", "control characters"),
)


def test_a_wrong_name_is_told_at_once_and_refused_by_the_server(visitor: Visitor) -> None:
    visitor.sign_up(address())
    status = visitor.page.locator("[data-way=api] .status")
    for name, hint, error in WRONG_NAMES:
        visitor.page.get_by_role("button", name="List").click()
        expect(status).to_have_text("200")  # so that the 422 is this name's
        visitor.name.fill(name)
        expect(visitor.page.locator("#name-hint")).to_have_text(hint)
        expect(visitor.name).to_have_attribute("aria-invalid", "true")
        visitor.page.get_by_role("button", name="Send it all the same").click()
        expect(visitor.page.get_by_role("alert")).to_contain_text(error)
        expect(visitor.name).to_be_focused()
        expect(status).to_have_text("422")
        expect(visitor.title).to_have_text("Default Alpaca Account")
        visitor.name.fill("x")
        expect(visitor.page.locator("#name-hint")).to_have_text("1 of 255 characters")
        expect(visitor.page.get_by_role("alert")).to_have_count(0)


def test_the_buttons_make_each_call_both_ways(visitor: Visitor) -> None:
    visitor.sign_up(address())
    statuses = visitor.page.locator(".call .status")
    visitor.page.get_by_role("button", name="List").click()
    expect(visitor.page.locator("[data-way=supabase]")).to_contain_text("GET /rest/v1/user_accounts?select=*")
    expect(visitor.page.locator("[data-way=api]")).to_contain_text('"count": 1')
    expect(statuses).to_have_text(["200", "200"])
    assert visitor.console == []
    visitor.page.get_by_role("button", name="Create a second one").click()
    expect(statuses).to_have_text(["409", "409"])
    expect(visitor.page.locator("[data-way=supabase]")).to_contain_text('"code": "23505"')
    expect(visitor.page.locator("[data-way=api]")).to_contain_text('"code": "account_exists"')
    visitor.page.get_by_role("button", name="Get or create").click()
    expect(statuses).to_have_text(["200", "200"])


def test_another_users_account_is_404(visitor: Visitor) -> None:
    visitor.sign_up(address())
    own = visitor.page.locator('[data-fact="id"]').inner_text()
    for _ in range(2):
        visitor.page.get_by_role("button", name="Get another user's").click()
        expect(visitor.page.locator("[data-way=api] .status")).to_have_text("404")
        expect(visitor.page.locator("[data-way=api]")).to_contain_text('"code": "account_not_found"')
        expect(visitor.page.locator("[data-way=supabase] .status")).to_have_text("200")
        expect(visitor.page.locator('[data-way=supabase] [data-part="response"]')).to_have_text("[]")
        expect(visitor.page.locator("[data-way=api]")).not_to_contain_text(own)
    visitor.page.reload()  # the other user's session was not kept, and this one was
    expect(visitor.page.locator('[data-fact="id"]')).to_have_text(own)
    assert visitor.complaints() == []


def test_without_another_user_the_page_says_why(visitor: Visitor) -> None:
    visitor.sign_up(address())
    visitor.page.route("**/auth/v1/signup", lambda route: route.abort())
    visitor.page.get_by_role("button", name="Get another user's").click()
    expect(visitor.page.get_by_role("alert")).to_have_text("Supabase does not respond. Does make dev still run?")
    visitor.page.unroute("**/auth/v1/signup")
    visitor.page.get_by_role("button", name="Get another user's").click()
    expect(visitor.page.locator("[data-way=api] .status")).to_have_text("404")
    expect(visitor.page.get_by_role("alert")).to_have_count(0)


def test_one_click_creates_a_throw_away_user(visitor: Visitor) -> None:
    visitor.come()
    visitor.page.route("**/auth/v1/signup", lambda route: route.abort())
    visitor.page.get_by_role("button", name="Or create a throw-away user").click()
    expect(visitor.page.get_by_role("alert")).to_have_text("Supabase does not respond. Does make dev still run?")
    visitor.page.unroute("**/auth/v1/signup")
    visitor.page.get_by_role("button", name="Or create a throw-away user").click()
    expect(visitor.fresh).to_be_visible()
    expect(visitor.page.locator('[data-fact="email"]')).to_have_text(re.compile(r"^throw-away-.*@example\.com$"))


def test_the_token_and_each_request_can_be_copied_and_work(visitor: Visitor, stack: Stack) -> None:
    visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.sign_up(address())
    visitor.page.locator("#copy-token").click()
    expect(visitor.page.locator("#copy-token")).to_have_text("Copied")
    headers = {"Authorization": f"Bearer {visitor.clipboard()}"}
    (account,) = httpx.get(f"{stack.api_url}{ACCOUNTS}", headers=headers).json()["accounts"]
    assert account["id"] == visitor.page.locator('[data-fact="id"]').inner_text()

    visitor.rename("It's $HOME `here`")
    expect(visitor.title).to_have_text("It's $HOME `here`")
    for way in ("supabase", "api"):
        visitor.rename(f"In between, {way}")
        expect(visitor.title).to_have_text(f"In between, {way}")
        visitor.rename("It's $HOME `here`")
        expect(visitor.title).to_have_text("It's $HOME `here`")
        visitor.page.locator(f"[data-way={way}]").get_by_role("button", name="Copy as curl").click()
        expect(visitor.page.get_by_role("status")).to_have_text("The curl line is in the clipboard.")
        line = visitor.clipboard()
        visitor.rename("Since")
        expect(visitor.title).to_have_text("Since")
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True)
        assert json.loads(done.stdout)["account_name"] == "It's $HOME `here`"


def test_scroll_areas_are_tab_stops_where_they_scroll(visitor: Visitor) -> None:
    def tab_stops(width: int) -> set[bool]:
        visitor.page.set_viewport_size({"width": width, "height": 800})
        right = "area => (area.scrollHeight > area.clientHeight) === (area.tabIndex === 0)"
        visitor.page.wait_for_function(f"() => [...document.querySelectorAll('pre')].every({right})")
        return set(visitor.page.locator("pre").evaluate_all("areas => areas.map(area => area.tabIndex === 0)"))

    visitor.sign_up(address())
    assert tab_stops(1200) == {False}
    visitor.rename("W" * 255)
    expect(visitor.title).to_have_text("W" * 255)
    assert tab_stops(1200) == {True, False}
    assert tab_stops(NARROW) == {True}
    assert tab_stops(1200) == {True, False}


def test_the_api_docs_follow_the_browsers_colours(visit: Callable[..., Visitor], stack: Stack) -> None:
    visitor = visit(scheme="dark")
    visitor.page.goto(f"{stack.api_url}/docs")
    expect(visitor.page.get_by_role("heading", name="Accounts API")).to_be_visible()
    expect(visitor.page.locator("html.dark-mode")).to_have_count(1)
    background = visitor.page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
    assert re.fullmatch(r"rgb\(\d{2}, \d{2}, \d{2}\)", background)  # dark, and not transparent
    visitor.page.emulate_media(color_scheme="light")
    expect(visitor.page.locator("html.dark-mode")).to_have_count(0)
    visitor.page.emulate_media(color_scheme="dark")
    expect(visitor.page.locator("html.dark-mode")).to_have_count(1)


def test_all_of_it_can_be_done_with_the_keyboard(visitor: Visitor) -> None:
    visitor.come()
    keyboard = visitor.page.keyboard
    expect(visitor.page.get_by_label("Password")).to_be_visible()
    keyboard.press("Tab")
    expect(visitor.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keyboard.press("Enter")
    keyboard.press("Tab")
    expect(visitor.page.get_by_role("radio", name="Sign up")).to_be_focused()
    keyboard.press("Tab")
    keyboard.type(address())
    keyboard.press("Tab")
    keyboard.type(PASSWORD)
    keyboard.press("Enter")

    expect(visitor.title).to_be_focused()
    expect(visitor.fresh).to_be_visible()
    keyboard.press("Tab")
    expect(visitor.page.locator("#copy-token")).to_be_focused()
    keyboard.press("Tab")
    expect(visitor.name).to_be_focused()
    keyboard.press("ControlOrMeta+A")
    keyboard.type("By keyboard")
    keyboard.press("Enter")
    expect(visitor.title).to_have_text("By keyboard")
    keyboard.press("Tab")
    expect(visitor.page.get_by_role("button", name="Save")).to_be_focused()
    keyboard.press("Tab")
    expect(visitor.page.get_by_role("button", name="Get or create")).to_be_focused()
    keyboard.press("Space")
    expect(visitor.page.get_by_role("status")).to_have_text("Get or create. supabase-js: 200, the API: 200.")
    for _ in range(4):
        keyboard.press("Shift+Tab")
    expect(visitor.page.get_by_role("button", name="Sign out")).to_be_focused()
    keyboard.press("Enter")
    expect(visitor.page.locator("#signed-out-title")).to_be_focused()
    assert visitor.console == []


def test_two_users_see_an_account_each(visit: Callable[..., Visitor]) -> None:
    ada, bob = visit(), visit()
    ada.sign_up(address())
    bob.sign_up(address())
    ada.rename("Ada's")
    expect(ada.title).to_have_text("Ada's")
    bob.page.reload()
    expect(bob.title).to_have_text("Default Alpaca Account")
    ids = [each.page.locator('[data-fact="id"]').inner_text() for each in (ada, bob)]
    assert len(set(ids)) == 2


def test_a_name_with_markup_is_text(visitor: Visitor) -> None:
    visitor.sign_up(address())
    visitor.rename(MARKUP)
    expect(visitor.title).to_have_text(MARKUP)
    visitor.page.reload()
    expect(visitor.title).to_have_text(MARKUP)
    expect(visitor.title.locator("*")).to_have_count(0)
    expect(visitor.page.locator("pre img, pre b")).to_have_count(0)
    expect(visitor.page).to_have_title("Accounts API")


def test_no_script_but_the_pages_own_can_run(visitor: Visitor, stack: Stack) -> None:
    policy = httpx.get(f"{stack.api_url}/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    visitor.come()
    expect(visitor.page.get_by_label("Password")).to_be_visible()
    # to the browser, text is no script and no markup, wherever it comes from
    for injection in (
        "() => document.createElement('img').setAttribute('onerror', 'document.title = 1')",
        "() => { document.createElement('script').textContent = 'document.title = 1' }",
        "() => { document.body.innerHTML = '<p>Hello</p>' }",
    ):
        with pytest.raises(PlaywrightError, match="This document requires 'Trusted"):
            visitor.page.evaluate(injection)
    assert len(visitor.complaints()) == 3
    visitor.console.clear()


def states(visitor: Visitor) -> Iterator[str]:
    """Every state that a visitor can bring the page into, one after the other."""
    visitor.come()
    expect(visitor.page.get_by_label("Password")).to_be_visible()
    yield "signed out"
    visitor.fill_in("ada")
    expect(visitor.page.get_by_role("alert")).to_be_visible()
    yield "a wrong address"
    visitor.fill_in(address())
    expect(visitor.fresh).to_be_visible()
    yield "a new account"
    visitor.rename("x" * 256)
    expect(visitor.page.get_by_role("alert")).to_be_visible()
    yield "a refused name"
    visitor.rename("W" * 255)
    expect(visitor.title).to_have_text("W" * 255)
    yield "a long name"
    visitor.page.context.set_offline(True)
    expect(visitor.page.get_by_text("You are offline")).to_be_visible()
    visitor.page.get_by_role("button", name="Get or create").click()
    expect(visitor.page.locator(".call .status")).to_have_text(["none", "none"])
    yield "offline"
    visitor.page.context.set_offline(False)
    expect(visitor.page.get_by_text("You are offline")).to_be_hidden()
    visitor.page.route("**/rpc/get_or_create_account", lambda route: route.abort())
    visitor.page.reload()
    expect(visitor.page.get_by_text("Supabase does not respond")).to_be_visible()
    yield "failed"
    pending: list[Route] = []
    visitor.page.unroute("**/rpc/get_or_create_account")
    visitor.page.route("**/rpc/get_or_create_account", lambda route: pending.append(route))  # noqa: PLW0108 - Playwright counts its arguments
    visitor.page.reload()
    expect(visitor.page.get_by_text("Looking for it…")).to_be_visible()
    yield "loading"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", NARROW)])
def test_no_state_has_anything_that_axe_objects_to_or_that_is_wider_than_the_screen(
    visit: Callable[..., Visitor], scheme: Literal["light", "dark"], width: int
) -> None:
    visitor = visit(scheme=scheme, width=width)
    complaints = {}
    for state in states(visitor):
        complaints[state] = violations(visitor.page)
        assert (state, visitor.page.evaluate("() => document.documentElement.scrollWidth")) == (state, width)
    assert len(complaints) == 8
    assert {state: found for state, found in complaints.items() if found} == {}


def test_offline_the_page_says_so_and_goes_on_when_it_is_back(visitor: Visitor) -> None:
    visitor.sign_up(address())
    visitor.page.context.set_offline(True)
    expect(visitor.page.get_by_text("You are offline")).to_be_visible()
    visitor.rename("Later")
    expect(visitor.page.locator("#name-error")).to_have_text("The API does not respond. Does make dev still run?")
    visitor.page.context.set_offline(False)
    expect(visitor.page.get_by_text("You are offline")).to_be_hidden()
    visitor.page.get_by_role("button", name="Save").click()
    expect(visitor.title).to_have_text("Later")


def test_while_supabase_is_down_the_page_says_so_and_recovers(
    browser: Browser, used_folders: Callable[[PostgresVersion], Path]
) -> None:
    state = used_folders(16)
    with local_stack.run(state, durable=False) as stack, visiting(browser, f"{stack.api_url}/") as visitor:
        visitor.sign_up(address())
        _, gateway, _ = stack.children
        gateway.stop(grace_seconds=1)
        visitor.page.reload()
        expect(visitor.page.get_by_text("Supabase does not respond")).to_be_visible()
        expect(visitor.page.get_by_text("Trying again in 2 seconds.")).to_be_visible()
        expect(visitor.page.locator("[data-way=api]")).to_contain_text('"code": "upstream_unavailable"')
        gateway = supabase_gateway.start(
            state=state,
            port=urlsplit(stack.supabase_url).port or 0,
            database_url=stack.cluster.url(supabase_gateway.ROLE, with_password=True),
            keys=stack.keys,
        )
        try:
            expect(visitor.title).to_have_text("Default Alpaca Account")  # by itself
            expect(visitor.page.get_by_role("button", name="Try again now")).to_be_hidden()
        finally:
            gateway.stop(grace_seconds=1)


def test_the_page_gets_no_secret(stack: Stack) -> None:
    config = httpx.get(f"{stack.api_url}/page/config.json").json()
    database = stack.cluster.url(MIGRATOR, with_password=False)
    assert config == {"url": stack.supabase_url, "key": stack.keys.publishable, "database": database}


def test_the_page_leads_to_the_docs_the_types_and_the_database(visitor: Visitor, stack: Stack) -> None:
    visitor.come()
    expect(visitor.page.locator("#database")).to_have_text(stack.cluster.url(MIGRATOR, with_password=False))
    links = visitor.page.get_by_role("navigation", name="More").get_by_role("link").all()
    *paths, database = [link.get_attribute("href") or "" for link in links]
    assert database == stack.cluster.url(MIGRATOR, with_password=False)
    found = {path: httpx.get(f"{stack.api_url}{path}") for path in paths}
    assert {path: response.status_code for path, response in found.items()} == {
        "/docs": 200,
        "/openapi.json": 200,
        "/page/database.types.ts": 200,
    }
    assert found["/page/database.types.ts"].text == DATABASE_TYPES.read_text()


@pytest.mark.parametrize("path", SYSTEM_PATHS)
def test_a_page_of_another_port_reads_nothing_of_the_gateways_inside(browser: Browser, stack: Stack, path: str) -> None:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(f"{stack.api_url}/healthz")  # any page that no policy keeps from asking elsewhere
        fetched = "url => fetch(url).then(response => response.text(), () => 'refused')"
        assert page.evaluate(fetched, f"{stack.supabase_url}{path}") == "refused"
        # what such a page may read, to see that it is not the browser that refuses everything
        assert "No API key" in page.evaluate(fetched, f"{stack.supabase_url}/rest/v1/user_accounts")
    finally:
        context.close()


def test_a_page_of_another_port_may_call_the_api(browser: Browser, stack: Stack, user: User) -> None:
    """A frontend's own development server, say."""
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(f"{stack.supabase_url}/rest/v1/")  # any page of another port
        call = "([url, headers]) => fetch(url, { headers }).then(response => response.json())"
        response = page.evaluate(call, [f"{stack.api_url}{ACCOUNTS}", {"Authorization": f"Bearer {user.token}"}])
        assert response == {"status": "success", "accounts": [], "count": 0}
    finally:
        context.close()


def test_serve_has_no_page(tmp_path: Path, stack: Stack) -> None:
    with serving(tmp_path, stack.supabase_url, stack.keys.publishable) as (url, _):
        for path in ("/", "/page/page.js", "/page/config.json", "/page/supabase.js"):
            assert httpx.get(f"{url}{path}").status_code == 404
