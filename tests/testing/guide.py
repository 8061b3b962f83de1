"""docs/writing-a-provider.md as a package: its files, written out as the page has them.

Rule: the page is the only copy. A file on it is a fenced block under a line that holds nothing but its path, in bold.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

__all__ = ["PAGE", "guide_files", "install_guide"]

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-provider.md"
_FILE = re.compile(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def guide_files() -> dict[str, str]:
    """The page's files, by path."""
    return dict(_FILE.findall(PAGE.read_text()))


def install_guide(folder: Path) -> Path:
    """Writes the files below ``folder``, and what an installer would add; the directory to import from."""
    for path, text in guide_files().items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.3\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = [
        f"[{group}]\n" + "".join([f"{name} = {value}\n" for name, value in points.items()])
        for group, points in project["entry-points"].items()
    ]
    info.joinpath("entry_points.txt").write_text("\n".join(groups))
    return folder / "src"
