"""The demo page, as visitors see it in a browser."""

import json

from .browser import Browser, Tab, wait_until
from .conftest import OpenPage
from .server import RunningServer, run_server

LOG = ".log:not([hidden])"


def element(selector: str) -> str:
    """JavaScript for the first element that fits."""
    return f"document.querySelector({json.dumps(selector)})"


def say(tab: Tab, text: str) -> None:
    """Write in the group that is open."""
    tab.enter("#message", text)


def join(tab: Tab, group: str) -> None:
    """Join a group and wait until this tab is in it."""
    tab.enter("#group-name", group)
    tab.wait_for_text(LOG, f"You joined {group}")
    tab.wait_for_text("#people", "here")


def throw_out(server: RunningServer, client: str, code: int, reason: str) -> None:
    """Close every connection of a client."""
    server.api("disconnect", client=client, disconnect={"code": code, "reason": reason})


def test_two_tabs_chat_with_each_other(open_page: OpenPage) -> None:
    """Each sees both sides, and which messages are its own."""
    ada, bob = open_page("ada"), open_page("bob")
    say(ada, "Is anybody here?")
    bob.wait_for_text(LOG, "Is anybody here?")
    say(bob, "Yes, I am")
    ada.wait_for_text(LOG, "Yes, I am")
    assert ada.text(f"{LOG} .own .text") == "Is anybody here?"
    assert bob.text(f"{LOG} .own .text") == "Yes, I am"
    assert bob.text(f"{LOG} .chat:not(.own) .sender") == "ada"


def test_a_tab_that_comes_and_goes_moves_the_count_of_the_others(browser: Browser) -> None:
    """And those in its group read that it came and went."""
    with run_server() as server, browser.tab(server.url, client_id="ada") as ada:
        ada.wait_for_text("#connections", "1")
        ada.wait_for_text("#people", "ada")
        with browser.tab(server.url, client_id="bob"):
            ada.wait_for_text("#connections", "2")
            ada.wait_for_text(LOG, "bob joined")
        ada.wait_for_text("#connections", "1")
        ada.wait_for_text(LOG, "bob left")
        assert ada.problems == []


def test_the_ticker_shows_a_price_that_changes(open_page: OpenPage) -> None:
    """And its curve grows with every price, until it is paused."""
    ada = open_page("ada")
    price, points = (
        f"Number({element('#price')}.textContent)",
        f"{element('#price-line')}.points.numberOfItems",
    )
    first = ada.wait_for(price)
    ada.wait_for(f"{price} !== {first} && {points} >= 2")
    ada.click("#ticker-toggle")
    assert ada.text("#ticker-toggle") == "Resume"


def test_a_tab_with_a_new_name_is_another_client(open_page: OpenPage) -> None:
    """Whose messages come from that name, in the groups it was in before."""
    ada, bob = open_page("ada"), open_page("bob")
    bob.enter("#name", "bobby")
    ada.wait_for_text("#people", "ada, bobby")
    say(bob, "It is me")
    ada.wait_for_text(f"{LOG} .chat .sender", "bobby")


def test_markup_in_a_message_is_shown_as_text(open_page: OpenPage, server: RunningServer) -> None:
    """Wherever it comes from: a message, a name, a group, a publication."""
    ada = open_page("ada")
    markup = '<img src=x onerror="throw 1"><b>bold</b>'
    join(ada, markup)
    say(ada, markup)
    ada.wait_for_text(f"{LOG} .own .text", markup)
    server.api("publish", channel=markup, data={"text": markup})
    ada.wait_for_text(f"{LOG} .publication .text", json.dumps({"text": markup}, separators=(",", ":")))
    ada.enter("#name", markup.replace("/", ""))
    ada.wait_for_text("#people", "<b>bold")
    assert ada.evaluate("document.querySelectorAll('main img, main b').length") == 0


def test_a_page_that_lost_its_connection_comes_back_into_its_groups(
    open_page: OpenPage, server: RunningServer
) -> None:
    """By itself, after a code that invites it to."""
    ada = open_page("ada")
    join(ada, "night-shift")
    throw_out(server, "ada", 3011, "bye")
    ada.wait_for_text(LOG, "The connection was lost (3011: bye)")
    ada.wait_for_text(LOG, "Back in night-shift")
    assert ada.text("#state") == "Connected"
    server.api("publish", channel="night-shift", data="still here?")
    ada.wait_for_text(f"{LOG} .publication", "still here?")


def test_a_page_that_was_told_to_stay_away_does(open_page: OpenPage, server: RunningServer) -> None:
    """Until its visitor asks for the connection."""
    ada = open_page("ada")
    throw_out(server, "ada", 3503, "go away")
    ada.wait_for_text("#state", "Disconnected")
    assert ada.evaluate(f"{element('#send')}.disabled")
    ada.click("#retry")
    ada.wait_for_text(LOG, "Back in demo:lobby")


def test_a_group_with_history_gives_a_page_that_comes_back_what_it_missed(browser: Browser) -> None:
    """Between what came before and what comes after, and once."""
    with run_server() as server, browser.tab(server.url, client_id="ada") as ada:
        ada.wait_for_text(LOG, "You joined demo:lobby")
        server.api("publish", channel="demo:lobby", data="before")
        ada.wait_for_text(LOG, "before")
        throw_out(server, "ada", 3011, "bye")
        server.api("publish", channel="demo:lobby", data="meanwhile")
        ada.wait_for_text(LOG, "nothing was missed")
        server.api("publish", channel="demo:lobby", data="after")
        ada.wait_for_text(LOG, "after")
        shown = ada.evaluate("[...document.querySelectorAll('.publication .text')].map(e => e.textContent)")
        assert shown == ["before", "meanwhile", "after"]
        assert ada.problems == []


def test_a_page_that_is_cut_off_shows_what_it_recovers(browser: Browser) -> None:
    """The button takes the network away; chat and prices go on, and are there afterwards, marked."""
    with run_server() as server, browser.tab(server.url, client_id="ada") as ada:
        ada.wait_for_text(LOG, "You joined demo:lobby")
        server.api("publish", channel="demo:lobby", data="before")
        ada.wait_for_text(LOG, "before")
        prices = f"{element('#price-line')}.points.numberOfItems"
        seen = ada.wait_for(prices)
        ada.click("#cut")
        ada.wait_for_text("#cut", "Cut off for")
        ada.wait_for_text("#state", "Reconnecting")
        ada.wait_for_text(LOG, "The connection was lost")
        server.api("publish", channel="demo:lobby", data="meanwhile")
        price = {"symbol": "HUB", "price": 99.5}
        server.api("publish", channel="demo:ticker", data=price)
        assert ada.text("#cut").startswith("Cut off for")
        ada.click("#retry")
        ada.wait_for_text(LOG, "nothing was missed")
        ada.wait_for_text(f"{LOG} .recovered", "meanwhile")
        ada.wait_for_text("#price-window", "recovered")
        assert ada.evaluate(prices) > seen
        server.api("publish", channel="demo:lobby", data="after")
        ada.wait_for_text(LOG, "after")
        marked = ada.evaluate("[...document.querySelectorAll('.recovered .text')].map(e => e.textContent)")
        assert marked == ["meanwhile"]
        ada.wait_for_text("#cut", "Cut me off")
        assert ada.problems == []


def test_what_the_shown_command_publishes_appears(open_page: OpenPage) -> None:
    """Whoever it is for; the button sends the very request of the command beside it."""
    ada = open_page("ada")
    for audience, path, label in (
        ("group", "api/publish", "Published"),
        ("everybody", "broadcast", "To everybody"),
        ("client", "notify/ada", "To you alone"),
    ):
        ada.click(f"label:has([value={audience}])")
        assert f"/{path} " in ada.text("#curl")
        ada.click("#recipe button")
        ada.wait_for_text(f"{LOG} .entry:last-child .sender", label)
        assert ada.text(f"{LOG} .entry:last-child .text") == '{"text":"Hello"}'


def test_messages_in_another_group_count_on_its_tab(open_page: OpenPage, server: RunningServer) -> None:
    """Till it is looked at; then the newest is in sight."""
    ada = open_page("ada")
    join(ada, "busy")
    busy = [{"publish": {"channel": "demo:lobby", "data": f"message {n}"}} for n in range(1, 41)]
    server.api("batch", commands=busy)
    ada.wait_for_text("#tabs .unread", "40")
    ada.click("#tabs button")
    ada.wait_for_text(LOG, "message 40")
    assert ada.text("#tabs .unread") == ""
    assert ada.evaluate(f"(log => log.scrollHeight - log.scrollTop - log.clientHeight)({element(LOG)})") < 2


def test_a_message_leaves_the_keyboard_where_it_is(open_page: OpenPage, server: RunningServer) -> None:
    """On a tab, for one, which shows that the message came."""
    ada = open_page("ada")
    join(ada, "busy")
    ada.evaluate(f"{element('#tabs button')}.focus()")
    server.api("publish", channel="demo:lobby", data="one")
    ada.wait_for_text("#tabs .unread", "1")
    assert ada.evaluate(f"document.activeElement === {element('#tabs button')}")


def test_a_group_that_was_left_is_left_on_the_server(open_page: OpenPage, server: RunningServer) -> None:
    """Its tab goes, and the group before it is open again."""
    ada = open_page("ada")
    join(ada, "errand")
    ada.click("[aria-label='Leave errand']")
    ada.wait_for_text("#people", "ada")
    assert "errand" not in ada.text("#tabs")
    wait_until(lambda: server.api("channels", pattern="errand") == {"channels": {}}, "nobody in the group")


def test_a_group_that_may_not_be_joined_says_why(open_page: OpenPage) -> None:
    """The server's sentence is shown, and no tab stays behind."""
    ada = open_page("ada")
    ada.enter("#group-name", "$all")
    ada.wait_for_text(LOG, "reserved")
    assert "$all" not in ada.text("#tabs")


def test_the_page_fits_a_narrow_screen(open_page: OpenPage) -> None:
    """Nothing sticks out at 380 pixels, whatever is in the log."""
    ada = open_page("ada")
    ada.look(width=380, height=760)
    say(ada, "x" * 300)
    ada.wait_for_text(LOG, "xxx")
    assert ada.evaluate("document.documentElement.scrollWidth") <= 380
