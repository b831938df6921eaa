"""The command `oceanus verify`: fetches a page, its scripts, sends a test beacon, and looks for it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.resources import files

import click

from management import csp, doctor, fetching, running, status, verify, whereabouts
from management.console.trial import Trial, trial
from management.doctor import Finding
from management.snippet import NoSnippetError, endpoint
from management.verify import Tag
from oceanus import settings, sites, warehouse
from oceanus.errors import MisconfiguredError, OceanusError
from oceanus.shards import Spools
from oceanus.sites import Site, Sites
from oceanus.tables import Naming
from oceanus.visible import escaped

MOST_TAGS = 5  # of a page that are looked at
LOOK_SECONDS = 0.25


@click.command("verify", epilog="Example: oceanus verify https://www.shop.example/")
@click.argument("page")
@click.option("--site", "name", default="", help="The page's site, where its HTML does not say: a tag manager's page.")
@click.option("--url", default="", help="Address of arms as browsers see it, with --site.")
@click.option("--no-beacon", is_flag=True, help="Send no test beacon.")
@click.option(
    "--wait", "wait_seconds", type=click.FloatRange(min=0), default=10.0, show_default=True, help="Seconds for the row."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def command(
    ctx: click.Context, page: str, name: str, url: str, no_beacon: bool, wait_seconds: float, form: str
) -> None:
    """Say whether a page's beacons arrive.

    Fetches PAGE (http or https), finds the tag in its HTML, the new one or the original's snippets, and looks at what
    would keep a browser from using it: its script, integrity and fingerprint, the page's Content-Security-Policy. Then
    it sends a test beacon to where the tag sends (its `evt` is `test`, its address https://console.invalid/test; it is
    a row like any other), and looks for it in Redis and BigQuery, as far as the environment, or what `oceanus up` runs
    here, reaches. Last, how old the site's last beacon before was.

    What a script or a tag manager builds cannot be seen in the HTML, nor what runs in a browser: it is said where it
    matters. Exit code 1 if something is wrong; a warning is not.
    """
    if not verify.whole("", page):
        raise click.UsageError(f"{page}: must be an address that begins with http:// or https://")
    if bool(name) != bool(url):
        raise click.UsageError("--site and --url go together: which site, and where its arms is")
    findings: list[Finding] = []
    for one in _Verification(page, name, url, not no_beacon, wait_seconds).findings():
        shown = replace(one, sentence=escaped(one.sentence), remedy=escaped(one.remedy))
        findings.append(shown)
        if form == "text":
            for line in doctor.lines([shown]):
                click.echo(line)
    if form == "json":
        click.echo(json.dumps([asdict(one) for one in findings], indent=2))
    ctx.exit(0 if doctor.is_well(findings) else 1)


class _Verification:
    """One page; what is known of our side is asked for when it is needed, and may be nothing."""

    def __init__(self, page: str, name: str, url: str, sends: bool, wait_seconds: float) -> None:
        self._asked = page
        self._named = name
        self._collector = url
        self._sends = sends
        self._wait_seconds = wait_seconds
        self._environ = settings.environment()
        self._declared, self._file = _declared(self._environ)

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, in the order in which a browser meets it."""
        answer = fetching.get(self._asked)
        yield from verify.of_page(answer)
        if answer.trouble or answer.status != 200:
            return
        page = answer.url
        paths = {site.tracker.path: site.name for site in self._declared.values() if site.tracker.path}
        seen = verify.look(answer.body.decode("utf-8", "replace"), page, paths)
        yield from verify.of_tags(seen, self._named)
        tags = seen.tags[:MOST_TAGS] or self._told()
        policies = csp.policies([*answer.policies, *seen.policies])
        yield from verify.of_policy(tags, policies, page)
        yield from self._scripts(tags, page)
        for site, address in dict.fromkeys((tag.site, tag.endpoint) for tag in tags if tag.endpoint):
            yield from self._beacons(site, address, page)

    def _told(self) -> list[Tag]:
        """Return what the operator says of a page whose HTML says nothing."""
        if not self._named:
            return []
        site = self._declared.get(self._named)
        try:
            address = endpoint(site, self._collector) if site else f"{self._collector}/swallow/{self._named}"
        except NoSnippetError as exc:
            raise click.UsageError(f"--url {exc}") from exc
        return [Tag(kind="okeanides", site=self._named, endpoint=address)]

    def _scripts(self, tags: Sequence[Tag], page: str) -> Iterator[Finding]:
        known = [file.read_bytes() for file in files("arms").joinpath("static", "js").iterdir() if file.is_file()]
        for tag in tags:
            if tag.script:
                got = fetching.get(tag.script, {"Origin": verify.origin(page)})
                yield from verify.of_script(tag, page, got, known)

    def _beacons(self, name: str, address: str, page: str) -> Iterator[Finding]:
        site = self._declared.get(name) if name else self._declared.first("swallow")
        if site is None:
            yield verify.of_undeclared(fetching.head(address), page, name, self._file)
            return
        yield from verify.of_page_view(site)
        ours = _Ours.reached(self._environ, self._declared, site)
        last = ours.last() if isinstance(ours, _Ours) else ours
        if self._sends:
            beacon = _from_page(trial(site), page)
            answer = fetching.send(beacon, address)
            sent_us = time.time_ns() // 1000
            told = verify.of_beacon(answer, page)
            yield told
            if told.state == doctor.OK:
                yield self._arrival(ours, site, beacon.eid, sent_us)
        yield last

    def _arrival(self, ours: "_Ours | Finding", site: Site, eid: str, sent_us: int) -> Finding:
        """Look for an accepted beacon until it is a row, or the time is over."""
        if isinstance(ours, Finding):
            return replace(ours, about="arrival")
        began = time.monotonic()
        while True:
            try:
                place = ours.place(eid, sent_us)
            except OceanusError as exc:
                return verify.unseen("arrival", f"what became of it cannot be seen: {exc}", "`oceanus doctor`")
            seconds = time.monotonic() - began
            if place == "row" or seconds >= self._wait_seconds:
                return verify.of_arrival(site.name, place, seconds)
            time.sleep(LOOK_SECONDS)  # Redis and BigQuery can only be asked again


class _Ours:
    """Redis and BigQuery of the operator's settings, asked about one site."""

    def __init__(self, site: Site, spools: Spools, queries: warehouse.Queries, naming: Naming) -> None:
        self._site = site
        self._spools = spools
        self._queries = queries
        self._naming = naming

    @classmethod
    def reached(cls, environ: Mapping[str, str], declared: Sites, site: Site) -> "_Ours | Finding":
        """Return what the settings reach, or a finding that says what they lack."""
        try:
            chosen = running.warehouse(environ)
            spools = running.spools(environ, declared)
            clients = warehouse.connect(chosen)
        except MisconfiguredError as exc:
            sentence = f"cannot be seen from here: {exc.mistakes[0]}"
            remedy = "run it where Redis and BigQuery can be reached, with their settings; or look at `oceanus status`"
            return verify.unseen("last", sentence, remedy)
        naming = Naming(chosen.dataset, chosen.table_prefix)
        return cls(site, spools, warehouse.Queries(clients, chosen.dataset), naming)

    def last(self) -> Finding:
        """Return how old the last beacon of the site is, by Redis' count."""
        try:
            look = self._spools.look(self._site.name)
        except OceanusError as exc:
            return verify.unseen("last", f"Redis does not say when the last one came: {exc}", "`oceanus doctor`")
        return verify.of_last(self._site.name, status.site_status(look, time.time_ns() // 1000).last_seconds)

    def place(self, eid: str, sent_us: int) -> str:
        """Return where a beacon is; raises SpoolError, WarehouseError."""
        return whereabouts.of(self._site, eid, sent_us, self._spools, self._queries, self._naming, lambda: None).place


def _declared(environ: Mapping[str, str]) -> tuple[Sites, str]:
    file = running.sites_file(environ)
    return sites.load(file), file


def _from_page(beacon: Trial, page: str) -> Trial:
    """Return a test beacon as a browser sends it from a page: with the page's origin."""
    return replace(beacon, headers={**beacon.headers, "Origin": verify.origin(page)})
