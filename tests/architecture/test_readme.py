"""The README shows what is there."""

from __future__ import annotations

import re

from tests.docs import pages, shell
from tests.support import ROOT, SOURCE

README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = (SOURCE / "demo" / "__init__.py").read_text(encoding="utf-8")


def test_the_demo_program_is_shown_as_it_is():
    shown = [block.text for block in pages.blocks(README, "python") if "def create_app" in block.text]
    assert shown == [DEMO]


def test_the_demo_program_is_taken_in_at_a_glance():
    assert len(DEMO.splitlines()) <= 80


def test_every_file_that_the_readme_and_the_manual_link_to_is_there():
    link = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
    broken = []
    for path in [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]:
        if "_build" in path.parts:
            continue
        targets = link.findall(pages.FENCE.sub("", path.read_text(encoding="utf-8")))
        broken += [f"{path.name}: {to}" for to in targets if "://" not in to and not (path.parent / to).exists()]
    assert broken == []


def test_the_two_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_two_lines_close_an_app_as_the_readme_says(tmp_path):
    for name, text in pages.files(README).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for block in pages.blocks(README, "console"):
        shell.run(block.text, tmp_path, stdin="correct horse battery\n")
    shell.run_one("python labels.py", tmp_path)
    guest = "from app import app; print(app.test_client().get('/', base_url='http://127.0.0.1:5000').location)"
    assert shell.run_one(f'python -c "{guest}"', tmp_path) == "/login?next=/\n"
