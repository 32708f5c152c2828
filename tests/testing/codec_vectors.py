#!/usr/bin/env python3
"""A second implementation of the encoded forms of layers, written from
docs/formats/codec_block.md and the pages it names, and the vectors made with it.

usage: codec_vectors.py --check   exit 1 if docs/formats/codec.json is not this
       codec_vectors.py --write   write it anew

Slow and plain on purpose. Python's standard library only.
"""

import decimal
import hashlib
import json
import math
import random
import struct
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats" / "codec.json"


# ---- Numbers ----

def f32(x):
    """The float nearest to x; arithmetic in double and then this is exact."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def fp16_bits(x):
    try:
        return struct.unpack("<H", struct.pack("<e", x))[0]
    except OverflowError:
        return 0x7C00 | (0x8000 if x < 0 else 0)


def fp16_value(bits):
    return struct.unpack("<e", struct.pack("<H", bits))[0]


def bf16_bits(x):
    bits = struct.unpack("<I", struct.pack("<f", f32(x)))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 & 0xFFFF


def bf16_value(bits):
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def fp32_bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def fp32_value(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


# Number in the head, bits of a value, value of bits, bytes. Bytes are not
# looked into: their value is their bits.
TYPES = {"fp16": (1, fp16_bits, fp16_value, 2),
         "bf16": (2, bf16_bits, bf16_value, 2),
         "fp32": (3, lambda x: fp32_bits(f32(x)), fp32_value, 4),
         "fp8": (4, lambda x: int(abs(x) * 8) & 255, lambda bits: bits / 8, 1)}


def round_half_even(x):
    return int(round(x))  # Python rounds halves to even.


def le16(bits):
    return struct.pack("<H", bits)


# ---- Runs of codes ----

def pack_run(codes, bits):
    fields = 8 // bits
    stride = -(-len(codes) // fields)
    out = bytearray(stride)
    for e, code in enumerate(codes):
        out[e % stride] |= code << bits * (e // stride)
    return bytes(out)


# ---- fp8 ----

E4M3 = sorted(
    (math.ldexp((c & 7) / 8, -6) if c >> 3 == 0 else
     math.ldexp(1 + (c & 7) / 8, (c >> 3) - 7), c) for c in range(127))


def e4m3_code(y):
    magnitude = abs(y)
    best = min(E4M3, key=lambda vc: (abs(vc[0] - magnitude), vc[1] & 1))
    negative = math.copysign(1, y) < 0
    return best[1] | (0x80 if negative else 0)


def e4m3_value(code):
    value = next(v for v, c in E4M3 if c == code & 127)
    return -value if code & 128 else value


def fp8(plane, spec, type_):
    tokens, heads = len(plane), len(plane[0])
    scales = []
    for h in range(heads):
        most = max(abs(x) for t in range(tokens) for x in plane[t][h])
        scale = f32(most / 448)
        scales.append(0.0 if scale < 2.0 ** -100 else scale)
    out = b"".join(struct.pack("<f", s) for s in scales)
    decoded = []
    for row in plane:
        decoded.append([])
        for h in range(heads):
            inverse = f32(1 / scales[h]) if scales[h] > 0 else 0.0
            codes = [e4m3_code(f32(x * inverse)) for x in row[h]]
            out += bytes(codes)
            decoded[-1].append([f32(e4m3_value(c) * scales[h]) for c in codes])
    return out, decoded


# ---- int ----

def int_parameters(values, levels):
    low, high = min(values) + 0.0, max(values) + 0.0
    minimum = fp16_bits(low)
    if fp16_value(minimum) > low:  # One step down.
        minimum += 1 if minimum & 0x8000 else -1
    m = fp16_value(minimum)
    exact = f32(f32(high - m) / levels)
    scale = fp16_bits(exact)
    if fp16_value(scale) < exact:
        scale += 1
    return scale, minimum


def int_code(x, scale, minimum):
    s, m = fp16_value(scale), fp16_value(minimum)
    inverse = f32(1 / s) if s > 0 else 0.0
    return round_half_even(f32(f32(x - m) * inverse))


def int_value(code, scale, minimum):
    return f32(f32(code * fp16_value(scale)) + fp16_value(minimum))


def int_along_dim(plane, bits, group):
    out, decoded = b"", []
    for first in range(0, len(plane), 16):
        unit = plane[first:first + 16]
        runs = [row[h][at:at + group] for row in unit for h in range(len(row))
                for at in range(0, len(row[h]), group)]
        params = [int_parameters(run, 2 ** bits - 1) for run in runs]
        codes = [[int_code(x, *p) for x in run] for run, p in zip(runs, params)]
        out += b"".join(le16(s) for s, _ in params)
        out += b"".join(le16(m) for _, m in params)
        out += b"".join(pack_run(c, bits) for c in codes)
        values = iter(zip(codes, params))
        for row in unit:
            decoded.append([])
            for head in row:
                decoded[-1].append([])
                for _ in range(0, len(head), group):
                    cs, p = next(values)
                    decoded[-1][-1] += [int_value(c, *p) for c in cs]
    return out, decoded


def int_along_tokens(plane, bits, group):
    out, decoded = b"", []
    heads, dim = len(plane[0]), len(plane[0][0])
    for first in range(0, len(plane), group):
        unit = plane[first:first + group]
        params = [[int_parameters([row[h][e] for row in unit], 2 ** bits - 1)
                   for e in range(dim)] for h in range(heads)]
        out += b"".join(le16(s) for head in params for s, _ in head)
        out += b"".join(le16(m) for head in params for _, m in head)
        for row in unit:
            decoded.append([])
            for h in range(heads):
                codes = [int_code(x, *p) for x, p in zip(row[h], params[h])]
                out += pack_run(codes, bits)
                decoded[-1].append(
                    [int_value(c, *p) for c, p in zip(codes, params[h])])
    return out, decoded


def integer(plane, spec, type_):
    along = int_along_tokens if spec["axis"] else int_along_dim
    return along(plane, spec["bits"], spec["group"])


# ---- rotlm ----

LEVELS = {2: (79.46, [36, 120]), 3: (40.9, [10, 31, 55, 88]),
          4: (38.14, [5, 15, 25, 36, 48, 62, 79, 104])}
MASK = 2 ** 64 - 1


def sign(element):
    x = (element // 64 + 1) * 0x9E3779B97F4A7C15 & MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    x ^= x >> 31
    return -1 if x >> element % 64 & 1 else 1


def parts_of(dim):
    at = 0
    while at < dim:
        part = 256
        while part > dim - at:
            part //= 2
        yield at, part
        at += part


def hadamard(x, rounded):
    x, distance = list(x), 1
    while distance < len(x):
        for i in range(len(x)):
            if not i & distance:
                a, b = x[i], x[i + distance]
                x[i], x[i + distance] = rounded(a + b), rounded(a - b)
        distance *= 2
    return x


def sum_by(count, values):
    sums = [0.0] * count
    for e, x in enumerate(values):
        sums[e % count] = f32(sums[e % count] + x)
    width = count // 2
    while width:
        for i in range(width):
            sums[i] = f32(sums[i] + sums[i + width])
        width //= 2
    return sums[0]


def sum_by_16(values):
    return sum_by(16, values)


def sum_by_4(values):
    return sum_by(4, values)


def sum_in_order(values):
    total = 0.0
    for x in values:
        total = f32(total + x)
    return total


def length_of(row):
    return f32(math.sqrt(sum_by_16(f32(x * x) for x in row)))


def pack_row(codes, bits):
    if bits == 3:
        return (pack_run([c & 3 for c in codes], 2) +
                pack_run([c >> 2 for c in codes], 1))
    return pack_run(codes, bits)


def rotlm_row(row, bits):
    """Scale, packed codes, and decoded elements before the signs."""
    unit, levels = LEVELS[bits]
    unit, count, dim = f32(unit), len(levels), len(row)
    signed = [x * sign(e) for e, x in enumerate(row)]
    length = length_of(signed)
    ratio = f32(f32(math.sqrt(dim)) / length) if length > 0 else 0.0
    codes, chosen, rotated = [], [], []
    for at, part in parts_of(dim):
        norm = f32(1 / f32(math.sqrt(part)))
        factor = f32(f32(unit * ratio) * norm)
        values = []
        for h in hadamard(signed[at:at + part], f32):
            q = f32(abs(h) * factor)
            index = sum(q > (a + b) / 2 for a, b in zip(levels, levels[1:]))
            codes.append(count - 1 - index if h < 0 else count + index)
            values.append(-levels[index] if h < 0 else levels[index])
        chosen += values
        rotated.append((at, f32(norm / 32), hadamard(values, int)))
    squares = f32(sum(v * v for v in chosen))
    scale = fp16_bits(f32(f32(length / f32(math.sqrt(squares))) * 32))
    decoded = [0.0] * dim
    for at, norm, sums in rotated:
        factor = f32(fp16_value(scale) * norm)
        for i, s in enumerate(sums):
            decoded[at + i] = f32(s * factor)
    return scale, pack_row(codes, bits), decoded


def average(columns_of, count):
    return f32(sum_in_order(columns_of) / count)


def rotate(row, rope, position, is_on):
    """One row with the rotary embedding on, or off."""
    row, half = list(row), rope["rotary_dim"] // 2
    scale = rope["attention_scale"] if is_on else 1 / rope["attention_scale"]
    for i in range(half):
        angle = position * rope["base"] ** (-2 * i / rope["rotary_dim"])
        c = f32(scale * math.cos(angle))
        s = f32((scale if is_on else -scale) * math.sin(angle))
        ia, ib = (2 * i, 2 * i + 1) if rope["pairs"] else (i, i + half)
        a, b = row[ia], row[ib]
        row[ia] = f32(f32(a * c) - f32(b * s))
        row[ib] = f32(f32(b * c) + f32(a * s))
    return row


def rotlm(plane, spec, type_):
    tokens, heads, dim = len(plane), len(plane[0]), len(plane[0][0])
    rope, position = spec.get("rope"), spec.get("position")
    prefix = b""
    coded = [[None] * heads for _ in range(tokens)]
    decoded = [[None] * heads for _ in range(tokens)]
    for h in range(heads):
        rows = [plane[t][h] for t in range(tokens)]
        if rope:
            rows = [rotate(r, rope, position + t, False)
                    for t, r in enumerate(rows)]
        means, deviations = [0.0] * dim, [1.0] * dim
        if spec["centre"] >= 1:
            bits = [fp16_bits(average((r[e] for r in rows), tokens))
                    for e in range(dim)]
            prefix += b"".join(map(le16, bits))
            means = [fp16_value(b) for b in bits]
            rows = [[f32(x - m) for x, m in zip(r, means)] for r in rows]
        if spec["centre"] == 2:
            bits = [fp16_bits(f32(math.sqrt(average(
                (f32(r[e] * r[e]) for r in rows), tokens))))
                for e in range(dim)]
            prefix += b"".join(map(le16, bits))
            deviations = [fp16_value(b) for b in bits]
            inverses = [f32(1 / d) if d > 0 else 0.0 for d in deviations]
            rows = [[f32(x * i) for x, i in zip(r, inverses)] for r in rows]
        for t, row in enumerate(rows):
            scale, packed, values = rotlm_row(row, spec["bits"])
            coded[t][h] = (scale, packed)
            values = [f32(v * (d * sign(e)))
                      for e, (v, d) in enumerate(zip(values, deviations))]
            if spec["centre"] >= 1:
                values = [f32(v + m) for v, m in zip(values, means)]
            if rope:
                values = rotate(values, rope, position + t, True)
            if type_ == "fp16":
                values = [min(max(v, -65504.0), 65504.0) for v in values]
            decoded[t][h] = values
    out = prefix
    for token in coded:
        out += b"".join(le16(scale) for scale, _ in token)
        out += b"".join(packed for _, packed in token)
    return out, decoded


# ---- lossless ----

def huffman_lengths(counts):
    if sum(c > 0 for c in counts) == 1:
        only = next(s for s, c in enumerate(counts) if c)
        counts[only ^ 1] = 1
    while True:
        leaves = sorted((c, s) for s, c in enumerate(counts) if c)
        joints, lengths = [], [0] * 256
        leaves = [(c, [s]) for c, s in leaves]
        while len(leaves) + len(joints) > 1:
            pair = []
            for _ in range(2):
                is_leaf = leaves and (not joints or
                                      leaves[0][0] <= joints[0][0])
                pair.append((leaves if is_leaf else joints).pop(0))
            members = pair[0][1] + pair[1][1]
            for symbol in members:
                lengths[symbol] += 1
            joints.append((pair[0][0] + pair[1][0], members))
        if max(lengths) <= 11:
            return lengths
        counts = [(c + 1) // 2 for c in counts]


def canonical_codes(lengths):
    """For each symbol its code, a string of 0 and 1."""
    codes, code = {}, 0
    for length in range(1, 12):
        code *= 2
        for symbol, wanted in enumerate(lengths):
            if wanted == length:
                codes[symbol] = format(code, f"0{length}b")
                code += 1
    return codes


def bit_string(bits):
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8][::-1], 2) for i in range(0, len(bits), 8))


def lossless(plane, spec, type_):
    _, bits_of, _, width = TYPES[type_]
    per_token = len(plane[0]) * len(plane[0][0])
    unit_tokens = 1
    while 2 * unit_tokens * per_token <= 32768:
        unit_tokens *= 2

    def rotated(bits):
        top = 8 * width - 1
        if width == 1:
            return bits
        return (bits << 1 | bits >> top) & (1 << 8 * width) - 1

    units = [[rotated(bits_of(x)) for row in plane[at:at + unit_tokens]
              for head in row for x in head]
             for at in range(0, len(plane), unit_tokens)]
    lengths = []
    for i in range(width):
        counts = [0] * 256
        for unit in units:
            for bits in unit:
                counts[bits >> 8 * (width - 1 - i) & 255] += 1
        lengths.append(huffman_lengths(counts))
    codes = [canonical_codes(of) for of in lengths]
    sizes, out = b"", b""
    for unit in units:
        for i in range(width):
            part = [bits >> 8 * (width - 1 - i) & 255 for bits in unit]
            quarter = -(-len(part) // 4)
            streams = [bit_string("".join(
                codes[i][s] for s in part[q * quarter:(q + 1) * quarter]))
                for q in range(4)]
            if sum(map(len, streams)) + 8 > len(part):
                sizes += bytes(8)
                out += bytes(part)
            else:
                sizes += b"".join(le16(len(s)) for s in streams)
                out += b"".join(streams)
    tables = bytes(of[s] | of[s + 1] << 4 for of in lengths
                   for s in range(0, 256, 2))
    return sizes + tables + out, plane


# ---- kvarn ----

FACTOR_MIN, FACTOR_MAX = f32(0.7408182), f32(22026.465)


def rotated(row):
    signed = [x * sign(e) for e, x in enumerate(row)]
    out = []
    for at, part in parts_of(len(row)):
        turn = f32(1 / f32(math.sqrt(part)))
        out += [f32(h * turn) for h in hadamard(signed[at:at + part], f32)]
    return out


def turned_back(row):
    out = []
    for at, part in parts_of(len(row)):
        turn = f32(1 / f32(math.sqrt(part)))
        out += [f32(h * turn) for h in hadamard(row[at:at + part], f32)]
    return [x * sign(e) for e, x in enumerate(out)]


def deviation(values, total):
    mean = f32(total(values) / len(values))
    squares = f32(total([f32(x * x) for x in values]) / len(values))
    variance = f32(squares - f32(mean * mean))
    return f32(math.sqrt(variance)) if variance > 0 else 0.0


def imbalance(deviations, factors):
    ratios = [f32(d / s) for d, s in zip(deviations, factors)]
    return f32(max(ratios) / max(min(ratios), f32(1e-8)))


def bounded(x):
    return min(x, FACTOR_MAX) if x > FACTOR_MIN else FACTOR_MIN


def kvarn_factors(rows, by_channel):
    """Of each row if groups are channels, else of each channel."""
    columns = [list(c) for c in zip(*rows)]

    def of_rows(by):
        return [deviation([f32(x * b) for x, b in zip(row, by)], sum_by_16)
                for row in rows]

    def of_columns(by):
        return [deviation([f32(x * b) for x, b in zip(column, by)],
                          sum_by_4) for column in columns]

    across, groups = of_rows, of_columns
    if not by_channel:
        across, groups = groups, across
    group_count = len(columns) if by_channel else len(rows)
    plain = across([1.0] * group_count)
    size = f32(math.sqrt(f32(
        sum_by_16([f32(d * d) for d in plain]) / len(plain)))) or 1.0
    unit = f32(1 / size)
    s = [1.0] * (len(rows) if by_channel else len(columns))
    g = [1.0] * group_count
    best, ds = s, across([unit] * group_count)
    dg = groups([unit] * len(s))
    least = f32(imbalance(ds, s) + imbalance(dg, g))
    for _ in range(16):
        s = [bounded(d) for d in ds]
        dg = groups([f32(unit / x) for x in s])
        g = [bounded(d) for d in dg]
        ds = across([f32(unit / x) for x in g])
        now = f32(imbalance(ds, s) + imbalance(dg, g))
        if now <= least:
            best, least = s, now
    return [fp16_bits(f32(x * min(size, 1024.0))) for x in best]


def kvarn_tile(rows, bits, by_channel):
    """Scales, minimums, factors, codes of rows, and decoded rows."""
    rows = [rotated(row) for row in rows]
    factors = kvarn_factors(rows, by_channel)
    inverses = [f32(1 / fp16_value(x)) if x else 0.0 for x in factors]
    tokens, dim = len(rows), len(rows[0])

    x = [[f32(rows[t][e] * inverses[t if by_channel else e])
          for e in range(dim)] for t in range(tokens)]
    groups = zip(*x) if by_channel else x
    params = [int_parameters(group, 2 ** bits - 1) for group in groups]
    codes, decoded = [], []
    for t in range(tokens):
        of = [params[e] if by_channel else params[t] for e in range(dim)]
        codes.append([int_code(v, *p) for v, p in zip(x[t], of)])
        decoded.append(turned_back([
            f32(int_value(c, *p) *
                fp16_value(factors[t] if by_channel else factors[e]))
            for e, (c, p) in enumerate(zip(codes[-1], of))]))
    return ([s for s, _ in params], [m for _, m in params], factors, codes,
            decoded)


def kvarn(plane, spec, type_):
    bits, by_channel = spec["bits"], spec["axis"] == 1
    heads, out, decoded = len(plane[0]), b"", []

    def halves(of_heads, is_of_channels):
        if not is_of_channels:  # [token, head]
            of_heads = zip(*of_heads)
        return b"".join(le16(x) for run in of_heads for x in run)

    for first in range(0, len(plane), 128):
        unit = plane[first:first + 128]
        tiles = [kvarn_tile([row[h] for row in unit], bits, by_channel)
                 for h in range(heads)]
        out += halves([tile[0] for tile in tiles], by_channel)
        out += halves([tile[1] for tile in tiles], by_channel)
        out += halves([tile[2] for tile in tiles], not by_channel)
        for t in range(len(unit)):
            out += b"".join(pack_row(tile[3][t], bits) for tile in tiles)
            row = [tile[4][t] for tile in tiles]
            if type_ == "fp16":
                row = [[min(max(v, -65504.0), 65504.0) for v in head]
                       for head in row]
            decoded.append(row)
    return out, decoded


# ---- nuq ----

def nuq(plane, spec, type_):
    tables, bits = spec["tables"], spec["bits"]
    _, bits_of, value_of, _ = TYPES[type_]
    heads, dim = len(plane[0]), len(plane[0][0])
    width = heads * dim
    rope, position = spec.get("rope"), spec.get("position")
    slots = 0 if spec["dense"] or width < 4 else width // 200 + 1
    levels = tables["levels"]
    thresholds = [f32(f32(a + b) * 0.5) for a, b in zip(levels, levels[1:])]
    if spec["qnorm"]:
        levels = [f32(f32(v * tables["scale"]) + tables["shift"])
                  for v in levels]
    out, decoded = b"", []
    for t, row in enumerate(plane):
        if rope:
            row = [rotate(head, rope, position + t, False) for head in row]
        x = [v for head in row for v in head]
        order = sorted(range(width), key=lambda i: (x[i], i))
        if spec["axis"]:
            ends = list(zip(tables["lower"], tables["upper"]))
            centres = [f32(f32(u + l) * 0.5) for l, u in ends]
            scales = [f32(f32(u - l) * 0.5) for l, u in ends]
        else:
            low, high = x[order[slots]], x[order[-1 - slots]]
            half = [fp16_bits(f32(f32(high + low) * 0.5)),
                    fp16_bits(f32(f32(high - low) * 0.5))]
            out += b"".join(map(le16, half))
            centres = [fp16_value(half[0])] * width
            scales = [fp16_value(half[1])] * width
        normal = [f32(f32(v - c) * (f32(1 / s) if s > 0 else 0.0))
                  for v, c, s in zip(x, centres, scales)]
        if spec["axis"]:
            order = sorted(range(width), key=lambda i: (normal[i], i))
            kept = [i for i in order[:slots] if normal[i] < -1]
            kept += [i for i in order[width - slots:] if normal[i] > 1]
        else:
            kept = order[:slots] + order[width - slots:]
        kept.sort()
        empty = 2 * slots - len(kept)
        elements = [bits_of(x[i]) for i in kept]
        out += b"".join(map(le16, kept)) + b"\xff\xff" * empty
        out += b"".join(map(le16, elements)) + bytes(2 * empty)
        codes = [sum(v > m for m in thresholds) for v in normal]
        values = [f32(f32(levels[code] * s) + c)
                  for code, s, c in zip(codes, scales, centres)]
        for i, e in zip(kept, elements):
            values[i] = value_of(e)
        decoded.append([])
        for h in range(heads):
            run = codes[h * dim:(h + 1) * dim]
            if bits == 3:
                out += (pack_run([c & 3 for c in run], 2) +
                        pack_run([c >> 2 for c in run], 1))
            else:
                out += pack_run(run, bits)
            head = values[h * dim:(h + 1) * dim]
            if rope:
                head = rotate(head, rope, position + t, True)
            if type_ == "fp16":
                head = [min(max(v, -65504.0), 65504.0) for v in head]
            decoded[-1].append(head)
    return out, decoded


def nuq_tables(spec, rng, heads, dim):
    """Levels and ranges that fit element() of kind normal, more or less."""
    if spec["id"] != 5:
        return None
    count = 2 ** spec["bits"]
    tables = dict(
        levels=[f32(2 * i / (count - 1) - 1 + rng.uniform(-0.3, 0.3) / count)
                for i in range(count)],
        scale=f32(rng.uniform(0.9, 1.2)), shift=f32(rng.uniform(-0.1, 0.1)),
        lower=[], upper=[])
    for c in range(heads * dim if spec["axis"] else 0):
        e, head = c % dim, c // dim
        middle = 8 if (e + head) % 13 == 0 else 0
        for ends, by in (("lower", -2), ("upper", 2)):
            tables[ends].append(fp16_value(fp16_bits(
                middle + by * (1 + e % 5) * rng.uniform(0.7, 1.3))))
    return tables


def cold_tables(spec, rng, heads, dim):
    """Bases that are not far from none at all."""
    def half(x):
        return fp16_value(fp16_bits(x))
    return dict(
        bits=64 * spec["bits"] + rng.randrange(-16, 16),
        means=[half(rng.uniform(-2, 9)) for _ in range(heads * dim)],
        basis=[[[half((i == j) + rng.uniform(-0.1, 0.1)) for j in range(dim)]
                for i in range(dim)] for _ in range(heads)])


def plane_tables(spec, rng, heads, dim):
    of = cold_tables if spec["weighted"] else nuq_tables
    return of(spec, rng, heads, dim)


def inverted(matrix):
    """By Gauss and Jordan, the largest number of a column as pivot."""
    rows, size, swaps = [list(map(float, r)) for r in matrix], len(matrix), []
    for step in range(size):
        pivot = max(range(step, size), key=lambda i: (abs(rows[i][step]), -i))
        swaps.append(pivot)
        rows[step], rows[pivot] = rows[pivot], rows[step]
        row = rows[step]
        inverse = 1 / row[step]
        row[step] = 1.0
        rows[step] = row = [x * inverse for x in row]
        for i in range(size):
            if i != step:
                factor, rows[i][step] = rows[i][step], 0.0
                rows[i] = [x - factor * y for x, y in zip(rows[i], row)]
    for step in reversed(range(size)):
        for row in rows:
            row[step], row[swaps[step]] = row[swaps[step]], row[step]
    return [[f32(x) for x in row] for row in rows]


def table_bytes(tables):
    if tables is None:
        return b""
    if "basis" in tables:
        return le16(tables["bits"]) + b"".join(
            le16(fp16_bits(x)) for x in tables["means"] +
            [x for head in tables["basis"] for row in head for x in row])
    floats = tables["levels"] + [tables["scale"], tables["shift"]]
    return (struct.pack(f"<{len(floats)}f", *floats) +
            b"".join(le16(fp16_bits(x))
                     for x in tables["lower"] + tables["upper"]))


def calibration_head(case, specs, layers):
    out = b"BYNQ" + struct.pack("<HHII", 1, 0, layers,
                                case["heads"] * case["dim"])
    for s in specs:
        out += spec_bytes((s if wants_tables(s) else BARE | s) | dict(qnorm=0))
    has_rope = specs[0]["pre"] and wants_tables(specs[0])
    dim = case["dim"] if any(s["weighted"] for s in specs) else 0
    return (out + (rope_digest(case["rope"]) if has_rope else bytes(8)) +
            struct.pack("<II", dim, 0))


def wants_tables(spec):
    return spec["id"] == 5 or spec["weighted"]


def calibrate(case, specs):
    """Tables of the layer of the case, the digest that names them, and the
    file, which has another layer in front."""
    rng = random.Random(case["seed"])
    layers = [[plane_tables(s, rng, case["heads"], case["dim"]) for s in specs]
              for _ in range(2)]
    bodies = [b"".join(map(table_bytes, layer)) for layer in layers]
    file = calibration_head(case, specs, 2) + b"".join(bodies)
    file += hashlib.sha256(file).digest()[:16]
    digest = hashlib.sha256(
        calibration_head(case, specs, 0) + bodies[1]).digest()[:8]
    return layers[1], digest, file


# ---- cold ----

class RangeEncoder:
    def __init__(self):
        self.low, self.range, self.out = 0, 2 ** 32 - 1, bytearray()

    def put_byte(self):
        self.out.append(self.low >> 24)
        self.low = self.low << 8 & 0xFFFFFFFF

    def cut(self, first, bit):
        if bit:
            self.low += first
            self.range -= first
            if self.low >> 32:  # One more than what was written.
                self.low &= 0xFFFFFFFF
                number = int.from_bytes(self.out, "big") + 1
                self.out = bytearray(number.to_bytes(len(self.out), "big"))
        else:
            self.range = first
        while self.range < 2 ** 24:
            self.put_byte()
            self.range <<= 8

    def put(self, model, key, bit):
        fast, slow = model.get(key, (32768, 32768))
        odds = min(max((fast + slow) // 2, 32), 65504)
        self.cut((self.range >> 16) * odds, bit)
        model[key] = ((fast - (fast >> 4), slow - (slow >> 7)) if bit else
                      (fast + (65535 - fast >> 4), slow + (65535 - slow >> 7)))

    def put_even(self, bit):
        self.cut(self.range >> 1, bit)

    def finish(self):
        for _ in range(4):
            self.put_byte()
        return bytes(self.out)


def class_of(column_level, row_level):
    level = f32(f32(column_level + column_level) + row_level)
    if level < 2.0 ** -5:
        return 0
    fraction, exponent = math.frexp(level)
    return min(2 * (exponent + 4) + (fraction >= 0.75) + 1, 27)


def next_row_level(level, size):
    return f32(level + f32(f32(size - level) * 0.125))


class Numbers:
    """Numbers of one kind; rows of columns."""

    def __init__(self, coder):
        self.coder, self.model, self.row = coder, {}, 0.0

    def put(self, number, levels, column, quantizer=0):
        of = quantizer, class_of(levels[column], self.row)
        size, put = int(abs(number)), self.coder.put
        for step in range(14):
            put(self.model, (of, step), size > step)
            if size == step:
                break
        else:
            rest = size - 13
            length = rest.bit_length() - 1
            for i in range(length):
                put(self.model, i, True)
            put(self.model, length, False)
            for i in reversed(range(length)):
                self.coder.put_even(rest >> i & 1)
        if size:
            self.coder.put_even(number < 0)
        levels[column] = f32(levels[column] +
                             f32(f32(size - levels[column]) * 0.25))
        self.row = next_row_level(self.row, size)

    def costs(self, quantizer, of):
        """Of magnitudes 0 to 14, in squares of a step."""
        costs, before = [], 0.0
        for step in range(14):
            fast, slow = self.model.get(((quantizer, of), step),
                                        (32768, 32768))
            odds = min(max((fast + slow) // 2, 32), 65504)
            costs.append(f32(before + f32(BIT_WORTH * bits_of(odds))))
            if step == 0:
                before = BIT_WORTH
            before = f32(before + f32(BIT_WORTH * bits_of(65536 - odds)))
        return costs + [before]


BIT_WORTH = f32(0.08)
NEXT_STATE = ((0, 2), (2, 0), (1, 3), (3, 1))


def bits_of(odds):
    return f32(-log2((odds // 256 + 0.5) / 256))


def level_of(quantizer, magnitude):
    return magnitude - 0.5 if quantizer and magnitude else float(magnitude)


def chosen(sizes, levels, numbers, state):
    """The magnitudes of a row that are best: the path of least cost."""
    costs = {}
    paths = {state: (0.0, 0.0, ())}
    for size, level in zip(sizes, levels):
        following = {}
        for s in sorted(paths):
            cost, row, path = paths[s]
            of = s // 2, class_of(level, row)
            if of not in costs:
                costs[of] = numbers.costs(*of)
            below = math.floor(f32(size + 0.5) if s // 2 else size)
            for m in (below, below + 1, 0):
                error = f32(size - level_of(s // 2, m))
                bits = costs[of][min(m, 14)]
                if m > 13:
                    length = 2 * (m - 13).bit_length() - 1
                    bits = f32(bits + f32(BIT_WORTH * length))
                all_ = f32(cost + f32(f32(error * error) + bits))
                to = NEXT_STATE[s][m % 2]
                if to not in following or all_ < following[to][0]:
                    following[to] = (all_, next_row_level(row, m), (m, path))
        paths = following
    path = paths[min(paths, key=lambda s: (paths[s][0], s))][2]
    magnitudes = []
    while path:
        magnitudes.append(path[0])
        path = path[1]
    return magnitudes[::-1]


def add_scaled(factor, row, to):
    return [f32(y + f32(factor * x)) for x, y in zip(row, to)]


def dot(a, b):
    sums = [0.0] * 8
    for i, (x, y) in enumerate(zip(a, b)):
        sums[i % 8] = f32(sums[i % 8] + f32(x * y))
    for width in (4, 2, 1):
        for i in range(width):
            sums[i] = f32(sums[i] + sums[i + width])
    return sums[0]


def combined(factors, rows):
    total = [0.0] * len(rows[0])
    for factor, row in zip(factors, rows):
        total = add_scaled(factor, row, total)
    return total


def cosines_of(tokens):
    def entry(f, t):
        steps = (2 * t + 1) * f % (4 * tokens)
        if steps in (tokens, 3 * tokens):
            return 0.0
        return f32(math.sqrt((2.0 if f else 1.0) / tokens) *
                   math.cos(steps * math.pi / (2.0 * tokens)))
    return [[entry(f, t) for t in range(tokens)] for f in range(tokens)]


def orthonormal(vectors):
    kept = []
    for vector in vectors:
        before = f32(math.sqrt(dot(vector, vector)))
        for other in kept:
            vector = add_scaled(-dot(vector, other), other, vector)
        length = f32(math.sqrt(dot(vector, vector)))
        if length > f32(before * 2.0 ** -12):
            inverse = f32(1 / length)
            kept.append([f32(x * inverse) for x in vector])
    return kept


def basis_of(rows, most):
    products = [combined([row[c] for c in range(len(row))],
                         list(zip(*rows))) for row in rows]
    trace = squares = 0.0
    for i, row in enumerate(products):
        trace += row[i]
        for x in row:
            squares += x * x
    if not trace * trace <= most * squares:
        return []
    basis = orthonormal(products[:most])
    for _ in range(5):
        basis = orthonormal([combined(v, products) for v in basis])
    return basis


def upper_bits(x):
    return fp32_bits(x) >> 16


# Nearest to 2^(i / 32); pow of a C library may be a last digit off.
PARTS = [float((decimal.Decimal(2).ln() * i / 32).exp()) for i in range(32)]


def exact_step(exponent):
    return math.ldexp(PARTS[exponent % 32], exponent // 32)


def cold_step(exponent):
    return f32(exact_step(exponent))


def cold_exponent(x):
    return next((e for e in range(-832, 769) if exact_step(e) >= x), 768)


def log2(x):
    if x <= 0:
        return -1000
    fraction, exponent = math.frexp(x)
    z = 2 * fraction - 1
    return exponent - 1 + z * (1.34 - 0.34 * z)


def allocate(variances, budget):
    bits = [0] * len(variances)
    for _ in range(budget):
        most = max(range(len(bits)),
                   key=lambda i: (math.ldexp(variances[i], -2 * bits[i]), -i))
        if variances[most] == 0 or bits[most] == 32:
            break
        bits[most] += 1
    return sum(math.ldexp(v, -2 * b) for v, b in zip(variances, bits))


class ColdUnit:
    def __init__(self, rows):
        self.tokens, self.width = len(rows), len(rows[0])
        self.cosines = cosines_of(self.tokens)
        self.coefficients = [combined(c, rows) for c in self.cosines]
        self.rest = self.coefficients[1:]
        self.factors = []  # Norm, row of frequencies, row of channels.
        self.most = 0 if self.tokens < 8 else min(
            64, self.tokens - 1,
            self.tokens * self.width // (self.tokens + self.width))
        for vector in basis_of(self.rest, self.most) if self.most else []:
            column = combined(vector, self.rest)
            norm = fp32_value(
                upper_bits(f32(math.sqrt(dot(column, column)))) << 16)
            if norm < 2.0 ** -24:
                break
            self.factors.append((norm, vector, column))

    def columns_squared(self, rank):
        squares = [0.0] * self.width
        for row in self.rest:
            squares = [f32(s + f32(x * x)) for s, x in zip(squares, row)]
        for _, _, column in self.factors[:rank]:
            squares = [max(f32(s - f32(x * x)), 0.0)
                       for s, x in zip(squares, column)]
        return squares

    def best_rank(self, step):
        least = 2 * log2(step) - log2(12)
        rows = [dot(row, row) for row in self.rest]
        freqs, costs, factors = len(rows), {}, 0.0
        for rank in range(len(self.factors) + 1):
            if rank < 4 or rank % (2 if rank < 16 else 4) == 0:
                energy = 0.0
                for x in rows:
                    energy += x
                logs = [f32(log2(x)) for x in self.columns_squared(rank)]
                bits = factors
                for x in rows:
                    row = f32(log2(x) - log2(energy) - least)
                    sums = [0.0] * 8
                    for c, y in enumerate(logs):
                        sums[c % 8] = f32(sums[c % 8] + max(f32(y + row), 0.0))
                    for s in sums:
                        bits += s
                costs[rank] = bits
            if rank == len(self.factors):
                break
            norm, vector, _ = self.factors[rank]
            squares = f32(norm * norm)
            rows = [max(f32(r - f32(f32(squares * x) * x)), 0.0)
                    for r, x in zip(rows, vector)]
            factors += (
                freqs * max(log2(f32(squares / freqs)) - least, 0.0) +
                self.width * max(log2(f32(squares / self.width)) - least, 0.0)
                + 32)
        return min(costs, key=lambda rank: (costs[rank], rank))

    def exponent_for(self, rank, room):
        variances = [f32(x / self.tokens) for x in self.columns_squared(rank)]
        budget = max(8 * room - 4 * rank * (self.tokens + self.width), 0)
        distortion = allocate(variances, budget // self.tokens)
        if distortion == 0:
            return -832
        return cold_exponent(math.sqrt(12 * distortion / self.width))

    def encode(self, rank, exponent):
        """Bytes and decoded rows."""
        step = cold_step(exponent)
        inverse = f32(1 / step)

        def count(x, up):
            n = math.floor(f32(f32(f32(abs(x) * inverse) + 1) - f32(up)))
            if n >= 2 ** 23:
                raise OverflowError
            return -float(n) if x < 0 else float(n)

        coder = RangeEncoder()
        row_levels, levels = [0.0] * self.tokens, [0.0] * self.width
        left = [list(row) for row in self.coefficients]
        decoded = [[0.0] * self.width for _ in range(self.tokens)]
        columns, rows = Numbers(coder), Numbers(coder)
        norms = b""
        for norm, vector, column in self.factors[:rank]:
            norms += le16(upper_bits(norm))
            columns.row = rows.row = 0.0
            numbers = [count(x, 0.5) for x in column]
            for c, n in enumerate(numbers):
                columns.put(n, levels, c)
            numbers = [f32(n * step) for n in numbers]
            for f, x in enumerate(vector):
                n = count(f32(x * norm), 0.5)
                rows.put(n, row_levels, f)
                factor = f32(f32(n * step) / norm)
                left[f + 1] = add_scaled(-factor, numbers, left[f + 1])
                decoded[f + 1] = add_scaled(factor, numbers, decoded[f + 1])
        means = Numbers(coder)
        for c, x in enumerate(left[0]):
            n = count(x, 0.5)
            means.put(n, [0.0], 0)
            decoded[0][c] = f32(n * step)
        rest, levels = Numbers(coder), [0.0] * self.width
        codes, ones, state = [], ([], []), 0
        for row in left[1:]:
            sizes = [f32(abs(x) * inverse) for x in row]
            if max(sizes) >= 2 ** 23 - 1:
                raise OverflowError
            rest.row = 0.0
            codes.append([])
            for c, m in enumerate(chosen(sizes, levels, rest, state)):
                rest.put(-m if row[c] < 0 else m, levels, c, state // 2)
                codes[-1].append((m, state // 2))
                if m == 1:
                    ones[state // 2].append(sizes[c])
                state = NEXT_STATE[state][m % 2]
        shrinks = [0, 0]
        for q in (0, 1):
            total = 0.0
            for x in ones[q]:
                total += x
            if ones[q]:
                mean = total / len(ones[q]) / level_of(q, 1)
                shrinks[q] = int(min(max(math.floor(
                    (1 - mean) * 256 + 0.5), -128), 127))
        for to, row, codes_of_row in zip(decoded[1:], left[1:], codes):
            for c, (m, q) in enumerate(codes_of_row):
                level = level_of(q, m)
                if m == 1:
                    level = f32(f32((256 - shrinks[q]) / 256) * level)
                to[c] = f32(to[c] + f32(
                    math.copysign(level, -1 if row[c] < 0 else 1) * step))
        out = struct.pack("<hBbb", exponent, rank, *shrinks) + norms
        out += coder.finish()
        return out, [combined([self.cosines[f][t] for f in range(self.tokens)],
                              decoded) for t in range(self.tokens)]

    def fitted(self, room):
        end = self.exponent_for(0, room)
        for _ in range(2):
            rank = self.best_rank(cold_step(end))
            end = self.exponent_for(rank, room)
        elements = self.tokens * self.width
        below, fitting, tries, best = -833, 768, 0, None
        while fitting - below > 1:
            if tries >= 8:
                end = below + (fitting - below) // 2
            end = min(max(end, below + 1), fitting - 1)
            tries += 1
            try:
                made = self.encode(rank, end)
            except OverflowError:
                below = end
                end += 128
                continue
            size = len(made[0])
            if size <= room:
                fitting, best = end, made
                if (room - size) * 384 // elements == 0:
                    break
                end -= (room - size) * 384 // elements
            else:
                below = end
                end += 1 + (size - room) * 384 // elements
        return best if best else self.encode(0, 768)


def cold(plane, spec, type_):
    heads, dim = len(plane[0]), len(plane[0][0])
    rope, position = spec.get("rope"), spec.get("position")
    unit_tokens = 128
    while unit_tokens > 1 and unit_tokens * heads * dim > 2 ** 20:
        unit_tokens //= 2
    sizes, out, decoded = b"", b"", []
    if spec.get("tables"):
        inverses = [inverted(m) for m in spec["tables"]["basis"]]
    for first in range(0, len(plane), unit_tokens):
        unit = plane[first:first + unit_tokens]
        rows = []
        for t, row in enumerate(unit):
            if rope:
                row = [rotate(head, rope, position + first + t, False)
                       for head in row]
            rows.append([x for head in row for x in head])
        count = len(unit) * heads * dim
        tables = spec.get("tables")
        parts = tables["bits"] if tables else 64 * spec["bits"]
        room = max(count * parts // 512 - 76, count // 8 + 64)
        if tables:
            rows = [[x for h, matrix in enumerate(inverses) for x in combined(
                [f32(x - m) for x, m in zip(row[h * dim:], tables["means"][
                    h * dim:(h + 1) * dim])], matrix)] for row in rows]
        encoded, rows = ColdUnit(rows).fitted(room)
        if tables:
            rows = [[f32(x + m) for x, m in zip(
                [x for h, matrix in enumerate(tables["basis"])
                 for x in combined(row[h * dim:(h + 1) * dim], matrix)],
                tables["means"])] for row in rows]
        sizes += struct.pack("<I", len(encoded))
        out += encoded
        for t, row in enumerate(rows):
            row = [row[h * dim:(h + 1) * dim] for h in range(heads)]
            if rope:
                row = [rotate(head, rope, position + first + t, True)
                       for head in row]
            if type_ == "fp16":
                row = [[min(max(v, -65504.0), 65504.0) for v in head]
                       for head in row]
            decoded.append(row)
    return sizes + out, decoded


# ---- Layers ----

def raw(plane, spec, type_):
    return element_bytes(plane, type_), plane


CODECS = {0: raw, 1: fp8, 2: integer, 3: rotlm, 4: lossless, 5: nuq,
          6: cold, 7: kvarn}
NEW = ("lossless", "nuq4", "nuq3", "nuq2:dense", "nuq4:channel:pre",
       "nuq3:channel", "nuq2:channel:qnorm:pre", "cold4", "cold3", "cold2",
       "cold1", "cold2:pre", "cold2:weighted:pre", "cold3:weighted", "kvarn4", "kvarn3", "kvarn2", "kvarn4:channel",
       "kvarn3:channel", "kvarn2:channel")  # Have cases of their own.
SPECS = {
    "raw": dict(id=0),
    "fp8": dict(id=1, bits=8),
    "int8": dict(id=2, bits=8, group=64),
    "int4": dict(id=2, bits=4, group=64),
    "int2:g16": dict(id=2, bits=2, group=16),
    "int4:g24": dict(id=2, bits=4, group=24),
    "int4:channel": dict(id=2, bits=4, group=32, axis=1),
    "int2:channel:g8": dict(id=2, bits=2, group=8, axis=1),
    "rotlm4": dict(id=3, bits=4),
    "rotlm3": dict(id=3, bits=3),
    "rotlm2:centre": dict(id=3, bits=2, centre=1),
    "rotlm3:white": dict(id=3, bits=3, centre=2),
    "rotlm4:white:pre": dict(id=3, bits=4, centre=2, pre=1),
    "lossless": dict(id=4),
    "nuq4": dict(id=5, bits=4),
    "nuq3": dict(id=5, bits=3),
    "nuq2:dense": dict(id=5, bits=2, dense=1),
    "nuq4:channel:pre": dict(id=5, bits=4, axis=1, pre=1),
    "nuq3:channel": dict(id=5, bits=3, axis=1),
    "nuq2:channel:qnorm:pre": dict(id=5, bits=2, axis=1, qnorm=1, pre=1),
    "cold4": dict(id=6, bits=4),
    "cold3": dict(id=6, bits=3),
    "cold2": dict(id=6, bits=2),
    "cold1": dict(id=6, bits=1),
    "cold2:pre": dict(id=6, bits=2, pre=1),
    "cold2:weighted:pre": dict(id=6, bits=2, pre=1, weighted=1),
    "cold3:weighted": dict(id=6, bits=3, weighted=1),
    "kvarn4": dict(id=7, bits=4),
    "kvarn3": dict(id=7, bits=3),
    "kvarn2": dict(id=7, bits=2),
    "kvarn4:channel": dict(id=7, bits=4, axis=1),
    "kvarn3:channel": dict(id=7, bits=3, axis=1),
    "kvarn2:channel": dict(id=7, bits=2, axis=1),
}


def rope_digest(rope):
    return hashlib.sha256(
        struct.pack("<7d", rope["base"], 1, rope["attention_scale"], 32, 1, 1, 4)
        + struct.pack("<IIBB6x", rope["rotary_dim"], 0, rope["pairs"], 0)
    ).digest()[:8]


BARE = dict(axis=0, centre=0, pre=0, dense=0, qnorm=0, weighted=0)


def spec_bytes(s):
    return struct.pack("<BBBBBBH", s["id"], s.get("bits", 0), s["axis"],
                       s["centre"], s["pre"], s["dense"] + 2 * s["qnorm"] + 4 * s["weighted"],
                       s.get("group", 0))


def head_of(case, specs, sinks, calibration_digest):
    out = b"BYNC" + struct.pack("<HBBIIII", 1, TYPES[case["type"]][0], 2,
                                case["tokens"], case["heads"], case["dim"],
                                sinks)
    out += struct.pack("<Q", case["position"])
    out += b"".join(map(spec_bytes, specs))
    digest = rope_digest(case["rope"]) if "rope" in case else bytes(8)
    return out + digest + calibration_digest


def element_bytes(plane, type_):
    _, bits_of, _, width = TYPES[type_]
    return b"".join(bits_of(x).to_bytes(width, "little") for row in plane
                    for head in row for x in head)


def layer(case, planes):
    specs = [BARE | SPECS[case["keys"]], BARE | SPECS[case["values"]]]
    digest, file = bytes(8), None
    if any(map(wants_tables, specs)):
        tables, digest, file = calibrate(case, specs)
        for s, of in zip(specs, tables):
            s["tables"] = of
    sinks = min(max(case["sink"] - case["position"], 0), case["tokens"])
    encoded, decoded = head_of(case, specs, sinks, digest), b""
    for plane, spec in zip(planes, specs):
        kept, rest = plane[:sinks], plane[sinks:]
        encoded += element_bytes(kept, case["type"])
        decoded += element_bytes(kept, case["type"])
        if not rest:
            continue
        if spec["pre"]:
            spec["rope"] = case["rope"]
            spec["position"] = case["position"] + sinks
        out, values = CODECS[spec["id"]](rest, spec, case["type"])
        encoded += out
        decoded += element_bytes(values, case["type"])
    return encoded, decoded, file


def element(rng, kind, head, e):
    if kind == "normal":
        return rng.gauss(0, 1) * (1 + e % 5) + (8 if (e + head) % 13 == 0 else 0)
    if kind == "tiny":
        return rng.gauss(0, 1) * 1e-6
    if kind == "constant":
        return 1.5 * (head + 1)
    if kind == "zero":
        return 0.0
    return math.ldexp(rng.choice([-1, 1]) * (1 + rng.random()),
                      rng.randrange(-24, 15))  # "wide"


def mixed_planes(case, rng):
    """Channels that are mixtures of two, which change slowly."""
    planes = []
    for _ in range(2):
        parts = [[rng.gauss(0, 1) for _ in range(case["heads"] * case["dim"])]
                 for _ in range(2)]
        state, plane = [0.0, 0.0], []
        for _ in range(case["tokens"]):
            state = [0.7 * x + rng.gauss(0, 1) for x in state]
            row = iter([sum(s * p[c] for s, p in zip(state, parts)) +
                        rng.gauss(0, 0.1) for c in range(len(parts[0]))])
            plane.append([[next(row) for _ in range(case["dim"])]
                          for _ in range(case["heads"])])
        planes.append(plane)
    return planes


def planes_of(case):
    rng = random.Random(case["seed"])
    value_of = TYPES[case["type"]][2]
    bits_of = TYPES[case["type"]][1]
    if case["kind"] == "mixed":
        return [[[[value_of(bits_of(x)) for x in head] for head in row]
                 for row in plane] for plane in mixed_planes(case, rng)]
    return [[[[value_of(bits_of(element(rng, case["kind"], h, e)))
               for e in range(case["dim"])] for h in range(case["heads"])]
             for _ in range(case["tokens"])] for _ in range(2)]


def cases():
    number = 0
    shapes = {0: (3, 2, 8), 1: (5, 2, 24), 2: (17, 1, 64), 3: (4, 2, 48)}
    names = [name for name in SPECS if name not in NEW]
    for i, keys in enumerate(names):
        for type_ in ("fp16", "bf16"):
            values = names[(i + 3) % len(names)]
            if "pre" in values:
                values = "rotlm2:centre"
            tokens, heads, dim = shapes[SPECS[keys]["id"]]
            yield dict(keys=keys, values=values, type=type_, tokens=tokens,
                       heads=heads, dim=dim, kind="normal", sink=0,
                       position=number, seed=number)
            number += 1
    for kind in ("tiny", "constant", "zero", "wide"):
        for keys, values in (("int4", "int2:channel:g8"), ("fp8", "rotlm4"),
                             ("rotlm3:white", "int8")):
            yield dict(keys=keys, values=values, type="fp16", tokens=4,
                       heads=1, dim=40, kind=kind, sink=0, position=0,
                       seed=number)
            number += 1
    yield dict(keys="rotlm4:white:pre", values="rotlm4", type="fp16", tokens=5,
               heads=1, dim=80, kind="normal", sink=4, position=2, seed=number)
    yield dict(keys="int4", values="fp8", type="bf16", tokens=3, heads=1, dim=9,
               kind="normal", sink=200, position=0, seed=number + 1)
    number += 2
    for type_ in TYPES:
        for kind, tokens in (("normal", 7), ("wide", 5), ("constant", 4)):
            yield dict(keys="lossless", values="lossless", type=type_,
                       tokens=tokens, heads=2, dim=24, kind=kind, sink=2,
                       position=1, seed=number)
            number += 1
    yield dict(keys="lossless", values="int4", type="bf16", tokens=2, heads=1,
               dim=3, kind="normal", sink=0, position=0, seed=number)
    number += 1
    for keys, values in (("nuq4:channel:pre", "nuq4"), ("nuq3:channel", "nuq3"),
                         ("nuq2:channel:qnorm:pre", "nuq2:dense"),
                         ("nuq4", "nuq3:channel"), ("int4", "nuq4")):
        for type_ in ("fp16", "bf16"):
            for heads, dim, kind in ((2, 48, "normal"), (1, 20, "tiny"),
                                     (3, 72, "constant")):
                yield dict(keys=keys, values=values, type=type_, tokens=3,
                           heads=heads, dim=dim, kind=kind, sink=number % 3,
                           position=number % 5, seed=number)
                number += 1
    for keys, values, tokens, heads, dim, kind in (
            ("cold2:pre", "cold2", 18, 2, 24, "mixed"),
            ("cold4", "cold1", 16, 1, 40, "mixed"),
            ("cold3", "cold4", 5, 3, 8, "normal"),
            ("cold2", "cold3", 12, 1, 9, "tiny"),
            ("cold2:pre", "cold1", 9, 2, 20, "constant"),
            ("cold1", "cold2", 8, 1, 24, "wide"),
            ("cold3", "int4", 130, 1, 4, "mixed"),
            ("cold4", "cold2", 1, 1, 20, "normal")):
        for type_ in ("fp16", "bf16"):
            yield dict(keys=keys, values=values, type=type_, tokens=tokens,
                       heads=heads, dim=dim, kind=kind, sink=number % 3,
                       position=number % 2, seed=number)
            number += 1
    for keys, values, tokens, heads, dim, kind in (
            ("cold2:weighted:pre", "cold3:weighted", 17, 2, 20, "mixed"),
            ("cold3:weighted", "raw", 9, 3, 8, "normal"),
            ("int4", "cold3:weighted", 4, 1, 20, "tiny")):
        for type_ in ("fp16", "bf16"):
            yield dict(keys=keys, values=values, type=type_, tokens=tokens,
                       heads=heads, dim=dim, kind=kind, sink=number % 3,
                       position=number % 2, seed=number)
            number += 1
    for keys, values, tokens, heads, dim, kind in (
            ("kvarn4:channel", "kvarn4", 9, 2, 24, "normal"),
            ("kvarn4:channel", "kvarn2", 12, 1, 40, "mixed"),
            ("kvarn3:channel", "kvarn3", 7, 3, 9, "normal"),
            ("kvarn2:channel", "kvarn4", 5, 1, 32, "wide"),
            ("kvarn4", "kvarn2:channel", 6, 2, 20, "constant"),
            ("kvarn4:channel", "kvarn3", 4, 1, 17, "tiny"),
            ("kvarn2", "int4", 130, 1, 6, "mixed"),
            ("kvarn3:channel", "kvarn2", 2, 1, 8, "zero"),
            ("kvarn4:channel", "kvarn4", 1, 1, 20, "normal")):
        for type_ in ("fp16", "bf16"):
            yield dict(keys=keys, values=values, type=type_, tokens=tokens,
                       heads=heads, dim=dim, kind=kind, sink=number % 3,
                       position=number % 2, seed=number)
            number += 1


ROPE = dict(base=500000, pairs=0, attention_scale=1)


def with_rope(case, index):
    if "pre" not in case["keys"]:
        return case
    return case | dict(rope=ROPE | dict(
        rotary_dim=case["dim"] - 16 * (index % 2), pairs=index % 2,
        attention_scale=1.25 if index % 2 else 1))


def make():
    vectors = []
    for index, case in enumerate(cases()):
        case = with_rope(case, index)
        planes = planes_of(case)
        encoded, decoded, calibration = layer(case, planes)
        source = b"".join(element_bytes(p, case["type"]) for p in planes)
        vectors.append(
            {k: v for k, v in case.items() if k not in ("kind", "seed")} |
            dict(layer=source.hex(), encoded=encoded.hex(),
                 decoded=decoded.hex()))
        if calibration is not None:
            vectors[-1]["calibration"] = calibration.hex()
    return {"page": "docs/formats/codec_block.md", "vectors": vectors}


def main():
    text = json.dumps(make(), indent=1) + "\n"
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if sys.argv[1:] != ["--check"]:
        print(__doc__, file=sys.stderr)
        return 2
    is_same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
    print(f"{PAGE.name}: {'as written here' if is_same else 'out of date'}")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
