// The arithmetic of PTX on the bits of registers: exactly what the manual says,
// for the types that have one answer.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "tests/testing/simt/ptx_instruction.h"

namespace banyan::simt::ptx {

// The low `bits` bits.
constexpr uint64_t Low(uint64_t value, unsigned bits) {
  return bits >= 64 ? value : value & ((uint64_t{1} << bits) - 1);
}

// Those, extended by their sign.
constexpr int64_t SignedLow(uint64_t value, unsigned bits) {
  if (bits >= 64) return static_cast<int64_t>(value);
  return static_cast<int64_t>(value << (64 - bits)) >> (64 - bits);
}

// What an instruction that reads registers only makes of its inputs, before it
// is cut to the result's size; false if the instruction has no one answer or is
// not known. Not for comparisons and conversions. No std::optional: g++ 12 returns
// it through memory, byte by byte, which took a fifth of all time.
bool Calculate(const Instruction& instruction,
               absl::Span<const uint64_t> inputs, uint64_t* result);

// Of the result, which `wide` doubles.
inline unsigned ResultBits(const Instruction& instruction) {
  switch (instruction.opcode) {
    case Opcode::kPopc:
    case Opcode::kClz:
      return 32;
    default:
      return instruction.type.bits * (instruction.Has(Word::kWide) ? 2 : 1);
  }
}

std::optional<bool> Compare(const Instruction& instruction, uint64_t a,
                            uint64_t b);
bool Convert(const Instruction& instruction, uint64_t value, uint64_t* result);

}  // namespace banyan::simt::ptx
