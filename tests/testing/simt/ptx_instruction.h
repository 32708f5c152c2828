// One instruction of PTX, and how its text is read. What is not known here is
// an error, never a guess: approximate arithmetic has no one answer, and flushed
// subnormals are not what our kernels are built with.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace banyan::simt::ptx {

enum class Opcode : uint8_t {
  kAbs,
  kAdd,
  kAnd,
  kAtom,
  kBar,
  kBarrier,
  kBfe,
  kBfi,
  kBra,
  kBrev,
  kClz,
  kCp,
  kCvt,
  kCvta,
  kDiv,
  kExit,
  kFence,
  kFma,
  kLd,
  kLop3,
  kMad,
  kMax,
  kMembar,
  kMin,
  kMov,
  kMul,
  kNeg,
  kNot,
  kOr,
  kPopc,
  kPrmt,
  kRcp,
  kRed,
  kRedux,
  kRem,
  kRet,
  kSelp,
  kSetp,
  kShf,
  kShfl,
  kShl,
  kShr,
  kSqrt,
  kSt,
  kSub,
  kVote,
  kXor,
};

// The other parts of an instruction's name, as in shfl.sync.bfly.
enum class Word : uint8_t {
  kAdd,
  kAll,
  kAnd,
  kAny,
  kAsync,
  kBallot,
  kBfly,
  kCa,
  kCas,
  kCg,
  kClamp,
  kCommitGroup,
  kCta,
  kDown,
  kEq,
  kEqu,
  kExch,
  kGe,
  kGeu,
  kGpu,
  kGt,
  kGtu,
  kHi,
  kHs,
  kIdx,
  kL,
  kLe,
  kLeu,
  kLo,
  kLs,
  kLt,
  kLtu,
  kMax,
  kMin,
  kNan,
  kNc,
  kNe,
  kNeu,
  kNum,
  kOr,
  kR,
  kRelaxed,
  kRmi,
  kRn,
  kRni,
  kRpi,
  kRzi,
  kSat,
  kSync,
  kTo,
  kUni,
  kUp,
  kVolatile,
  kWaitAll,
  kWaitGroup,
  kWarp,
  kWide,
  kWrap,
  kXor,
  kL2Prefetch,  // The last.
};

enum class Kind : uint8_t { kBits, kUnsigned, kSigned, kFloat, kPredicate };

struct Type {
  Kind kind = Kind::kBits;
  unsigned bits = 32;
};

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kParam };

enum class Special : uint8_t {
  kTidX,
  kTidY,
  kTidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLaneId,
};

struct Operand {
  enum class Form : uint8_t {
    kRegister,
    kImmediate,
    kSpecial,
    kVector,
    kMemory
  };
  Form form = Form::kImmediate;
  Special special = Special::kTidX;
  // Of the register; of kMemory, -1 for none; of kVector, of its first item.
  int index = -1;
  // Of kImmediate; of kMemory, what is added; of kVector, how many items.
  uint64_t value = 0;
};

struct Instruction {
  Opcode opcode = Opcode::kRet;
  uint64_t words = 0;  // A bit for each.
  Type type;
  Type source_type;  // Of kCvt.
  Space space = Space::kGeneric;
  unsigned vector_size = 1;
  absl::InlinedVector<Operand, 5> operands;
  std::vector<Operand> items;  // Of operands that are vectors.
  int predicate = -1;          // A register, or -1.
  bool is_predicate_negated = false;
  int target = -1;  // Of kBra.
  int line = 0;
  std::string name;  // As written.

  bool Has(Word word) const {
    return (words >> static_cast<unsigned>(word) & 1) != 0;
  }
};

// "f32" and so on; bits is 0 if it is none.
Type ParseType(absl::string_view text);

// "ld.global.v4.b32": all but operands and predicate.
absl::StatusOr<Instruction> ParseName(absl::string_view name);

// Splits at commas, and at the bar of "d|p", outside of brackets.
std::vector<std::string> SplitOperands(absl::string_view text);

// What an operand's names stand for.
struct Names {
  std::function<int(absl::string_view)> register_of;
  // Whether it is the name of an array or a parameter, and where that lies.
  std::function<bool(absl::string_view, uint64_t*)> find_symbol;
};

// Adds to the operands, and to the items.
absl::Status ParseOperand(absl::string_view text, const Names& names,
                          Instruction* instruction);

}  // namespace banyan::simt::ptx
