"""The site's hook for mkdocs: pages may link to files of the repository, and the navigation may hold patterns.

On GitHub `../k8s/base/redis-pd.yaml` leads to the file. The site stands alone, so each file that a page links to is a
page of it, below `files/`; a folder is a list of what is in it. `--strict` names a link that leads nowhere.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

DOCS, SHOWN = "docs", "files"
# A link of a page to something beside it, with what follows its path: an anchor, or the end.
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[#/])([^)#\s]+)(?=[)#])")
LANGUAGES = {".yaml": "yaml", ".py": "python", ".conf": "ini", ".env": "ini", ".socket": "ini", ".service": "ini"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that a pattern of the navigation finds in its place."""
    config.nav = list(found(config.nav or [], Path(config.docs_dir)))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file of the repository that a page links to, and those that these link to."""
    top = Path(config.docs_dir).parent
    waiting = [file for file in files if file.is_documentation_page()]
    while waiting:
        page = waiting.pop()
        for path in sorted(linked(page.content_string, page.src_uri)):
            place = shown(path, top)
            if place is None or place in files.src_uris:
                continue
            file = File.generated(config, place, content=content(path, top), inclusion=InclusionLevel.NOT_IN_NAV)
            files.append(file)
            if path.endswith(".md") or (top / path).is_dir():
                waiting.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to where the site has what they name."""
    top = Path(config.docs_dir).parent
    return LINK.sub(lambda link: within_site(link[1], page.file.src_uri, top), markdown)


def found(nav: Iterable[Any], docs: Path) -> Iterator[Any]:
    """Yield the entries of the navigation; a pattern is the pages that it finds, the index first."""
    for entry in nav:
        [(title, below)] = entry.items() if isinstance(entry, dict) else [(None, entry)]
        if isinstance(below, list):
            yield {title: list(found(below, docs))}
        elif "*" in below:
            pages = sorted(docs.glob(below), key=lambda page: (page.name != "index.md", page.name))
            names = [page.relative_to(docs).as_posix() for page in pages]
            is_one_page = len(names) == 1 and not names[0].endswith("/index.md")  # an index is the index of its section
            if names:
                yield {title: names[0] if is_one_page else names}
        else:
            yield entry


def linked(markdown: str, place: str) -> set[str]:
    """Return the paths, from the top of the repository, that a page at `place` of the site links to outside docs/."""
    paths = {path(link, place) for link in LINK.findall(markdown)}
    return {one for one in paths if not one.startswith(f"{DOCS}/") and one != DOCS}


def path(link: str, place: str) -> str:
    """Return what a link of the page at `place` of the site means, from the top of the repository."""
    if place.startswith(f"{SHOWN}/"):
        here = posixpath.dirname(place.removeprefix(f"{SHOWN}/"))
    else:
        here = posixpath.join(DOCS, posixpath.dirname(place))
    return posixpath.normpath(posixpath.join(here, link))


def shown(path: str, top: Path) -> str | None:
    """Return where the site has a file or a folder of the repository; None for what is not there."""
    if (top / path).is_dir():
        return f"{SHOWN}/{path}/index.md"
    if not (top / path).is_file():
        return None
    return f"{SHOWN}/{path}" if path.endswith(".md") else f"{SHOWN}/{path}.md"


def within_site(link: str, place: str, top: Path) -> str:
    """Return a link of the page at `place` as one within the site; what needs no change, or leads nowhere, stays."""
    meant = path(link, place)
    if not meant.startswith(f"{DOCS}/"):
        target = shown(meant, top)
    else:
        target = meant.removeprefix(f"{DOCS}/") if place.startswith(f"{SHOWN}/") else None
    return link if target is None else posixpath.relpath(target, posixpath.dirname(place) or ".")


def content(path: str, top: Path) -> str:
    """Return the page of a file or a folder."""
    if (top / path).is_dir():
        entries = (f"- {entry(one)}" for one in sorted((top / path).iterdir()) if one.name[0] not in "._")
        return "\n".join([f"# {path}/", "", *entries, ""])
    text = (top / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n~~~~{LANGUAGES.get(Path(path).suffix, 'text')}\n{text.rstrip()}\n~~~~\n"


def entry(file: Path) -> str:
    """Return the line of a folder's list for what is in it: a text leads to its page."""
    if file.is_dir():
        return f"`{file.name}/`"
    return f"[{file.name}]({file.name})" if file.suffix in LANGUAGES else file.name
