import sys
from importlib.metadata import version as installed_version
from pathlib import Path

# A module in docs/_extensions is a Sphinx extension of our own, such as one that writes a reference page from the code.
HERE = Path(__file__).parent
OWN_EXTENSIONS = HERE / "_extensions"
sys.path.insert(0, str(OWN_EXTENSIONS))

project = "Flask-Gatehouse"
author = "Flask-Gatehouse developers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = installed_version("flask-gatehouse")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    *sorted(path.stem for path in OWN_EXTENSIONS.glob("[!_]*.py")),
]
exclude_patterns = ["_build", "_extensions", "_generated"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "fieldlist", "smartquotes"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
default_role = "code"  # docstrings mark names with single backticks, as Markdown does

html_theme = "furo"
html_title = "Flask-Gatehouse"
