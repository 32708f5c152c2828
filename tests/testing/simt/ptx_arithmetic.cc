#include "tests/testing/simt/ptx_arithmetic.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "tests/testing/simt/cuda/cuda_fp16.h"

namespace banyan::simt::ptx {
namespace {

using Inputs = absl::Span<const uint64_t>;

float AsFloat(uint64_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits));
}
double AsDouble(uint64_t bits) { return std::bit_cast<double>(bits); }
uint64_t Bits(float value) { return std::bit_cast<uint32_t>(value); }
uint64_t Bits(double value) { return std::bit_cast<uint64_t>(value); }

// Of min and max, -0 is the smaller; a NaN gives way.
template <class Float>
Float MinMax(bool is_min, Float a, Float b) {
  if (a == 0 && b == 0) return is_min == std::signbit(a) ? a : b;
  return is_min ? std::fmin(a, b) : std::fmax(a, b);
}

template <class Float>
std::optional<Float> CalculateFloat(const Instruction& i, Float a, Float b,
                                    Float c) {
  switch (i.opcode) {
    case Opcode::kAdd:
      return a + b;
    case Opcode::kSub:
      return a - b;
    case Opcode::kMul:
      return a * b;
    case Opcode::kDiv:
      if (!i.Has(Word::kRn)) return std::nullopt;
      return a / b;
    case Opcode::kMin:
    case Opcode::kMax:
      return MinMax(i.opcode == Opcode::kMin, a, b);
    case Opcode::kFma:
    case Opcode::kMad:
      return std::fma(a, b, c);
    case Opcode::kAbs:
      return std::fabs(a);
    case Opcode::kNeg:
      return -a;
    case Opcode::kSqrt:
      if (!i.Has(Word::kRn)) return std::nullopt;
      return std::sqrt(a);
    case Opcode::kRcp:
      if (!i.Has(Word::kRn)) return std::nullopt;
      return Float{1} / a;
    default:
      return std::nullopt;
  }
}

uint64_t Input(Inputs inputs, size_t index) {
  return index < inputs.size() ? inputs[index] : 0;
}

std::optional<uint64_t> CalculateFloats(const Instruction& i, Inputs in) {
  if (i.type.bits == 32) {
    const auto result = CalculateFloat<float>(
        i, AsFloat(Input(in, 0)), AsFloat(Input(in, 1)), AsFloat(Input(in, 2)));
    if (result) return Bits(*result);
  }
  if (i.type.bits == 64) {
    const auto result =
        CalculateFloat<double>(i, AsDouble(Input(in, 0)),
                               AsDouble(Input(in, 1)), AsDouble(Input(in, 2)));
    if (result) return Bits(*result);
  }
  return std::nullopt;
}

uint64_t Multiply(const Instruction& i, uint64_t a, uint64_t b) {
  const unsigned bits = i.type.bits;
  const bool is_signed = i.type.kind == Kind::kSigned;
  if (!i.Has(Word::kHi)) {
    if (!i.Has(Word::kWide) || !is_signed) return Low(a, bits) * Low(b, bits);
    return static_cast<uint64_t>(SignedLow(a, bits) * SignedLow(b, bits));
  }
  if (is_signed) {
    const __int128 product = __int128{SignedLow(a, bits)} * SignedLow(b, bits);
    return static_cast<uint64_t>(product >> bits);
  }
  using Wide = unsigned __int128;
  return static_cast<uint64_t>(Wide{Low(a, bits)} * Low(b, bits) >> bits);
}

std::optional<uint64_t> Divide(const Instruction& i, uint64_t a, uint64_t b) {
  const unsigned bits = i.type.bits;
  if (Low(b, bits) == 0) return std::nullopt;
  const bool is_quotient = i.opcode == Opcode::kDiv;
  if (i.type.kind == Kind::kSigned) {
    const int64_t x = SignedLow(a, bits);
    const int64_t y = SignedLow(b, bits);
    if (y == -1) return is_quotient ? 0 - static_cast<uint64_t>(x) : 0;
    return static_cast<uint64_t>(is_quotient ? x / y : x % y);
  }
  return is_quotient ? Low(a, bits) / Low(b, bits)
                     : Low(a, bits) % Low(b, bits);
}

uint64_t MinMaxOfIntegers(const Instruction& i, uint64_t a, uint64_t b) {
  const unsigned bits = i.type.bits;
  const bool is_less = i.type.kind == Kind::kSigned
                           ? SignedLow(a, bits) < SignedLow(b, bits)
                           : Low(a, bits) < Low(b, bits);
  return is_less == (i.opcode == Opcode::kMin) ? a : b;
}

uint64_t ShiftRight(const Type& type, uint64_t value, uint64_t by) {
  const auto count = static_cast<unsigned>(
      std::min<uint64_t>(static_cast<uint32_t>(by), type.bits));
  if (type.kind == Kind::kSigned) {
    return static_cast<uint64_t>(SignedLow(value, type.bits) >>
                                 std::min(count, type.bits - 1));
  }
  return count >= type.bits ? 0 : Low(value, type.bits) >> count;
}

uint64_t ShiftLeft(const Type& type, uint64_t value, uint64_t by) {
  const auto count = static_cast<uint32_t>(by);
  return count >= type.bits ? 0 : value << count;
}

// 32 of the 64 bits of b:a, after a shift.
uint64_t FunnelShift(const Instruction& i, uint64_t a, uint64_t b,
                     uint64_t by) {
  const uint64_t both = Low(b, 32) << 32 | Low(a, 32);
  const uint64_t count =
      i.Has(Word::kWrap) ? by & 31 : std::min<uint64_t>(Low(by, 32), 32);
  if (i.Has(Word::kL)) return count == 32 ? both : both << count >> 32;
  return both >> count;
}

uint64_t ReverseBits(uint64_t value, unsigned bits) {
  uint64_t reversed = 0;
  for (unsigned i = 0; i < bits; ++i) {
    reversed |= (value >> i & 1) << (bits - 1 - i);
  }
  return reversed;
}

// As the manual has it: bits beyond the value repeat the last one of a signed
// field, and are 0 else.
uint64_t ExtractField(const Type& type, uint64_t value, uint64_t position,
                      uint64_t length) {
  const auto first = static_cast<unsigned>(position & 0xff);
  const auto count = static_cast<unsigned>(length & 0xff);
  if (count == 0) return 0;
  const uint64_t shifted = ShiftRight(type, value, first);
  if (type.kind != Kind::kSigned) return Low(shifted, count);
  return static_cast<uint64_t>(SignedLow(shifted, std::min(count, 64u)));
}

uint64_t InsertField(const Type& type, uint64_t field, uint64_t into,
                     uint64_t position, uint64_t length) {
  const uint64_t first = position & 0xff;
  if (first >= type.bits) return into;
  const uint64_t mask = Low(~uint64_t{0}, static_cast<unsigned>(length & 0xff))
                        << first;
  return (into & ~mask) | (field << first & mask);
}

// Bits of the table in[3], each by one bit of the other three.
uint64_t LookUp(Inputs in) {
  const auto where = [](uint64_t bits, bool is_set) {
    return is_set ? bits : ~bits;
  };
  uint64_t result = 0;
  for (unsigned index = 0; index < 8; ++index) {
    if ((in[3] >> index & 1) == 0) continue;
    result |= where(in[0], (index & 4) != 0) & where(in[1], (index & 2) != 0) &
              where(in[2], (index & 1) != 0);
  }
  return result;
}

// Four bytes picked from the eight of b:a; the high bit of a selector spreads
// the sign instead.
uint64_t Permute(uint64_t a, uint64_t b, uint64_t selectors) {
  const uint64_t both = Low(b, 32) << 32 | Low(a, 32);
  uint64_t result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const uint64_t selector = selectors >> (4 * i) & 15;
    uint64_t byte = both >> (8 * (selector & 7)) & 0xff;
    if ((selector & 8) != 0) byte = (byte & 0x80) != 0 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}

uint64_t Magnitude(const Type& type, uint64_t value) {
  const int64_t number = SignedLow(value, type.bits);
  return number < 0 ? 0 - static_cast<uint64_t>(number)
                    : static_cast<uint64_t>(number);
}

std::optional<uint64_t> CalculateIntegers(const Instruction& i, Inputs in) {
  const unsigned bits = i.type.bits;
  const uint64_t a = Input(in, 0);
  const uint64_t b = Input(in, 1);
  switch (i.opcode) {
    case Opcode::kAbs:
      return Magnitude(i.type, a);
    case Opcode::kAdd:
      return a + b;
    case Opcode::kAnd:
      return a & b;
    case Opcode::kBfe:
      return ExtractField(i.type, a, b, Input(in, 2));
    case Opcode::kBfi:
      return InsertField(i.type, a, b, Input(in, 2), Input(in, 3));
    case Opcode::kBrev:
      return ReverseBits(a, bits);
    case Opcode::kClz:
      return static_cast<unsigned>(std::countl_zero(Low(a, bits))) -
             (64 - bits);
    case Opcode::kDiv:
    case Opcode::kRem:
      return Divide(i, a, b);
    case Opcode::kLop3:
      return LookUp(in);
    case Opcode::kMad:
      return Multiply(i, a, b) + Input(in, 2);
    case Opcode::kMax:
    case Opcode::kMin:
      return MinMaxOfIntegers(i, a, b);
    case Opcode::kMul:
      return Multiply(i, a, b);
    case Opcode::kNeg:
      return 0 - a;
    case Opcode::kNot:
      return i.type.kind == Kind::kPredicate ? a ^ 1 : ~a;
    case Opcode::kOr:
      return a | b;
    case Opcode::kPopc:
      return static_cast<uint64_t>(std::popcount(Low(a, bits)));
    case Opcode::kPrmt:
      return Permute(a, b, Input(in, 2));
    case Opcode::kSelp:
      return Input(in, 2) != 0 ? a : b;
    case Opcode::kShf:
      return FunnelShift(i, a, b, Input(in, 2));
    case Opcode::kShl:
      return ShiftLeft(i.type, a, b);
    case Opcode::kShr:
      return ShiftRight(i.type, a, b);
    case Opcode::kSub:
      return a - b;
    case Opcode::kXor:
      return a ^ b;
    default:
      return std::nullopt;
  }
}

double Rounded(const Instruction& i, double value) {
  if (i.Has(Word::kRni)) return std::nearbyint(value);
  if (i.Has(Word::kRzi)) return std::trunc(value);
  if (i.Has(Word::kRmi)) return std::floor(value);
  if (i.Has(Word::kRpi)) return std::ceil(value);
  return value;
}

std::optional<double> FloatOf(const Type& type, uint64_t value) {
  if (type.bits == 64) return AsDouble(value);
  if (type.bits == 32) return static_cast<double>(AsFloat(value));
  if (type.bits != 16) return std::nullopt;
  return static_cast<double>(
      __half2float(__ushort_as_half(static_cast<uint16_t>(value))));
}

// From a double that came from a type no wider than the result, or a float.
std::optional<uint64_t> BitsOf(const Type& type, double value, bool is_exact) {
  if (type.bits == 64) return Bits(value);
  if (type.bits == 32) return Bits(static_cast<float>(value));
  if (type.bits != 16 || !is_exact) return std::nullopt;
  return __half_as_ushort(__float2half_rn(static_cast<float>(value)));
}

uint64_t Saturated(const Type& type, double value) {
  const bool is_signed = type.kind == Kind::kSigned;
  const unsigned magnitude_bits = type.bits - (is_signed ? 1 : 0);
  const double end = std::ldexp(1.0, static_cast<int>(magnitude_bits));
  const double begin = is_signed ? -end : 0.0;
  if (std::isnan(value)) return 0;
  if (value < begin) return is_signed ? uint64_t{1} << magnitude_bits : 0;
  if (value >= end) return Low(~uint64_t{0}, magnitude_bits);
  return is_signed ? static_cast<uint64_t>(static_cast<int64_t>(value))
                   : static_cast<uint64_t>(value);
}

std::optional<uint64_t> ConvertFloat(const Instruction& i, uint64_t value) {
  const auto source = FloatOf(i.source_type, value);
  if (!source) return std::nullopt;
  const double rounded = Rounded(i, *source);
  if (i.type.kind != Kind::kFloat) return Saturated(i.type, rounded);
  double result = rounded;
  if (i.Has(Word::kSat)) {
    result = std::isnan(result) ? 0.0 : std::clamp(result, 0.0, 1.0);
  }
  return BitsOf(i.type, result, i.source_type.bits <= 32);
}

std::optional<uint64_t> ConvertAny(const Instruction& i, uint64_t value) {
  const Type& from = i.source_type;
  const uint64_t source = Low(value, from.bits);
  if (from.kind == Kind::kFloat) return ConvertFloat(i, source);
  const bool is_signed = from.kind == Kind::kSigned;
  const int64_t number = SignedLow(source, from.bits);
  if (i.type.kind == Kind::kFloat) {
    if (!i.Has(Word::kRn)) return std::nullopt;
    if (i.type.bits == 64) {
      return Bits(is_signed ? static_cast<double>(number)
                            : static_cast<double>(source));
    }
    if (i.type.bits != 32) return std::nullopt;
    return Bits(is_signed ? static_cast<float>(number)
                          : static_cast<float>(source));
  }
  if (i.Has(Word::kSat)) return std::nullopt;
  return is_signed ? static_cast<uint64_t>(number) : source;
}

}  // namespace

bool Calculate(const Instruction& instruction, Inputs inputs,
               uint64_t* result) {
  const bool is_float = instruction.type.kind == Kind::kFloat &&
                        instruction.opcode != Opcode::kSelp;
  const auto calculated = is_float ? CalculateFloats(instruction, inputs)
                                   : CalculateIntegers(instruction, inputs);
  if (!calculated) return false;
  *result = *calculated;
  return true;
}

std::optional<bool> Compare(const Instruction& i, uint64_t a, uint64_t b) {
  bool is_less = false;
  bool is_equal = false;
  bool has_nan = false;
  if (i.type.kind == Kind::kFloat) {
    const auto x = FloatOf(i.type, a);
    const auto y = FloatOf(i.type, b);
    if (!x || !y) return std::nullopt;
    is_less = *x < *y;
    is_equal = *x == *y;
    has_nan = std::isnan(*x) || std::isnan(*y);
  } else if (i.type.kind == Kind::kSigned) {
    is_less = SignedLow(a, i.type.bits) < SignedLow(b, i.type.bits);
    is_equal = Low(a, i.type.bits) == Low(b, i.type.bits);
  } else {
    is_less = Low(a, i.type.bits) < Low(b, i.type.bits);
    is_equal = Low(a, i.type.bits) == Low(b, i.type.bits);
  }
  const bool is_greater = !is_less && !is_equal && !has_nan;
  if (i.Has(Word::kNum)) return !has_nan;
  if (i.Has(Word::kNan)) return has_nan;
  if (i.Has(Word::kEq)) return is_equal;
  if (i.Has(Word::kNe)) return !is_equal && !has_nan;
  if (i.Has(Word::kLt) || i.Has(Word::kLo)) return is_less;
  if (i.Has(Word::kLe) || i.Has(Word::kLs)) return is_less || is_equal;
  if (i.Has(Word::kGt) || i.Has(Word::kHi)) return is_greater;
  if (i.Has(Word::kGe) || i.Has(Word::kHs)) return is_greater || is_equal;
  if (i.Has(Word::kEqu)) return is_equal || has_nan;
  if (i.Has(Word::kNeu)) return !is_equal;
  if (i.Has(Word::kLtu)) return is_less || has_nan;
  if (i.Has(Word::kLeu)) return !is_greater;
  if (i.Has(Word::kGtu)) return is_greater || has_nan;
  if (i.Has(Word::kGeu)) return !is_less;
  return std::nullopt;
}

bool Convert(const Instruction& i, uint64_t value, uint64_t* result) {
  const auto converted = ConvertAny(i, value);
  if (!converted) return false;
  *result = *converted;
  return true;
}

}  // namespace banyan::simt::ptx
