#!/usr/bin/env python3
"""The reference pages, docs/reference/*.md, are what the programs say.

usage: reference.py BIN_DIRECTORY [--write]. Without --write it only compares,
and exits with 1 if a page is out of date. Python's standard library only.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "reference"
HEAD = ("<!-- Written by ./dev docs from the program itself; "
        "do not edit. -->\n\n")


def help_of(program, *words):
    return subprocess.run([program, *words, "--help"], check=True,
                          capture_output=True, text=True).stdout.rstrip()


def subcommands(text):
    match = re.search(r"^Subcommands:\n((?:  .*\n?)+)", text, re.M)
    names = re.findall(r"^  (\S+)", match[1], re.M) if match else []
    return [name for name in names if not name.startswith("-")]


def commands(program, *words):
    """The words of each command, groups before what is in them."""
    text = help_of(program, *words)
    yield words, text
    for name in subcommands(text):
        yield from commands(program, *words, name)


def fenced(title, level, text):
    return f"{'#' * level} {title}\n\n```text\n{text}\n```\n"


def server_page(bin_directory):
    return HEAD + fenced("banyan-server", 1,
                         help_of(bin_directory / "banyan-server"))


def ctl_page(bin_directory):
    parts = []
    for words, text in commands(bin_directory / "banyanctl"):
        title = " ".join(("banyanctl", *words))
        parts.append(fenced(title, 1 if not words else 2, text))
    return HEAD + "\n".join(parts)


def main():
    bin_directory = Path(sys.argv[1]).resolve()
    pages = {"banyan_server.md": server_page(bin_directory),
             "banyanctl.md": ctl_page(bin_directory)}
    stale = [name for name, text in pages.items()
             if not (PAGES / name).is_file()
             or (PAGES / name).read_text() != text]
    if "--write" in sys.argv[2:]:
        PAGES.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (PAGES / name).write_text(text)
        print(f"{len(stale)} pages written anew")
        return 0
    for name in stale:
        print(f"docs/reference/{name} is out of date: run ./dev docs")
    print(f"{len(pages)} pages, {len(stale)} out of date")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
