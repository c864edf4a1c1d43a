"""Sphinx: MyST pages and the furo theme."""

project = "fedproxy"
author = "the fedproxy authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "fedproxy"
myst_enable_extensions = ["deflist"]
exclude_patterns = ["_build", "adr/0000-template.md"]
autodoc_member_order = "bysource"
