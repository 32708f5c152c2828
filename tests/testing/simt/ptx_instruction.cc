#include "tests/testing/simt/ptx_instruction.h"

#include <cctype>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace banyan::simt::ptx {
namespace {

template <class Value>
using Table = std::map<absl::string_view, Value>;

const Table<Opcode>& Opcodes() {
  static const auto* const table = new Table<Opcode>{
      {"abs", Opcode::kAbs},       {"add", Opcode::kAdd},
      {"and", Opcode::kAnd},       {"atom", Opcode::kAtom},
      {"bar", Opcode::kBar},       {"barrier", Opcode::kBarrier},
      {"bfe", Opcode::kBfe},       {"bfi", Opcode::kBfi},
      {"bra", Opcode::kBra},       {"brev", Opcode::kBrev},
      {"clz", Opcode::kClz},       {"cp", Opcode::kCp},
      {"cvt", Opcode::kCvt},       {"cvta", Opcode::kCvta},
      {"div", Opcode::kDiv},       {"exit", Opcode::kExit},
      {"fence", Opcode::kFence},   {"fma", Opcode::kFma},
      {"ld", Opcode::kLd},         {"lop3", Opcode::kLop3},
      {"mad", Opcode::kMad},       {"max", Opcode::kMax},
      {"membar", Opcode::kMembar}, {"min", Opcode::kMin},
      {"mov", Opcode::kMov},       {"mul", Opcode::kMul},
      {"neg", Opcode::kNeg},       {"not", Opcode::kNot},
      {"or", Opcode::kOr},         {"popc", Opcode::kPopc},
      {"prmt", Opcode::kPrmt},     {"rcp", Opcode::kRcp},
      {"red", Opcode::kRed},       {"redux", Opcode::kRedux},
      {"rem", Opcode::kRem},       {"ret", Opcode::kRet},
      {"selp", Opcode::kSelp},     {"setp", Opcode::kSetp},
      {"shf", Opcode::kShf},       {"shfl", Opcode::kShfl},
      {"shl", Opcode::kShl},       {"shr", Opcode::kShr},
      {"sqrt", Opcode::kSqrt},     {"st", Opcode::kSt},
      {"sub", Opcode::kSub},       {"vote", Opcode::kVote},
      {"xor", Opcode::kXor}};
  return *table;
}

const Table<Word>& Words() {
  static const auto* const table =
      new Table<Word>{{"L2::128B", Word::kL2Prefetch},
                      {"L2::256B", Word::kL2Prefetch},
                      {"add", Word::kAdd},
                      {"all", Word::kAll},
                      {"and", Word::kAnd},
                      {"any", Word::kAny},
                      {"async", Word::kAsync},
                      {"ballot", Word::kBallot},
                      {"bfly", Word::kBfly},
                      {"ca", Word::kCa},
                      {"cas", Word::kCas},
                      {"cg", Word::kCg},
                      {"commit_group", Word::kCommitGroup},
                      {"cta", Word::kCta},
                      {"down", Word::kDown},
                      {"eq", Word::kEq},
                      {"equ", Word::kEqu},
                      {"exch", Word::kExch},
                      {"ge", Word::kGe},
                      {"geu", Word::kGeu},
                      {"gpu", Word::kGpu},
                      {"gt", Word::kGt},
                      {"gtu", Word::kGtu},
                      {"hi", Word::kHi},
                      {"hs", Word::kHs},
                      {"idx", Word::kIdx},
                      {"l", Word::kL},
                      {"le", Word::kLe},
                      {"leu", Word::kLeu},
                      {"lo", Word::kLo},
                      {"ls", Word::kLs},
                      {"lt", Word::kLt},
                      {"ltu", Word::kLtu},
                      {"max", Word::kMax},
                      {"min", Word::kMin},
                      {"nan", Word::kNan},
                      {"nc", Word::kNc},
                      {"ne", Word::kNe},
                      {"neu", Word::kNeu},
                      {"num", Word::kNum},
                      {"or", Word::kOr},
                      {"r", Word::kR},
                      {"relaxed", Word::kRelaxed},
                      {"rmi", Word::kRmi},
                      {"rn", Word::kRn},
                      {"rni", Word::kRni},
                      {"rpi", Word::kRpi},
                      {"rzi", Word::kRzi},
                      {"sat", Word::kSat},
                      {"sync", Word::kSync},
                      {"to", Word::kTo},
                      {"uni", Word::kUni},
                      {"up", Word::kUp},
                      {"volatile", Word::kVolatile},
                      {"wait_all", Word::kWaitAll},
                      {"wait_group", Word::kWaitGroup},
                      {"warp", Word::kWarp},
                      {"wide", Word::kWide},
                      {"wrap", Word::kWrap},
                      {"clamp", Word::kClamp},
                      {"xor", Word::kXor}};
  return *table;
}

const Table<Space>& Spaces() {
  static const auto* const table = new Table<Space>{{"global", Space::kGlobal},
                                                    {"shared", Space::kShared},
                                                    {"param", Space::kParam}};
  return *table;
}

const Table<Special>& Specials() {
  static const auto* const table = new Table<Special>{
      {"%tid.x", Special::kTidX},       {"%tid.y", Special::kTidY},
      {"%tid.z", Special::kTidZ},       {"%ntid.x", Special::kNtidX},
      {"%ntid.y", Special::kNtidY},     {"%ntid.z", Special::kNtidZ},
      {"%ctaid.x", Special::kCtaidX},   {"%ctaid.y", Special::kCtaidY},
      {"%ctaid.z", Special::kCtaidZ},   {"%nctaid.x", Special::kNctaidX},
      {"%nctaid.y", Special::kNctaidY}, {"%nctaid.z", Special::kNctaidZ},
      {"%laneid", Special::kLaneId}};
  return *table;
}

absl::Status Unknown(absl::string_view what, absl::string_view text) {
  return absl::UnimplementedError(absl::StrCat("unknown ", what, " ", text));
}

bool ParseVectorSize(absl::string_view part, unsigned* size) {
  if (part != "v2" && part != "v4") return false;
  *size = static_cast<unsigned>(part[1] - '0');
  return true;
}

bool ParseNumber(absl::string_view text, uint64_t* value) {
  const bool is_float =
      text.size() > 2 && text[0] == '0' &&
      absl::string_view("fFdD").find(text[1]) != absl::string_view::npos;
  if (is_float) return absl::SimpleHexAtoi(text.substr(2), value);
  if (absl::StartsWith(text, "0x")) {
    absl::ConsumeSuffix(&text, "U");  // Unsigned, as all bits are here.
    return absl::SimpleHexAtoi(text, value);
  }
  int64_t number = 0;
  if (absl::SimpleAtoi(text, &number)) {
    *value = static_cast<uint64_t>(number);
    return true;
  }
  return absl::SimpleAtoi(text, value);
}

absl::StatusOr<Operand> ParseScalar(absl::string_view text,
                                    const Names& names) {
  Operand operand;
  if (const auto special = Specials().find(text); special != Specials().end()) {
    operand.form = Operand::Form::kSpecial;
    operand.special = special->second;
    return operand;
  }
  if (const int index = names.register_of(text); index >= 0) {
    operand.form = Operand::Form::kRegister;
    operand.index = index;
    return operand;
  }
  if (names.find_symbol(text, &operand.value)) return operand;
  if (ParseNumber(text, &operand.value)) return operand;
  return Unknown("operand", text);
}

absl::StatusOr<Operand> ParseVector(absl::string_view text, const Names& names,
                                    std::vector<Operand>* items) {
  Operand vector;
  vector.form = Operand::Form::kVector;
  vector.index = static_cast<int>(items->size());
  for (const std::string& item : SplitOperands(text)) {
    BANYAN_ASSIGN_OR_RETURN(const Operand operand, ParseScalar(item, names));
    items->push_back(operand);
    ++vector.value;
  }
  return vector;
}

// "%rd1+16", "name+8", "%r1", "%r1+-4".
absl::StatusOr<Operand> ParseMemory(absl::string_view text,
                                    const Names& names) {
  const std::vector<absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits('+', 1));
  BANYAN_ASSIGN_OR_RETURN(
      Operand operand,
      ParseScalar(absl::StripAsciiWhitespace(parts[0]), names));
  if (operand.form != Operand::Form::kRegister) operand.index = -1;
  operand.form = Operand::Form::kMemory;
  if (parts.size() > 1) {
    int64_t offset = 0;
    if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(parts[1]), &offset)) {
      return Unknown("address", text);
    }
    operand.value += static_cast<uint64_t>(offset);
  }
  return operand;
}

}  // namespace

Type ParseType(absl::string_view text) {
  if (text == "pred") return {Kind::kPredicate, 1};
  unsigned bits = 0;
  if (text.empty() || !absl::SimpleAtoi(text.substr(1), &bits)) return {{}, 0};
  switch (text[0]) {
    case 'b':
      return {Kind::kBits, bits};
    case 'u':
      return {Kind::kUnsigned, bits};
    case 's':
      return {Kind::kSigned, bits};
    case 'f':
      return {Kind::kFloat, bits};
    default:
      return {{}, 0};
  }
}

absl::StatusOr<Instruction> ParseName(absl::string_view name) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '.');
  Instruction instruction;
  instruction.name = std::string(name);
  const auto opcode = Opcodes().find(parts[0]);
  if (opcode == Opcodes().end()) return Unknown("instruction", name);
  instruction.opcode = opcode->second;
  std::vector<Type> types;
  for (size_t i = 1; i < parts.size(); ++i) {
    const Type type = ParseType(parts[i]);
    if (type.bits != 0) {
      types.push_back(type);
    } else if (const auto space = Spaces().find(parts[i]);
               space != Spaces().end()) {
      // Of cp.async.ca.shared.global, the first.
      if (instruction.space == Space::kGeneric) {
        instruction.space = space->second;
      }
    } else if (const auto word = Words().find(parts[i]);
               word != Words().end()) {
      instruction.words |= uint64_t{1} << static_cast<unsigned>(word->second);
    } else if (!ParseVectorSize(parts[i], &instruction.vector_size)) {
      return Unknown("part of an instruction", name);
    }
  }
  if (!types.empty()) {
    const bool is_conversion = instruction.opcode == Opcode::kCvt;
    instruction.type = is_conversion ? types.front() : types.back();
    instruction.source_type = types.back();
  }
  return instruction;
}

std::vector<std::string> SplitOperands(absl::string_view text) {
  std::vector<std::string> operands;
  std::string operand;
  const auto finish = [&] {
    operands.emplace_back(absl::StripAsciiWhitespace(operand));
    operand.clear();
  };
  int depth = 0;
  for (const char c : text) {
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if ((c == ',' || c == '|') && depth == 0) {
      finish();
    } else {
      operand += c;
    }
  }
  if (!absl::StripAsciiWhitespace(operand).empty()) finish();
  return operands;
}

absl::Status ParseOperand(absl::string_view text, const Names& names,
                          Instruction* instruction) {
  if (text.empty()) return Unknown("operand", text);
  const auto parse = [&]() -> absl::StatusOr<Operand> {
    const absl::string_view inside = text.substr(1, text.size() - 2);
    if (text[0] == '{') return ParseVector(inside, names, &instruction->items);
    if (text[0] == '[') return ParseMemory(inside, names);
    return ParseScalar(text, names);
  };
  BANYAN_ASSIGN_OR_RETURN(const Operand operand, parse());
  instruction->operands.push_back(operand);
  return absl::OkStatus();
}

}  // namespace banyan::simt::ptx
