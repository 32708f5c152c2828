#!/usr/bin/env python3
"""Runs the benches of the targets, judges them, prints a table.

Each target has an id. A bench prints {id: {value, unit, floor, goal, better,
repeats, ...}}; the same objects, of all benches together, are written with
--json. What the numbers mean: docs/benchmarks.md.

Exit: 0 every value holds its floor, 1 one does not or a bench failed, 2 usage.
Python's standard library only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

# Target id -> the program that measures it.
PROGRAMS = {
    "R1": "shm_get_bench",
    "R1z": "shm_get_bench",
    "R2": "shm_get_bench",
    "R2b": "shm_get_bench",
    "R3": "ucx_bench",
    "R4": "ucx_bench",
    "R4b": "ucx_bench",
    "R5": "grpc_get_bench",
    "R6": "ssd_bench",
    "R6b": "ssd_bench",
    "R7": "ssd_bench",
    "R7b": "ssd_bench",
    "R8": "ssd_bench",
    "R8b": "ssd_bench",
    "R9": "ssd_bench",
    "R9b": "ssd_bench",
    "R10": "match_bench",
    "R11": "small_match_bench",
    "R11s": "small_match_bench",
    "R12": "codec_bench",
    "R12s": "codec_bench",
    "R12d": "codec_bench",
    "R12v": "codec_bench",
    "R12i8": "codec_bench",
    "R12i8d": "codec_bench",
    "R12i2": "codec_bench",
    "R12i2d": "codec_bench",
    "R12c4": "codec_bench",
    "R12c4d": "codec_bench",
    "R12f8": "codec_bench",
    "R12f8d": "codec_bench",
    "R12l4": "codec_bench",
    "R12l4d": "codec_bench",
    "R12l3": "codec_bench",
    "R12l3d": "codec_bench",
    "R12l2": "codec_bench",
    "R12l2d": "codec_bench",
    "R12n4": "codec_bench",
    "R12n4d": "codec_bench",
    "R12n3": "codec_bench",
    "R12n3d": "codec_bench",
    "R12n2": "codec_bench",
    "R12n2d": "codec_bench",
    "R12z": "codec_bench",
    "R12zd": "codec_bench",
    "R12t4": "codec_bench",
    "R12t4d": "codec_bench",
    "R12t2": "codec_bench",
    "R12t2d": "codec_bench",
    "R12k3": "codec_bench",
    "R12k3d": "codec_bench",
    "R12k2": "codec_bench",
    "R12k2d": "codec_bench",
    "R13": "checksum_bench",
    "R13s": "shm_get_bench",
    "R14s": "death_bench",
    "R14h": "death_bench",
    "R14u": "ucx_bench",
    "R14v": "ucx_bench",
    "R15": "index_bench",
    "R15b": "index_bench",
    "R16": "put_bench",
    "R16s": "put_bench",
    "R16u": "ucx_bench",
    "R19": "shm_get_bench",
    "R19b": "shm_get_bench",
    "R19u": "ucx_bench",
    "R20": "small_match_bench",
    "R20u": "ucx_bench",
    "K1": "layout_bench",
    "K2": "layout_bench",
    "K3": "layout_bench",
    "L1": "layers_bench",
    "L2": "layers_bench",
    "L3": "layers_bench",
    "DUR-4": "ssd_start_bench",
    "DUR-4b": "ssd_start_bench",
    "DUR-6": "ssd_start_bench",
    "F1": "disk_fault_bench",
    "F2": "disk_fault_bench",
    "F3": "disk_fault_bench",
    "F4": "disk_fault_bench",
    "F5": "disk_fault_bench",
    "F6": "disk_fault_bench",
}
# Measured only if they are named: they need a package of Python's that is large,
# or root and network namespaces.
NAMED_PROGRAMS = {
    "R17": "peers_bench",
    "R17b": "peers_bench",
    "R18": "peers_bench",
    "R18d": "peers_bench",
    "R20m": "peers_bench",
    "N1": "network_bench.py",
    "N2": "network_bench.py",
    "N3": "network_bench.py",
    "N4": "network_bench.py",
}
ALL_PROGRAMS = PROGRAMS | NAMED_PROGRAMS
# Names for several at once.
GROUPS = {
    group: [i for i, name in NAMED_PROGRAMS.items() if name == program]
    for group, program in (("peers", "peers_bench"),
                           ("network", "network_bench.py"))}
TIMEOUT_S = 600

# What the peers bench compares with, and CUDA's runtime, which that is linked with
# also where there is no GPU.
MOONCAKE = ("mooncake-transfer-engine-non-cuda==0.3.13",
            "nvidia-cuda-runtime-cu12==12.9.79")
MOONCAKE_VENV = Path("build/peers/venv")

# With others using more than this of a core, figures on two cores say little.
QUIET_CORES = 0.12


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="dev bench", epilog="Example: ./dev bench R5 R11 --json out.json")
    parser.add_argument(
        "ids", nargs="*", metavar="ID",
        help=f"targets (default: all of these): {' '.join(PROGRAMS)}; and, only "
             f"if named: {' '.join(NAMED_PROGRAMS)}, or in groups: "
             f"{' '.join(GROUPS)}")
    parser.add_argument("--json", metavar="FILE", help="also write JSON")
    parser.add_argument("--tiny", action="store_true",
                        help="only show that the benches run")
    parser.add_argument("--bench-dir", default="build/release/bench",
                        help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true",
                        help=argparse.SUPPRESS)  # Of the arguments only.
    arguments = parser.parse_args(argv)
    ids = [i for name in arguments.ids for i in GROUPS.get(name, [name])]
    unknown = [i for i in ids if i not in ALL_PROGRAMS]
    if unknown:
        parser.error(f"no bench of {' '.join(unknown)}. "
                     f"There are: {' '.join([*ALL_PROGRAMS, *GROUPS])}")
    arguments.ids = list(dict.fromkeys(ids)) or list(PROGRAMS)
    return arguments


def is_absent(bench_dir, program):
    """True for what a build without UCX does not have."""
    folder = Path(bench_dir)
    return (program in ("ucx_bench", "peers_bench") and folder.is_dir() and
            not (folder / program).exists())


def mooncake_venv():
    """The folder of the Python that has Mooncake's package; made if it is not
    there."""
    done = MOONCAKE_VENV / "done"
    if not done.exists():
        print(f"== a Python with {' and '.join(MOONCAKE)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear",
                        str(MOONCAKE_VENV)], check=True)
        subprocess.run([str(MOONCAKE_VENV / "bin/pip"), "install", "--quiet",
                        "--disable-pip-version-check", *MOONCAKE], check=True)
        done.touch()
    return MOONCAKE_VENV.resolve()


def command_of(bench_dir, name, is_tiny):
    tiny = ["--tiny"] if is_tiny else []
    if name.endswith(".py"):
        script = Path(__file__).with_name(name)
        return [sys.executable, str(script), "--bin-dir",
                str(Path(bench_dir).parent / "bin"), *tiny]
    command = [str(Path(bench_dir) / name), *tiny]
    if name == "peers_bench" and not is_tiny:
        command += ["--mooncake", str(mooncake_venv())]
    return command


def run_program(bench_dir, name, is_tiny):
    """What the program printed, or None and a message on stderr."""
    try:
        command = command_of(bench_dir, name, is_tiny)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                              timeout=TIMEOUT_S, check=True)
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        print(f"dev bench: {name}: {error}", file=sys.stderr)
        return None


def holds(entry, bound):
    if entry["better"] == "lower":
        return entry["value"] <= entry[bound]
    return entry["value"] >= entry[bound]


def verdict(entry):
    if not holds(entry, "floor"):
        return "MISSED"
    return "goal" if holds(entry, "goal") else "ok"


def other_cores(entry):
    """Cores that other processes used during the run, or None."""
    cores = entry.get("other_cpu_cores")
    if isinstance(cores, list):
        return statistics.median(cores)
    return cores


def others(entry):
    cores = other_cores(entry)
    if cores is None:
        return ""
    return f"{cores:.2f}" + (" noisy" if cores > QUIET_CORES else "")


def print_table(results):
    row = "{:<6} {:>9} {:>9} {:>9} {:>7} {:>7}  {:<8} {:<7} {:<10} {}"
    print(row.format("ID", "VALUE", "MIN", "MAX", "FLOOR", "GOAL", "UNIT",
                     "VERDICT", "OTHERS", "WHAT"))
    for name, entry in results.items():
        print(row.format(
            name, *(f"{entry[k]:.3g}" for k in ("value", "min", "max")),
            *(f"{entry[k]:g}" for k in ("floor", "goal")), entry["unit"],
            verdict(entry), others(entry), entry["what"]))
        for side in (entry[k] for k in ("a", "b") if k in entry):
            print(f"      {side['median']:>9.4g} {side['unit']:<7} "
                  f"{side['name']}")


def main(argv):
    arguments = parse_arguments(argv)
    if arguments.check:
        return 0
    for program in {ALL_PROGRAMS[i] for i in arguments.ids}:
        if is_absent(arguments.bench_dir, program):
            print(f"dev bench: no {program}: built without UCX",
                  file=sys.stderr)
            arguments.ids = [i for i in arguments.ids
                             if ALL_PROGRAMS[i] != program]
    results = {}
    is_complete = True
    for program in dict.fromkeys(ALL_PROGRAMS[i] for i in arguments.ids):
        print(f"== {program}, load {os.getloadavg()[0]:.2f}", file=sys.stderr)
        printed = run_program(arguments.bench_dir, program, arguments.tiny)
        is_complete = is_complete and printed is not None
        results.update(printed or {})
    results = {i: results[i] for i in arguments.ids if i in results}
    print_table(results)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n",
                                        encoding="utf-8")
    if arguments.tiny:
        return 0 if is_complete else 1
    is_good = all(holds(entry, "floor") for entry in results.values())
    return 0 if is_complete and is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
