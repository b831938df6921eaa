"""The places: each destination of alerts.yaml as a client that delivers to it, made from settings and secrets."""

from collections.abc import Callable, Mapping
from typing import Any

from oceanus import warehouse
from oceanus.alerts import Alerts
from oceanus.errors import MisconfiguredError, RefusedError
from oceanus.settings import RevelationSettings
from oceanus.sites import Sites
from oceanus.tables import Naming
from revelation import rules as alert_rules
from revelation import sheets
from revelation.delivery import AnyDelivery, Delivery, SheetDelivery
from revelation.history import History
from revelation.mail import Mail
from revelation.printing import Print
from revelation.rules import Place, Rules
from revelation.sheets import Book
from revelation.slack import SlackChannel, SlackWebhook
from revelation.telling import Destination, Message, Table, Telling
from revelation.texts import Texts
from revelation.webhook import Webhook


class Places:
    """Makes what delivers; keeps the one renderer of texts, and the one history."""

    def __init__(self, chosen: RevelationSettings, environ: Mapping[str, str], declared: Sites) -> None:
        self.texts = Texts(declared)
        self.history = _Histories(chosen, declared)
        self._chosen = chosen
        self._environ = environ

    def close(self) -> None:
        """End what was started."""
        self.texts.close()

    def deliveries(self, rules: Rules, alerts: Alerts, owner: str) -> dict[str, AnyDelivery]:
        """Return what delivers to each destination that a rule tells.

        Raises MisconfiguredError with a line for each setting that one of them needs and that is not there, or wrong.
        """
        mistakes = alert_rules.unset(rules, self._environ)
        made: dict[str, AnyDelivery] = {}
        for name in [] if mistakes else sorted({action["to"] for rule in rules.rules.values() for action in rule.tell}):
            try:
                made[name] = self._delivery(rules.places[name], alerts, owner)
            except ValueError as exc:
                mistakes.append(f"alerts.yaml: destination {name}: {exc}")
        if mistakes:
            raise MisconfiguredError(mistakes)
        return made

    def gone(self, alerts: Alerts, owner: str) -> Callable[[str], Delivery]:
        """Return what makes a delivery for a destination that alerts.yaml has no more: it sets everything aside."""
        return lambda name: Delivery(name, "print", _Gone(), alerts, self.texts, self.history, owner)

    def book(self, place: Place) -> Book:
        """Return a destination of kind sheets."""
        key = str(place.options.get("spreadsheet") or self._chosen.spreadsheet)
        address = self._chosen.sheets_url
        known = sheets.credentials(self._chosen.warehouse.credentials) if address == sheets.ADDRESS else None
        return Book(known or sheets.nobody(), key, address)

    def destination(self, place: Place) -> Destination:
        """Return a destination of any other kind."""
        return _MAKERS[place.kind](self._chosen, self._environ, place.options)

    def _delivery(self, place: Place, alerts: Alerts, owner: str) -> AnyDelivery:
        if place.kind == "sheets":
            return SheetDelivery(place.name, self.book(place), alerts, self.texts, owner)
        return Delivery(place.name, place.kind, self.destination(place), alerts, self.texts, self.history, owner)


def _slack(chosen: RevelationSettings, environ: Mapping[str, str], options: Mapping[str, Any]) -> Destination:
    if "webhook" in options:
        return SlackWebhook(environ[options["webhook"]])
    return SlackChannel(environ[options["token"]], str(options["channel"]), base_url=chosen.slack_url)


def _mail(chosen: RevelationSettings, environ: Mapping[str, str], options: Mapping[str, Any]) -> Destination:
    given = chosen.mail
    to = options["to"] if isinstance(options["to"], list) else [options["to"]]
    return Mail(
        host=given.host,
        port=given.port,
        user=given.user,
        password=given.password,
        tls=given.tls,
        sender=str(options["from"]),
        recipients=tuple(to),
    )


def _webhook(chosen: RevelationSettings, environ: Mapping[str, str], options: Mapping[str, Any]) -> Destination:
    secret = environ[options["secret"]] if "secret" in options else ""
    return Webhook(str(options["url"]), secret=secret, hosts=chosen.webhook_hosts, allow_private=chosen.webhook_private)


def _print(chosen: RevelationSettings, environ: Mapping[str, str], options: Mapping[str, Any]) -> Destination:
    return Print()


_MAKERS = {"slack": _slack, "mail": _mail, "webhook": _webhook, "print": _print}


class _Gone:
    """A destination that is no more."""

    def tell(self, message: Message) -> None:
        raise RefusedError("alerts.yaml has this destination no more")


class _Histories:
    """The history, whose BigQuery client is made when it is first asked."""

    def __init__(self, chosen: RevelationSettings, declared: Sites) -> None:
        self._chosen = chosen
        self._declared = declared
        self._made: History | None = None

    def table(self, asked: Mapping[str, Any], telling: Telling) -> Table:
        """Return a visitor's last rows."""
        if self._made is None:
            given = self._chosen.warehouse
            queries = warehouse.Queries(warehouse.connect(given), given.dataset)
            naming = Naming(given.dataset, given.table_prefix)
            self._made = History(queries, naming, self._declared, self._chosen.history_max_bytes)
        return self._made.table({"rows": self._chosen.history_rows} | dict(asked), telling)
