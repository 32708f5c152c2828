#include "tests/testing/simt/ptx_machine.h"

#include <array>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "tests/testing/simt/kernel_calls.h"
#include "tests/testing/simt/ptx_arithmetic.h"

namespace banyan::simt::ptx {
namespace {

constexpr size_t kInputsMax = 4;

uint64_t& Executed() {
  static uint64_t count = 0;
  return count;
}

// The registers of each thread of a block. They outlive the threads, which may
// be abandoned.
using RegisterFiles = std::vector<std::vector<uint64_t>>;

struct Context {
  const Kernel* kernel;
  const std::byte* parameters;
  unsigned shared_bytes;
  RegisterFiles registers;
};

// One thread. It owns nothing, see Executor::Fail.
class Machine {
 public:
  explicit Machine(Context& context)
      : kernel_(*context.kernel),
        parameters_(context.parameters),
        shared_bytes_(context.shared_bytes) {
    auto& registers = context.registers[executor_.thread().number];
    registers.assign(static_cast<size_t>(kernel_.registers), 0);
    registers_ = registers.data();
    if (kernel_.has_dynamic_shared) {
      shared_ = executor_.DynamicShared();
    } else if (shared_bytes_ != 0) {
      shared_ = executor_.SharedArray(&kernel_, shared_bytes_, 1024);
    }
  }

  void Run() {
    size_t at = 0;
    while (at < kernel_.code.size()) {
      const Instruction& i = kernel_.code[at++];
      ++Executed();
      if (i.predicate >= 0 &&
          (Register(i.predicate) != 0) == i.is_predicate_negated) {
        continue;
      }
      if (i.opcode == Opcode::kRet || i.opcode == Opcode::kExit) return;
      if (i.opcode == Opcode::kBra) {
        at = static_cast<size_t>(i.target);
      } else {
        Step(i);
      }
    }
  }

 private:
  void Step(const Instruction& i) {
    switch (i.opcode) {
      case Opcode::kLd:
        return Load(i);
      case Opcode::kSt:
        return Store(i);
      case Opcode::kMov:
        return Move(i);
      case Opcode::kCvta:
        return ConvertAddress(i);
      case Opcode::kSetp:
        return SetPredicate(i);
      case Opcode::kCvt:
        return ConvertValue(i);
      case Opcode::kBar:
      case Opcode::kBarrier:
        return MeetBarrier(i);
      case Opcode::kShfl:
        return ShuffleLanes(i);
      case Opcode::kVote:
        return VoteLanes(i);
      case Opcode::kRedux:
        return ReduceLanes(i);
      case Opcode::kAtom:
      case Opcode::kRed:
        return UpdateAtomically(i);
      case Opcode::kCp:
        return CopyAsynchronously(i);
      case Opcode::kMembar:
      case Opcode::kFence:
        return;  // The executor has one order of accesses.
      default:
        return CalculateResult(i);
    }
  }

  [[noreturn]] void Fail(const Instruction& i, const char* why) const {
    executor_.Fail(
        absl::StrCat(kernel_.file, ":", i.line, ": ", i.name, ": ", why));
  }

  [[noreturn]] void FailUnknown(const Instruction& i) const {
    Fail(i, "has no one answer here, or is not known");
  }

  Site SiteOf(const Instruction& i) const {
    return {kernel_.file.c_str(), i.line};
  }
  static const void* PlaceOf(const Instruction& i) {
    return reinterpret_cast<const void*>(static_cast<intptr_t>(i.line));
  }

  uint64_t& Register(int index) const {
    return registers_[static_cast<size_t>(index)];
  }

  uint64_t ValueOf(const Operand& operand) const {
    switch (operand.form) {
      case Operand::Form::kRegister:
        return Register(operand.index);
      case Operand::Form::kSpecial:
        return SpecialValue(operand.special);
      default:
        return operand.value;
    }
  }

  uint64_t Value(const Instruction& i, size_t index) const {
    return ValueOf(i.operands.at(index));
  }

  uint32_t Word32(const Instruction& i, size_t index) const {
    return static_cast<uint32_t>(Value(i, index));
  }

  uint64_t SpecialValue(Special special) const {
    const GpuThread& thread = executor_.thread();
    const auto axis = [special](const Dim3& size, Special x) {
      const int which = static_cast<int>(special) - static_cast<int>(x);
      return which == 0 ? size.x : which == 1 ? size.y : size.z;
    };
    if (special == Special::kLaneId) return thread.lane;
    if (special >= Special::kNctaidX) {
      return axis(executor_.grid_size(), Special::kNctaidX);
    }
    if (special >= Special::kCtaidX) {
      return axis(executor_.block_index(), Special::kCtaidX);
    }
    if (special >= Special::kNtidX) {
      return axis(executor_.block_size(), Special::kNtidX);
    }
    return axis(thread.index, Special::kTidX);
  }

  void Set(const Operand& operand, uint64_t value, unsigned bits) const {
    Register(operand.index) = Low(value, bits);
  }

  void ConvertValue(const Instruction& i) const {
    uint64_t result = 0;
    if (!Convert(i, Value(i, 1), &result)) FailUnknown(i);
    Set(i.operands[0], result, i.type.bits);
  }

  void CalculateResult(const Instruction& i) const {
    std::array<uint64_t, kInputsMax> inputs{};
    const size_t count = i.operands.size() - 1;
    if (count > kInputsMax) Fail(i, "has more inputs than are known");
    for (size_t n = 0; n < count; ++n) inputs[n] = Value(i, n + 1);
    uint64_t result = 0;
    if (!Calculate(i, absl::MakeConstSpan(inputs.data(), count), &result)) {
      FailUnknown(i);
    }
    Set(i.operands[0], result, ResultBits(i));
  }

  uint64_t Address(const Operand& operand) const {
    const uint64_t base = operand.index >= 0 ? Register(operand.index) : 0;
    return base + operand.value;
  }

  std::byte* SharedAt(const Instruction& i, uint64_t address,
                      size_t bytes) const {
    const auto offset = static_cast<uint32_t>(address);
    if (offset + uint64_t{bytes} > shared_bytes_) {
      Fail(i, "outside of the kernel's shared memory");
    }
    return shared_ + offset;
  }

  // Where an access goes that the monitor has heard of.
  std::byte* Memory(const Instruction& i, const Operand& operand, size_t bytes,
                    Access access) const {
    const uint64_t address = Address(operand);
    if (address % bytes != 0) Fail(i, "misaligned address");
    auto* at = reinterpret_cast<std::byte*>(address);
    if (i.space == Space::kShared) at = SharedAt(i, address, bytes);
    if (executor_.monitor() != nullptr) {
      executor_.monitor()->Accesses(at, bytes, access, PlaceOf(i));
    }
    return at;
  }

  static const Operand& VectorItem(const Instruction& i, const Operand& vector,
                                   unsigned index) {
    return i.items.at(static_cast<size_t>(vector.index) + index);
  }
  static const Operand& Item(const Instruction& i, const Operand& operand,
                             unsigned index) {
    return i.vector_size > 1 ? VectorItem(i, operand, index) : operand;
  }

  void Load(const Instruction& i) const {
    const size_t item_bytes = i.type.bits / 8;
    const size_t bytes = item_bytes * i.vector_size;
    const std::byte* const at =
        i.space == Space::kParam
            ? Parameter(i, bytes)
            : Memory(i, i.operands[1], bytes, Access::kRead);
    for (unsigned n = 0; n < i.vector_size; ++n) {
      uint64_t value = 0;
      std::memcpy(&value, at + n * item_bytes, item_bytes);
      if (i.type.kind == Kind::kSigned) {
        value = static_cast<uint64_t>(SignedLow(value, i.type.bits));
      }
      Register(Item(i, i.operands[0], n).index) = value;
    }
  }

  const std::byte* Parameter(const Instruction& i, size_t bytes) const {
    const uint64_t offset = Address(i.operands[1]);
    if (offset + bytes > kernel_.parameter_bytes) {
      Fail(i, "outside of the parameters");
    }
    return parameters_ + offset;
  }

  void Store(const Instruction& i) const {
    const size_t item_bytes = i.type.bits / 8;
    std::byte* const at =
        Memory(i, i.operands[0], item_bytes * i.vector_size, Access::kWrite);
    for (unsigned n = 0; n < i.vector_size; ++n) {
      const uint64_t value = ValueOf(Item(i, i.operands[1], n));
      std::memcpy(at + n * item_bytes, &value, item_bytes);
    }
  }

  // Between registers, or between one and the parts of another.
  void Move(const Instruction& i) const {
    const Operand& to = i.operands[0];
    const Operand& from = i.operands[1];
    if (to.form == Operand::Form::kVector) {
      const unsigned bits = i.type.bits / static_cast<unsigned>(to.value);
      for (unsigned n = 0; n < to.value; ++n) {
        Set(VectorItem(i, to, n), ValueOf(from) >> (bits * n), bits);
      }
    } else if (from.form == Operand::Form::kVector) {
      const unsigned bits = i.type.bits / static_cast<unsigned>(from.value);
      uint64_t value = 0;
      for (unsigned n = 0; n < from.value; ++n) {
        value |= Low(ValueOf(VectorItem(i, from, n)), bits) << (bits * n);
      }
      Set(to, value, i.type.bits);
    } else {
      Set(to, ValueOf(from), i.type.bits);
    }
  }

  // Shared memory is a window of its own; generic and global addresses are one.
  void ConvertAddress(const Instruction& i) const {
    uint64_t value = Value(i, 1);
    if (i.space == Space::kShared) {
      const auto window = reinterpret_cast<uint64_t>(shared_);
      value = i.Has(Word::kTo) ? value - window : value + window;
    }
    Set(i.operands[0], value, i.type.bits);
  }

  // setp p[|q], a, b[, c]: q is the opposite, c joins by and, or, xor.
  void SetPredicate(const Instruction& i) const {
    const bool is_joined =
        i.Has(Word::kAnd) || i.Has(Word::kOr) || i.Has(Word::kXor);
    const size_t a = i.operands.size() - (is_joined ? 3 : 2);
    const auto result = Compare(i, Value(i, a), Value(i, a + 1));
    if (!result) Fail(i, "is no comparison that is known");
    const auto join = [&](bool x) {
      if (!is_joined) return x;
      const bool c = Value(i, a + 2) != 0;
      if (i.Has(Word::kAnd)) return x && c;
      return i.Has(Word::kOr) ? x || c : x != c;
    };
    const bool p = join(*result);
    const bool q = join(!*result);
    Register(i.operands[0].index) = p ? 1 : 0;
    if (a == 2) Register(i.operands[1].index) = q ? 1 : 0;
  }

  void MeetBarrier(const Instruction& i) const {
    if (!i.Has(Word::kSync)) Fail(i, "only .sync is known");
    if (i.Has(Word::kWarp)) {
      executor_.WarpOperation(WarpOp::kSync, Word32(i, 0), 0, 0, SiteOf(i));
      return;
    }
    if (i.operands.size() != 1 || Value(i, 0) != 0) {
      Fail(i, "only barrier 0 of all threads is known");
    }
    executor_.Barrier(false, SiteOf(i));
  }

  // shfl.sync.MODE.b32 d[|p], a, b, c, mask
  void ShuffleLanes(const Instruction& i) const {
    const size_t a = i.operands.size() - 4;
    const auto lane = static_cast<int>(executor_.thread().lane);
    const int b = static_cast<int>(Word32(i, a + 1) & 31);
    const int clamp = static_cast<int>(Word32(i, a + 2) & 31);
    const int segment = static_cast<int>(Word32(i, a + 2) >> 8 & 31);
    const int bound = (lane & segment) | (clamp & ~segment);
    int source = 0;
    bool is_inside = false;
    if (i.Has(Word::kUp)) {
      source = lane - b;
      is_inside = source >= bound;
    } else {
      source = i.Has(Word::kDown)   ? lane + b
               : i.Has(Word::kBfly) ? lane ^ b
                                    : (lane & segment) | (b & ~segment);
      is_inside = source <= bound;
    }
    const uint64_t result = executor_.WarpOperation(
        WarpOp::kShuffle, Word32(i, a + 3), Word32(i, a),
        static_cast<unsigned>(is_inside ? source : lane), SiteOf(i));
    Set(i.operands[0], result, 32);
    if (a == 2) Set(i.operands[1], is_inside ? 1 : 0, 1);
  }

  void VoteLanes(const Instruction& i) const {
    const uint32_t mask = Word32(i, 2);
    const uint64_t votes = executor_.WarpOperation(
        WarpOp::kBallot, mask, Value(i, 1) != 0 ? 1 : 0, 0, SiteOf(i));
    if (i.Has(Word::kBallot)) return Set(i.operands[0], votes, 32);
    if (i.Has(Word::kAny)) return Set(i.operands[0], votes != 0 ? 1 : 0, 1);
    if (i.Has(Word::kAll)) return Set(i.operands[0], votes == mask ? 1 : 0, 1);
    if (!i.Has(Word::kUni)) Fail(i, "is no vote that is known");
    Set(i.operands[0], votes == mask || votes == 0 ? 1 : 0, 1);
  }

  void ReduceLanes(const Instruction& i) const {
    const bool is_signed = i.type.kind == Kind::kSigned;
    WarpOp op = WarpOp::kXor;
    if (i.Has(Word::kAdd)) op = WarpOp::kAdd;
    if (i.Has(Word::kAnd)) op = WarpOp::kAnd;
    if (i.Has(Word::kOr)) op = WarpOp::kOr;
    if (i.Has(Word::kMin)) op = is_signed ? WarpOp::kSignedMin : WarpOp::kMin;
    if (i.Has(Word::kMax)) op = is_signed ? WarpOp::kSignedMax : WarpOp::kMax;
    const uint64_t value =
        is_signed ? static_cast<uint64_t>(SignedLow(Value(i, 1), 32))
                  : Low(Value(i, 1), 32);
    Set(i.operands[0],
        executor_.WarpOperation(op, Word32(i, 2), value, 0, SiteOf(i)), 32);
  }

  static std::optional<AtomicOp> AtomicOpOf(const Instruction& i) {
    const bool is_signed = i.type.kind == Kind::kSigned;
    if (i.type.kind == Kind::kFloat) {
      if (!i.Has(Word::kAdd) || i.type.bits != 32) return std::nullopt;
      return AtomicOp::kAddFloat;
    }
    if (i.Has(Word::kAdd)) return AtomicOp::kAdd;
    if (i.Has(Word::kMin)) {
      return is_signed ? AtomicOp::kSignedMin : AtomicOp::kMin;
    }
    if (i.Has(Word::kMax)) {
      return is_signed ? AtomicOp::kSignedMax : AtomicOp::kMax;
    }
    if (i.Has(Word::kAnd)) return AtomicOp::kAnd;
    if (i.Has(Word::kOr)) return AtomicOp::kOr;
    if (i.Has(Word::kXor)) return AtomicOp::kXor;
    if (i.Has(Word::kExch)) return AtomicOp::kExchange;
    if (i.Has(Word::kCas)) return AtomicOp::kCompareExchange;
    return std::nullopt;
  }

  // atom d, [a], b[, c] and red [a], b. Of cas, b is what is expected.
  void UpdateAtomically(const Instruction& i) const {
    const auto op = AtomicOpOf(i);
    const size_t bytes = i.type.bits / 8;
    if (!op || (bytes != 4 && bytes != 8)) Fail(i, "is not known");
    const size_t memory = i.opcode == Opcode::kAtom ? 1 : 0;
    const uint64_t address = Address(i.operands[memory]);
    auto* const at = i.space == Space::kShared
                         ? SharedAt(i, address, bytes)
                         : reinterpret_cast<std::byte*>(address);
    const bool is_exchange = *op == AtomicOp::kCompareExchange;
    const uint64_t operand =
        Low(Value(i, memory + (is_exchange ? 2 : 1)), i.type.bits);
    const uint64_t expected = Low(Value(i, memory + 1), i.type.bits);
    const uint64_t old = Atomically(*op, at, bytes, operand, expected);
    if (memory == 1) Set(i.operands[0], old, i.type.bits);
  }

  void CopyAsynchronously(const Instruction& i) const {
    if (!i.Has(Word::kAsync)) Fail(i, "only cp.async is known");
    if (i.Has(Word::kCommitGroup)) return executor_.CommitCopies();
    if (i.Has(Word::kWaitGroup)) return executor_.AwaitCopies(Value(i, 0));
    if (i.Has(Word::kWaitAll)) {
      executor_.CommitCopies();
      return executor_.AwaitCopies(0);
    }
    const uint64_t bytes = Value(i, 2);
    const uint64_t copied = i.operands.size() > 3 ? Value(i, 3) : bytes;
    const uint64_t to = Address(i.operands[0]);
    const uint64_t from = Address(i.operands[1]);
    if (bytes == 0 || to % bytes != 0 || from % bytes != 0 || copied > bytes) {
      Fail(i, "misaligned, or of no size that is known");
    }
    executor_.BeginCopy({.to = SharedAt(i, to, bytes),
                         .from = reinterpret_cast<const std::byte*>(from),
                         .bytes = bytes,
                         .zero_bytes = bytes - copied},
                        PlaceOf(i));
  }

  Executor& executor_ = Executor::Get();
  const Kernel& kernel_;
  const std::byte* const parameters_;
  const unsigned shared_bytes_;
  uint64_t* registers_ = nullptr;
  std::byte* shared_ = nullptr;
};

}  // namespace

uint64_t ExecutedInstructions() { return Executed(); }

absl::Status RunPtxBytes(const Kernel& kernel, const LaunchShape& shape,
                         absl::Span<const std::vector<std::byte>> arguments) {
  if (arguments.size() != kernel.parameters.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        kernel.name, ": wants ", kernel.parameters.size(), " arguments"));
  }
  std::vector<std::byte> parameters(kernel.parameter_bytes);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Parameter& parameter = kernel.parameters[i];
    if (parameter.bytes != arguments[i].size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          kernel.name, ": argument ", i, " has ", arguments[i].size(),
          " bytes, the parameter ", parameter.bytes));
    }
    std::memcpy(parameters.data() + parameter.offset, arguments[i].data(),
                parameter.bytes);
  }
  Context context = {&kernel, parameters.data(),
                     kernel.has_dynamic_shared
                         ? static_cast<unsigned>(shape.dynamic_shared_bytes)
                         : kernel.shared_bytes,
                     RegisterFiles(kBlockThreadsMax)};
  const Launch launch = {.name = kernel.name,
                         .grid = shape.grid,
                         .block = shape.block,
                         .dynamic_shared_bytes = shape.dynamic_shared_bytes};
  return Executor::Get().Run(
      launch, [](void* c) { Machine(*static_cast<Context*>(c)).Run(); },
      &context);
}

}  // namespace banyan::simt::ptx
