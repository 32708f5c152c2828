// The arithmetic of PTX on the bits of registers: exactly what the manual says,
// for the types that have one answer.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "tests/testing/simt/ptx_instruction.h"

namespace banyan::simt::ptx {

// The low `bits` bits.
uint64_t Low(uint64_t value, unsigned bits);
// Those, extended by their sign.
int64_t SignedLow(uint64_t value, unsigned bits);

// What an instruction that reads registers only makes of its inputs, before it
// is cut to the result's size; nothing if the instruction has no one answer or
// is not known. Not for comparisons and conversions.
std::optional<uint64_t> Calculate(const Instruction& instruction,
                                  absl::Span<const uint64_t> inputs);

// Of the result, which `wide` doubles.
unsigned ResultBits(const Instruction& instruction);

std::optional<bool> Compare(const Instruction& instruction, uint64_t a,
                            uint64_t b);
std::optional<uint64_t> Convert(const Instruction& instruction, uint64_t value);

}  // namespace banyan::simt::ptx
