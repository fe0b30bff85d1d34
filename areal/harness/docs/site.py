# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The documentation as a static site: Markdown pages to HTML files that work without a server and without a network.

Called by `areal docs build`; needs the `docs` extra (markdown-it-py). Links between pages are turned into links between
files, those to other files of the repository into plain names; then every link of the result is checked.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from areal.harness.core.documents import read_yaml
from areal.harness.core.errors import MissingTool, UsageProblem
from areal.harness.core.findings import Finding
from areal.harness.docs.pages import STAMP, Page, slug

SITE_FILE = Path("docs/site.yaml")
TEMPLATES = Path(__file__).parent / "templates"
ASSETS = (".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp")
MARK = ".areal-site"  # in folders that we made, so that no other folder is ever cleared
LANGUAGES = {"en": "English", "zh": "中文"}


@dataclass(frozen=True)
class SitePage:
    """A page: its source below `docs/`, the file it becomes, its language and title, and its section's title by language."""

    source: str
    href: str
    language: str
    title: str
    section: Mapping[str, str]


def load_pages(root: Path) -> list[SitePage]:
    """The pages of `docs/site.yaml` in order, each language that exists."""
    data = read_yaml(root, SITE_FILE).data
    found = []
    for section in data["sections"]:
        for name in _expanded(root, section["pages"]):
            sources = [name] if name.startswith("../") else [f"{language}/{name}" for language in LANGUAGES]
            for source in sources:
                path = posixpath.normpath(source.removeprefix("../"))
                if (root / "docs" / path).is_file():
                    found.append(_page(root, path, section))
                elif not source.startswith("zh/"):
                    raise UsageProblem(f"{SITE_FILE}: docs/{path} does not exist", code="D005", file=str(SITE_FILE))
    return found


def _expanded(root: Path, names: Sequence[str]) -> Iterator[str]:
    """Names as they are, patterns as the sorted pages that match."""
    docs = root / "docs"
    for name in names:
        if "*" in name:
            matching = sorted(docs.glob(name.removeprefix("../")))
            yield from (f"../{path.relative_to(docs).as_posix()}" for path in matching)
        else:
            yield name


def _page(root: Path, path: str, section: Mapping[str, Any]) -> SitePage:
    language = path.split("/")[0] if path.split("/")[0] in LANGUAGES else "en"
    headings = Page((root / "docs" / path).read_text(encoding="utf-8")).headings
    title = re.sub(r"[`*]", "", headings[0].text) if headings else path
    return SitePage(path, f"{path.removesuffix('.md')}.html", language, title, {key: section[key] for key in LANGUAGES})


def unlisted(root: Path, pages: Sequence[SitePage]) -> Iterator[Finding]:
    """Pages that the site would leave out."""
    listed = {page.source for page in pages}
    for path in sorted((root / "docs").rglob("*.md")):
        name = path.relative_to(root / "docs").as_posix()
        if name not in listed:
            message = f"docs/{name} is not listed, so no reader finds it"
            yield Finding(code="D005", message=message, file=SITE_FILE.as_posix())


def build(root: Path, out: Path) -> list[str]:
    """Write the site; the files written, relative to `out`."""
    try:
        import jinja2
        from markdown_it import MarkdownIt
    except ModuleNotFoundError as error:
        command = "python -m pip install 'areal[docs]'"
        raise MissingTool(f"{error.name} is not installed", code="no_docs_extra", next_action=command) from None
    pages = load_pages(root)
    _clear(out)
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    template = environment.get_template("page.html.jinja")
    written = ["style.css"]
    shutil.copyfile(TEMPLATES / "style.css", out / "style.css")
    for page in pages:
        text = STAMP.sub("", (root / "docs" / page.source).read_text(encoding="utf-8"))
        tokens = markdown.parse(text)
        copied = _adapt(tokens, page, pages, root, out)
        body = jinja2.utils.markupsafe.Markup(markdown.renderer.render(tokens, markdown.options, {}))
        target = out / page.href
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(template.render(body=body, **_navigation(page, pages)), encoding="utf-8")
        written += [page.href, *copied]
    start = next(page for page in pages if page.language == "en")
    redirect = (
        f'<!doctype html><meta http-equiv="refresh" content="0; url={start.href}"><a href="{start.href}">areal</a>\n'
    )
    (out / "index.html").write_text(redirect, encoding="utf-8")
    return sorted({*written, "index.html"})


def _clear(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).is_file():
            message = f"{out} holds files that are not a built site; name an empty folder"
            raise UsageProblem(message, code="not_empty")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text("made by `areal docs build`; cleared at the next build\n", encoding="utf-8")


def _navigation(page: SitePage, pages: Sequence[SitePage]) -> dict[str, Any]:
    """What the template shows around a page: the pages of its language, originals where there is no translation."""
    sections: dict[str, list[dict[str, Any]]] = {}
    own = {p.source.partition("/")[2] for p in pages if p.language == page.language and "/" in p.source}
    for other in pages:
        is_translated = page.language != "en" and other.language == "en" and other.source.partition("/")[2] in own
        if other.language not in (page.language, "en") or is_translated:
            continue
        entry = {"href": other.href, "title": other.title, "is_here": other is page}
        sections.setdefault(other.section[page.language], []).append(entry)
    twin = next((p for p in pages if _key(p) == _key(page) and p.language != page.language), None)
    return {
        "language": page.language,
        "title": page.title,
        "up": "../" * page.href.count("/"),
        "home": "index.html",
        "sections": [{"title": title, "pages": entries} for title, entries in sections.items()],
        "other": twin and {"href": twin.href, "title": LANGUAGES[twin.language]},
    }


def _key(page: SitePage) -> str:
    return page.source.removeprefix(f"{page.language}/")


def _adapt(tokens: Sequence[Any], page: SitePage, pages: Sequence[SitePage], root: Path, out: Path) -> list[str]:
    """Give headings their anchors and links their files; the assets that were copied."""
    hrefs = {p.source: p.href for p in pages}
    seen: dict[str, int] = {}
    copied = []
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            name = slug(tokens[index + 1].content)
            token.attrSet("id", name if name not in seen else f"{name}-{seen[name]}")
            seen[name] = seen.get(name, 0) + 1
        for child in token.children or ():
            if child.type == "link_open":
                _adapt_link(child, page, hrefs)
            elif child.type == "image" and "://" not in child.attrGet("src"):
                place = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), child.attrGet("src")))
                if place.endswith(ASSETS) and (root / "docs" / place).is_file():
                    (out / place).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(root / "docs" / place, out / place)
                    copied.append(place)
    return copied


def _adapt_link(token: Any, page: SitePage, hrefs: Mapping[str, str]) -> None:
    href = token.attrGet("href")
    target, _, anchor = href.partition("#")
    if "://" in target or target.startswith("mailto:") or not target:
        return
    place = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), target))
    if place in hrefs:
        relative = posixpath.relpath(hrefs[place], posixpath.dirname(page.href) or ".")
        token.attrSet("href", relative + (f"#{anchor}" if anchor else ""))
    else:  # a file of the repository, that the site does not hold
        token.attrs.pop("href")
        token.attrSet("class", "file")
        token.attrSet("title", posixpath.normpath(posixpath.join("docs", place)))


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[tuple[str, int]] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag points at and what it can be pointed at by."""
        for key, value in attrs:
            if value and (key, tag) in (("href", "a"), ("href", "link"), ("src", "img")):
                self.targets.append((value, self.getpos()[0]))
            elif value and key in ("id", "name"):
                self.anchors.add(value)


def check_site(out: Path) -> Iterator[Finding]:
    """Links of the built pages that lead nowhere (D005)."""
    parsed = {}
    for path in sorted(out.rglob("*.html")):
        parsed[path.relative_to(out).as_posix()] = links = _Links()
        links.feed(path.read_text(encoding="utf-8"))
    for name, links in parsed.items():
        for href, line in links.targets:
            target, _, anchor = href.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target else name
            is_dead = place.startswith("..") or not (out / place).is_file()
            if is_dead or (anchor and place in parsed and anchor not in parsed[place].anchors):
                yield Finding(code="D005", message=f"{href} leads nowhere in the built site", file=name, line=line)
