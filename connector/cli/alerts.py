"""`connector alerts test`: sends the place for alerts a message."""

from __future__ import annotations

from connector.cli.common import ConfigOption, load, now
from connector.cli.exits import FOUND_PROBLEMS, REFUSED, Left, complain
from connector.cli.printing import say


def send_test(config: ConfigOption = None) -> None:
    """Send a test message to the address in [alerts], as an alert would come."""
    from connector.alerts import Message, NotSent, WebhookPoster, body  # with the HTTP client

    settings = load(config, uses=("alerts",)).alerts
    if settings.url is None:
        complain("no address for alerts is configured: set url in [alerts]")
        raise Left(FOUND_PROBLEMS)
    text = "This is a test of the affiliate connector: messages like this one come when something needs a person."
    try:
        WebhookPoster(settings.url)(body([Message("test", "connector", text)], settings.format, now()))
    except NotSent as error:
        complain(f"the address for alerts did not take the message ({error}): check url and format in [alerts]")
        raise Left(REFUSED) from None
    say("sent a test message to the address for alerts")
