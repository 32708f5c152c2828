#!/usr/bin/env python3
"""Checks one build: every test is in it, and nothing trades truth for speed.

- Each *_test.cc, *_bench.cc and, in a build with fuzz targets, *_fuzz.cc of the
  tree is compiled, so that none is forgotten by a rename or a folder of its own;
  but for those that the build is said to leave out.
- No source is compiled with -ffast-math or a flag that implies it: encoded
  bytes must be the same everywhere, and NaN must stay NaN.

usage: build.py BUILD_DIRECTORY [LEFT_OUT...], below tests/. Prints one finding a line; exits with 1 if
there is any. Python's standard library only.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENDINGS = ("_test.cc", "_bench.cc")
FAST_MATH = re.compile(r"\s-(ffast-math|Ofast|funsafe-math-optimizations"
                       r"|-use_fast_math)\b")


def sources_of_the_tree(endings):
    out = subprocess.run(
        ["git", "ls-files", "-co", "-z", "--exclude-standard", "tests"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in out.split("\0")
                  if name.endswith(endings) and (ROOT / name).is_file())


def main():
    build = Path(sys.argv[1])
    commands = json.loads((build / "compile_commands.json").read_text())
    compiled = {Path(c["file"]).resolve() for c in commands}
    has_fuzzers = any(path.name.endswith("_fuzz.cc") for path in compiled)
    endings = ENDINGS + (("_fuzz.cc",) if has_fuzzers else ())
    left_out = {f"tests/{name}" for name in sys.argv[2:]}
    found = [f"{name}: not in this build"
             for name in sources_of_the_tree(endings)
             if name not in left_out and (ROOT / name).resolve() not in compiled]
    found += [f"{c['file']}: compiled with fast math"
              for c in commands if FAST_MATH.search(" " + c["command"])]
    for finding in found:
        print(finding)
    print(f"{len(commands)} sources compiled, {len(found)} findings")
    return 1 if found or not commands else 0


if __name__ == "__main__":
    sys.exit(main())
