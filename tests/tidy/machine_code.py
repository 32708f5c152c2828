#!/usr/bin/env python3
"""Judges the machine code of CUDA kernels, without a GPU or a disassembler.

  machine_code.py --budgets FILE --occupancy PROGRAM CUBIN...
      prints a line for each kernel; exits with 1 where one breaks its budget,
      keeps less than its share of an SM busy, or has none
  machine_code.py --calibrate PTXAS ARCHITECTURE...
      has ptxas assemble known instructions, and compares with what this file
      believes of their encoding

From sm_70 on an instruction has 16 bytes: bits 0 to 8 are the operation, bits
73 to 75 the width of a load or a store. NVIDIA documents none of this; hence
--calibrate, with the very ptxas that made the cubins. Registers and stack come
from the cubin's attributes. Python's standard library only.
"""

import argparse
import collections
import json
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH_BITS = {0: 8, 1: 8, 2: 16, 3: 16, 4: 32, 5: 64, 6: 128, 7: 256}
MEMORY = {0x181: "LDG", 0x186: "STG", 0x184: "LDS", 0x188: "STS",
          0x183: "LDL", 0x187: "STL"}
OTHER = {0x11D: "BAR", 0x189: "SHFL", 0x006: "VOTE", 0x1AE: "LDGSTS",
         0x108: "MUFU", 0x18C: "ATOMS", 0x1A9: "ATOMG", 0x02B: "DFMA"}
NOP = 0x118
ATTRIBUTE_REGISTERS = 0x2F
ATTRIBUTE_STACK = 0x11


class Cubin:
    """Sections of an ELF file by name."""

    def __init__(self, path):
        data = Path(path).read_bytes()
        if data[:4] != b"\x7fELF":
            sys.exit(f"{path}: no cubin")
        start, = struct.unpack_from("<Q", data, 0x28)
        size, count, names = struct.unpack_from("<HHH", data, 0x3A)
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size)
                   for i in range(count)]

        def body(header):
            return data[header[4]:header[4] + header[5]]

        table = body(headers[names])
        self.sections = {
            table[h[0]:table.index(b"\0", h[0])].decode(): body(h)
            for h in headers if h[1] != 8}  # 8: has no bytes in the file.
        self.sizes = {table[h[0]:table.index(b"\0", h[0])].decode(): h[5]
                      for h in headers}

    def symbol(self, number):
        at, = struct.unpack_from("<I", self.sections[".symtab"], 24 * number)
        names = self.sections[".strtab"]
        return names[at:names.index(b"\0", at)].decode()

    def attributes(self):
        """Kernel -> attribute -> value."""
        found = collections.defaultdict(dict)
        table, at = self.sections[".nv.info"], 0
        while at + 4 <= len(table):
            form, code, size = struct.unpack_from("<BBH", table, at)
            at += 4
            if form != 4:  # The value is in `size`.
                continue
            if size == 8:
                symbol, value = struct.unpack_from("<II", table, at)
                if code in (ATTRIBUTE_REGISTERS, ATTRIBUTE_STACK):
                    found[self.symbol(symbol)][code] = value
            at += size
        return found


def count_instructions(code):
    counts = collections.Counter()
    for at in range(0, len(code) - 15, 16):
        low, high = struct.unpack_from("<QQ", code, at)
        operation = low & 0x1FF
        counts["instructions"] += operation != NOP
        if operation in MEMORY:
            width = WIDTH_BITS[high >> 9 & 7]
            counts[f"{MEMORY[operation]}.{width}"] += 1
        elif operation in OTHER:
            counts[OTHER[operation]] += 1
    return counts


def kernels(path):
    """Name and counts of each kernel."""
    cubin = Cubin(path)
    attributes = cubin.attributes()
    for section, code in cubin.sections.items():
        if not section.startswith(".text."):
            continue
        name = section[len(".text."):]
        counts = count_instructions(code)
        counts["registers"] = attributes[name][ATTRIBUTE_REGISTERS]
        counts["stack"] = attributes[name][ATTRIBUTE_STACK]
        # From sm_90 on with the 1 KiB that the system takes of each block;
        # occupancy.cc adds it once more, so its answer is never too high.
        counts["shared"] = cubin.sizes.get(".nv.shared." + name, 0)
        counts["spills"] = sum(n for key, n in counts.items()
                               if key.startswith(("LDL.", "STL.")))
        yield name, counts


def occupancy(program, architecture, counts, budget):
    """Share of the SM's warps that the kernel's blocks fill, in percent."""
    shared = counts["shared"] + budget.get("dynamic_shared", 0)
    out = subprocess.run(
        [program, architecture, str(counts["registers"]), str(shared),
         str(budget["threads"])],
        check=True, capture_output=True, text=True).stdout
    return int(out)


def judge(name, counts, budget, percent):
    for key, limit in budget["max"].items():
        if counts[key] > limit:
            yield f"{name}: {key} is {counts[key]}, at most {limit}"
    for key, limit in budget["min"].items():
        if counts[key] < limit:
            yield f"{name}: {key} is {counts[key]}, at least {limit}"
    if percent < budget["occupancy_percent"]:
        yield (f"{name}: occupancy is {percent} %, at least "
               f"{budget['occupancy_percent']} %")


def check(budgets, occupancy_program, cubins):
    findings, used = [], set()
    for path in cubins:
        architecture = "sm_" + re.search(r"_(\d+)\.cubin$", path)[1]
        for name, counts in kernels(path):
            fitting = [p for p in budgets if re.search(p, name)]
            if len(fitting) != 1:
                findings.append(f"{name}: {len(fitting)} budgets, want 1")
                continue
            budget = budgets[fitting[0]]
            used.add((fitting[0], architecture))
            percent = occupancy(occupancy_program, architecture, counts,
                                budget)
            print(f"{architecture} {fitting[0]}: {dict(sorted(counts.items()))},"
                  f" occupancy {percent} %")
            findings += [f"{architecture} {finding}" for finding in
                         judge(name, counts, budget, percent)]
    for pattern in budgets:
        if pattern not in {p for p, _ in used}:
            findings.append(f"{pattern}: no kernel has this budget")
    return findings


PROBE = """.version 9.0
.target {architecture}
.address_size 64
.visible .entry probe(.param .u64 p) {{
  .reg .b64 %a, %q; .reg .b32 %r<40>; .reg .f32 %f<8>; .reg .f64 %d<4>;
  .reg .b16 %h<4>; .reg .pred %p<4>;
  .shared .align 16 .b8 shared_bytes[4096];
  ld.param.u64 %q, [p]; cvta.to.global.u64 %a, %q; mov.u32 %r0, %tid.x;
  mov.u32 %r9, shared_bytes; mad.lo.u32 %r9, %r0, 16, %r9;
{body}
  ret;
}}"""


def keep(*registers):
    """Stores that keep the registers' values from being optimised away."""
    return "".join(f"  st.volatile.global.u32 [%a+{512 + 4 * i}], {r};\n"
                   for i, r in enumerate(registers))


def memory_probes():
    """What is counted, PTX, how often it has to be."""
    four = "{%r1,%r2,%r3,%r4}"
    fill = "".join(f"  add.u32 %r{i}, %r0, {i};\n" for i in range(1, 5))
    for space, at, load, store in (("global", "%a", "LDG", "STG"),
                                   ("shared", "%r9", "LDS", "STS")):
        ld, st = f"  ld.volatile.{space}", f"  st.volatile.{space}"
        yield (f"{load}.16", f"{ld}.u16 %h1, [{at}];\n  cvt.u32.u16 %r1, %h1;\n"
               + keep("%r1"), 1)
        yield f"{load}.32", f"{ld}.u32 %r1, [{at}];\n" + keep("%r1"), 1
        yield (f"{load}.64", f"{ld}.v2.u32 {{%r1,%r2}}, [{at}];\n"
               + keep("%r1", "%r2"), 1)
        yield (f"{load}.128", f"{ld}.v4.u32 {four}, [{at}];\n"
               + keep("%r1", "%r2", "%r3", "%r4"), 1)
        yield f"{store}.32", f"{st}.u32 [{at}], %r0;\n", 1
        yield f"{store}.64", fill + f"{st}.v2.u32 [{at}], {{%r1,%r2}};\n", 1
        yield f"{store}.128", fill + f"{st}.v4.u32 [{at}], {four};\n", 1
    local = ("  .local .align 16 .b8 local[64];\n"
             "  and.b32 %r6, %r0, 12;\n  mov.u32 %r5, local;\n"
             "  add.u32 %r5, %r5, %r6;\n  st.local.u32 [%r5], %r0;\n"
             "  st.local.u32 [local+8], %r0;\n")
    yield "STL.32", local + "  ld.local.u32 %r1, [local+8];\n" + keep("%r1"), 2
    yield "LDL.32", local + "  ld.local.u32 %r1, [%r5];\n" + keep("%r1"), 1


def other_probes():
    yield "BAR", "  bar.sync 0;\n" * 3, 3
    yield ("SHFL", "  shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;\n"
           "  shfl.sync.bfly.b32 %r2, %r1, 2, 31, -1;\n" + keep("%r2"), 2)
    yield ("VOTE", "  setp.gt.u32 %p1, %r0, 3;\n"
           "  vote.sync.ballot.b32 %r1, %p1, -1;\n" + keep("%r1"), 1)
    yield ("LDGSTS", "  cp.async.cg.shared.global [%r9], [%a], 16;\n"
           "  cp.async.commit_group;\n  cp.async.wait_group 0;\n", 1)
    yield ("MUFU", "  cvt.rn.f32.u32 %f1, %r0;\n  ex2.approx.ftz.f32 %f2, %f1;\n"
           "  st.global.f32 [%a], %f2;\n", 1)
    yield ("DFMA", "  cvt.rn.f64.u32 %d1, %r0;\n"
           "  fma.rn.f64 %d2, %d1, %d1, %d1;\n  st.global.f64 [%a], %d2;\n", 1)
    yield ("ATOMS", "  atom.shared.add.u32 %r1, [%r9], %r0;\n" + keep("%r1"), 1)
    yield ("ATOMG", "  atom.global.cas.b32 %r1, [%a], %r0, 7;\n" + keep("%r1"), 1)


def assemble(ptxas, architecture, body, *options):
    """Counts of the probe with this body, or None if ptxas refuses."""
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = f"{folder}/probe.ptx", f"{folder}/probe.cubin"
        Path(source).write_text(
            PROBE.format(architecture=architecture, body=body))
        done = subprocess.run(
            [ptxas, "-arch", architecture, *options, "-o", cubin, source],
            capture_output=True)
        return dict(kernels(cubin))["probe"] if done.returncode == 0 else None


def calibrate(ptxas, architecture):
    probes = [*memory_probes(), *other_probes()]
    for what, body, want in probes:
        counts = assemble(ptxas, architecture, body) or {what: None}
        if counts[what] != want:
            yield f"{architecture} {what}: {counts[what]} seen, {want} written"
    # With the options of the build, local memory is an error and others pass.
    strict = ["--warn-on-spills", "--warn-on-local-memory-usage",
              "--warning-as-error"]
    for what, body, _ in probes:
        is_refused = assemble(ptxas, architecture, body, *strict) is None
        if is_refused != (what in ("STL.32", "LDL.32")):
            yield f"{architecture} {what}: is_refused is {is_refused}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--calibrate", metavar="PTXAS")
    parser.add_argument("--budgets")
    parser.add_argument("--occupancy")
    parser.add_argument("names", nargs="+")
    args = parser.parse_args()
    if args.calibrate:
        findings = [finding for architecture in args.names
                    for finding in calibrate(args.calibrate, architecture)]
    else:
        budgets = json.loads(Path(args.budgets).read_text())
        findings = check(budgets, args.occupancy, args.names)
    for finding in findings:
        print(finding)
    print(f"{len(args.names)} looked at, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
