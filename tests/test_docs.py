"""What docs/ says of the package as a whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from promptport import errors

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_error_is_explained_once() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    roots = {"PromptportError", "ProviderError", "StreamError"}  # explained above their tables
    assert len(rows) == len(set(rows))
    assert set(rows) == {name for name in vars(errors) if name in errors_of_ours()} - roots


def errors_of_ours() -> set[str]:
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    return {kind.__name__ for kind in kinds if issubclass(kind, errors.PromptportError)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(linked.read_text()), f"{page.name}: {target}"


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
