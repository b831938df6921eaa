"""The command `oceanus snippet`."""

from collections.abc import Mapping
from importlib.resources import files

import click
import httpx

from management import running
from management.snippet import KINDS, NoSnippetError, script_attributes, script_name, snippet
from oceanus import settings, sites
from oceanus.errors import MisconfiguredError
from oceanus.sites import Site

SCRIPTS = files("arms").joinpath("static", "js")
CHECK_SECONDS = 10


@click.command("snippet", epilog="Example: oceanus snippet --site bizocean --for tag --url https://log.shop.example")
@click.option("--site", "name", required=True, help="Site of sites.yaml.")
@click.option("--for", "kind", type=click.Choice(KINDS), default="tag", show_default=True, help="Where it goes.")
@click.option("--url", help="Address of arms as browsers see it; by default the one that `oceanus up` runs.")
@click.option(
    "--nonce", default="", help='For a Content-Security-Policy: the nonce, or what your template writes: "{{ nonce }}".'
)
@click.option("--page", default="", help="Page that an image without script names; by default the site's one origin.")
@click.option("--newest", is_flag=True, help="Always the script that arms serves at the time; then without integrity.")
@click.option("--check", is_flag=True, help="Ask arms at that address whether it serves this script.")
def command(name: str, kind: str, url: str | None, nonce: str, page: str, newest: bool, check: bool) -> None:
    """Print the text that goes into a site's pages.

    tag: a script element; noscript: an image for visitors without script, or for a mail (method gaze); gtm: a tag of
    the kind Custom HTML for Google Tag Manager; wordpress: a plugin of one file.

    The script is named by the fingerprint of its content, with its hash (Subresource Integrity): nothing else runs in
    its place, and browsers keep it for a year. Print it again after an upgrade to use the new one; arms goes on serving
    the old one.
    """
    environ = settings.environment()
    site = _site(name, running.sites_file(environ))
    at = url if url is not None else _running(environ)
    try:
        script = b"" if kind == "noscript" else served(site)
        text = snippet(site, at, kind, script, nonce=nonce, page=page, newest=newest)
        if check and script:
            _check(script_attributes(site, at, script, newest=newest)["src"], None if newest else script)
    except NoSnippetError as exc:
        raise click.UsageError(str(exc)) from exc
    click.echo(text, nl=False)


def served(site: Site) -> bytes:
    """Return the script that arms of this release serves for a site; raises NoSnippetError, MisconfiguredError."""
    file = SCRIPTS.joinpath(script_name(site))
    try:
        return file.read_bytes()
    except OSError as exc:
        raise MisconfiguredError([f"{file} cannot be read: install oceanus whole: {exc}"]) from exc


def _site(name: str, sites_file: str) -> Site:
    site = sites.load(sites_file).get(name)
    if site is None:
        raise click.UsageError(f"--site {name}: {sites_file} declares no such site")
    return site


def _running(environ: Mapping[str, str]) -> str:
    try:
        return running.find(environ).url
    except MisconfiguredError as exc:
        raise MisconfiguredError([f"{exc.mistakes[0]}; or say where arms is: --url https://log.shop.example"]) from exc


def _check(source: str, script: bytes | None) -> None:
    """Raise MisconfiguredError unless what stands at an address is this script; None: any will do."""
    try:
        answer = httpx.get(source, timeout=CHECK_SECONDS, trust_env=False)
    except httpx.HTTPError as exc:
        raise MisconfiguredError([f"{source}: no answer: {exc}"]) from exc
    if answer.status_code != 200 or script not in (answer.content, None):
        told = "another script" if answer.status_code == 200 else f"a {answer.status_code}"
        raise MisconfiguredError([f"{source}: {told}: upgrade arms there, or print this with the oceanus of there"])
