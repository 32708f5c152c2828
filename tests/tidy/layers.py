#!/usr/bin/env python3
"""Checks what compilers cannot: who includes whom, and that paths are true.

- Each folder includes only the folders below it, and each foreign library
  only where it has its border (the tables below).
- Paths in Markdown pages, and pages named in comments of sources, exist.
- Tests lie where the build finds them.

Looks at files that git tracks or would track. Prints one finding a line;
exits with 1 if there is any. Python's standard library only.
"""

import posixpath
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Folder -> folders of ours it may include. The longest matching name counts.
MAY_INCLUDE = {
    "base": ["base"],
    "kernels": ["base", "kernels"],
    "tiers": ["base", "kernels", "tiers"],
    "client": ["base", "proto", "kernels/codec", "client"],
    "client/ctl": [
        "base", "proto", "kernels/codec", "kernels/dense", "client",
        "tiers/placement", "tiers/ssd/verify", "tiers/io/file"
    ],
    "cache_server": [
        "base", "proto", "kernels", "tiers", "client", "cache_server"
    ],
    "cache_server/engine": [
        "base", "kernels", "tiers", "cache_server/engine",
        "cache_server/index", "cache_server/lease", "cache_server/runtime"
    ],
    "cache_server/index": ["base", "tiers/placement", "cache_server/index"],
    "cache_server/lease": ["base", "tiers", "cache_server/lease"],
    "cache_server/runtime": ["base", "cache_server/runtime"],
    "cache_server/transfer": [
        "base", "tiers", "client/transport/shm_channel",
        "client/transport/shm_layer_messages",
        "client/transport/shm_messages", "client/transport/shm_peer",
        "client/transport/ucx_link", "client/transport/ucx_messages",
        "client/transport/ucx_worker",
        "cache_server/engine", "cache_server/lease", "cache_server/runtime",
        "cache_server/transfer"
    ],
    "tests": [
        "base", "proto", "kernels", "tiers", "client", "cache_server", "tests"
    ],
}

# Start of a foreign header's name -> where it may be included. Standard
# headers and Abseil are not listed: they go everywhere.
RPC_BORDER = [
    "cache_server/service", "cache_server/server", "client/cpp",
    "client/transport", "client/ctl", "tests"
]
UCX_BORDER = ["client/transport", "cache_server/transfer", "tests"]
FOREIGN = {
    "grpc": RPC_BORDER,
    "google/": RPC_BORDER,
    "banyan/v1/": RPC_BORDER,
    "openssl/": ["base", "tests"],
    "xxh": ["base", "tests"],
    "zstd": ["client", "cache_server", "tests"],
    "nlohmann/": ["client", "cache_server", "tests"],
    "spdlog/": ["client", "cache_server", "tests"],
    "yaml-cpp/": ["client", "cache_server", "tests"],
    "CLI/": ["client", "cache_server", "tests"],
    "rocksdb/": ["tiers/ssd", "tests"],
    "liburing": ["tiers/io"],
    "hwy/": ["kernels", "tests"],
    "ucp/": UCX_BORDER,
    "ucs/": UCX_BORDER,
    "ucm/": UCX_BORDER,
    "cuda": ["kernels", "tests"],
    "gtest/": ["tests"],
    "gmock/": ["tests"],
}

SOURCES = (".h", ".cc", ".cu", ".cuh", ".proto")
TEST_FOLDERS = ("tests/unit/", "tests/integration/", "tests/fault/")

# Names at the root that count as a path even before they exist.
TOP_FOLDERS = set(MAY_INCLUDE) | {"proto", "docs", "helm"}
PAGE_ENDINGS = (
    ".cc", ".cu", ".cuh", ".h", ".json", ".md", ".proto", ".py", ".txt"
)

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
PAGE_IN_COMMENT = re.compile(r"\bdocs/[\w./-]*\w\.(?:md|json)\b")
CODE_SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def listed_files():
    out = subprocess.run(
        ["git", "ls-files", "-co", "-z", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = set(out.split("\0")) - {""}
    return sorted(name for name in names if (ROOT / name).is_file())


def lies_in(path, folder):
    """True for files of the folder, and for files named like folder*."""
    return path.startswith(folder + "/") or path.startswith(folder + ".") or (
        folder == "cache_server/server" and path.startswith(folder))


def check_own(path, name):
    folders = [f for f in MAY_INCLUDE if lies_in(path, f)]
    if not folders:
        return f'{path}: lies in no known folder'
    folder = max(folders, key=len)
    if any(lies_in(name, allowed) for allowed in MAY_INCLUDE[folder]):
        return None
    return f'{path}: {folder} may not include "{name}"'


def check_include(path, name, is_quoted):
    for start, allowed in FOREIGN.items():
        if name.startswith(start):
            if any(lies_in(path, folder) for folder in allowed):
                return None
            return f"{path}: {name} belongs into {', '.join(allowed)} only"
    if not is_quoted or name.startswith("absl/"):
        return None
    if "/" not in name or name.startswith("."):
        return f'{path}: "{name}" is no path from the repository root'
    return check_own(path, name)


def check_source(path, text, known):
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            finding = check_include(path, match[1] or match[2],
                                    match[1] is not None)
            if finding:
                yield finding
        for page in PAGE_IN_COMMENT.findall(line):
            if page not in known:
                yield f"{path}:{number}: {page} does not exist"


def without_fences(text):
    """The lines outside fenced blocks, with their numbers."""
    is_fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_fenced = not is_fenced
        elif not is_fenced:
            yield number, line


def looks_like_path(span, folder, known):
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span):
        return False
    if span.endswith(PAGE_ENDINGS) and not span.startswith("."):
        return True
    top = span.split("/")[0]
    return "/" in span and (top in TOP_FOLDERS or
                            posixpath.join(folder, top) in known)


def check_page(path, text, known):
    folder = posixpath.dirname(path)
    for number, line in without_fences(text):
        for span in CODE_SPAN.findall(line):
            places = {posixpath.normpath(span),
                      posixpath.normpath(posixpath.join(folder, span))}
            if looks_like_path(span, folder, known) and not places & known:
                yield f"{path}:{number}: `{span}` does not exist"
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:|#", target):
                continue
            name = posixpath.normpath(
                posixpath.join(folder, target.split("#")[0]))
            if name not in known:
                yield f"{path}:{number}: link to {target} leads nowhere"


def findings(files):
    known = set(files)
    for path in files:
        known.update(str(p) for p in Path(path).parents)
    for path in files:
        is_page = path.endswith(".md") and path != "CHANGELOG.md"
        if path.endswith("_test.cc") and not path.startswith(TEST_FOLDERS):
            yield f"{path}: tests lie below {', '.join(TEST_FOLDERS)}"
        if is_page or path.endswith(SOURCES):
            text = (ROOT / path).read_text(encoding="utf-8")
            check = check_page if is_page else check_source
            yield from check(path, text, known)


def main():
    files = listed_files()
    found = list(findings(files))
    for finding in found:
        print(finding)
    print(f"{len(files)} files, {len(found)} findings")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
