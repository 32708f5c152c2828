#include "tests/testing/simt/ptx_module.h"

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace banyan::simt::ptx {
namespace {

std::string Trimmed(absl::string_view text) {
  return std::string(absl::StripAsciiWhitespace(text));
}

// A variable of a parameter list or a .shared directive.
struct Declaration {
  std::string name;
  unsigned bytes = 0;
  unsigned align = 0;
};

// ".param .align 8 .b8 name[24]", ".shared .align 4 .b8 name[64]".
absl::StatusOr<Declaration> ParseDeclaration(absl::string_view text) {
  Declaration declaration;
  std::vector<std::string> words =
      absl::StrSplit(text, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  unsigned element_bytes = 0;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const bool is_of_pointer = i > 0 && words[i - 1] == ".ptr";
    if (words[i] == ".align" && !is_of_pointer &&
        !absl::SimpleAtoi(words[i + 1], &declaration.align)) {
      return absl::UnimplementedError(absl::StrCat("alignment of ", text));
    }
    if (words[i][0] == '.' && element_bytes == 0) {
      element_bytes = ParseType(words[i].substr(1)).bits / 8;
    }
  }
  if (words.empty() || element_bytes == 0) {
    return absl::UnimplementedError(absl::StrCat("declaration ", text));
  }
  std::string& last = words.back();
  unsigned count = 1;
  if (const size_t bracket = last.find('['); bracket != last.npos) {
    const std::string size =
        last.substr(bracket + 1, last.find(']') - bracket - 1);
    if (size.empty()) {
      count = 0;
    } else if (!absl::SimpleAtoi(size, &count)) {
      return absl::UnimplementedError(absl::StrCat("size of ", text));
    }
    last.resize(bracket);
  }
  declaration.name = last;
  declaration.bytes = count * element_bytes;
  if (declaration.align == 0) declaration.align = element_bytes;
  return declaration;
}

class Parser {
 public:
  Parser(absl::string_view text, const std::string& path)
      : text_(text), path_(path) {}

  absl::StatusOr<std::vector<Kernel>> Run() {
    while (at_ < text_.size()) {
      const absl::Status status = Step(text_[at_++]);
      if (!status.ok()) {
        return absl::Status(status.code(),
                            absl::StrCat(path_, ":", line_, ": ",
                                         std::string(status.message())));
      }
    }
    return std::move(kernels_);
  }

 private:
  absl::Status Step(char c) {
    if (c == '\n') ++line_;
    if (c == '/' && at_ < text_.size() && text_[at_] == '/') {
      while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      return absl::OkStatus();
    }
    return depth_ == 0 ? StepOutside(c) : StepInside(c);
  }

  // Between kernels.
  absl::Status StepOutside(char c) {
    if (c == '{') {
      BANYAN_RETURN_IF_ERROR(BeginKernel(std::exchange(statement_, "")));
      depth_ = 1;
    } else if (c == ';') {
      BANYAN_RETURN_IF_ERROR(Declare(Trimmed(std::exchange(statement_, ""))));
    } else {
      statement_ += c;
    }
    return absl::OkStatus();
  }

  // Whoever uses what is not noted is found out.
  absl::Status Declare(const std::string& text) {
    // What is at the head of a file has no end of its own.
    const size_t at = text.rfind(".extern .shared");
    if (at == text.npos) return absl::OkStatus();
    BANYAN_ASSIGN_OR_RETURN(
        const Declaration array,
        ParseDeclaration(text.substr(at + sizeof(".extern"))));
    dynamic_shared_.insert(array.name);
    return absl::OkStatus();
  }

  absl::Status StepInside(char c) {
    const std::string so_far = Trimmed(statement_);
    if (c == '{' && so_far.empty()) {  // A scope of inline assembly.
      ++depth_;
    } else if (c == '}' && !absl::StrContains(so_far, '{')) {
      if (--depth_ == 0) BANYAN_RETURN_IF_ERROR(EndKernel());
    } else if (c == ':' && !so_far.empty() && IsLabel(so_far)) {
      labels_[so_far] = static_cast<int>(kernel().code.size());
      statement_.clear();
    } else if (c == ';') {
      statement_.clear();
      if (!so_far.empty()) BANYAN_RETURN_IF_ERROR(AddStatement(so_far));
    } else {
      statement_ += c;
    }
    return absl::OkStatus();
  }

  static bool IsLabel(absl::string_view text) {
    return text.find_first_of(" \t.") == absl::string_view::npos;
  }

  Kernel& kernel() { return kernels_.back(); }

  absl::Status BeginKernel(const std::string& header) {
    const size_t entry = header.find(".entry");
    if (entry == header.npos) {
      return absl::UnimplementedError("only kernels are known, no functions");
    }
    kernels_.emplace_back();
    kernel().file = path_;
    labels_.clear();
    registers_.clear();
    symbols_.clear();
    jumps_.clear();
    const size_t open = header.find('(', entry);
    const size_t close = header.find(')', entry);
    const size_t name = entry + sizeof(".entry");
    kernel().name =
        Trimmed(header.substr(name, open == header.npos ? open : open - name));
    if (open == header.npos) return absl::OkStatus();
    return AddParameters(header.substr(open + 1, close - open - 1));
  }

  absl::Status AddParameters(const std::string& list) {
    for (const std::string& text : SplitOperands(list)) {
      BANYAN_ASSIGN_OR_RETURN(const Declaration parameter,
                              ParseDeclaration(text));
      const auto offset = static_cast<unsigned>(
          RoundUp(kernel().parameter_bytes, parameter.align));
      symbols_[parameter.name] = offset;
      kernel().parameters.push_back({offset, parameter.bytes});
      kernel().parameter_bytes = offset + parameter.bytes;
    }
    return absl::OkStatus();
  }

  absl::Status EndKernel() {
    for (const auto& [index, label] : jumps_) {
      const auto target = labels_.find(label);
      if (target == labels_.end()) {
        return absl::UnimplementedError(absl::StrCat("no label ", label));
      }
      kernel().code[index].target = target->second;
    }
    kernel().registers = static_cast<int>(registers_.size());
    if (kernel().has_dynamic_shared && kernel().shared_bytes > 0) {
      return absl::UnimplementedError("both kinds of shared memory");
    }
    return absl::OkStatus();
  }

  absl::Status AddStatement(const std::string& text) {
    if (absl::StartsWith(text, ".reg")) return AddRegisters(text.substr(4));
    if (absl::StartsWith(text, ".shared")) return AddShared(text);
    if (absl::StartsWith(text, ".loc\t") || absl::StartsWith(text, ".pragma")) {
      return absl::OkStatus();
    }
    if (text[0] == '.') {
      return absl::UnimplementedError(absl::StrCat("directive ", text));
    }
    return AddInstruction(text);
  }

  // Only names of inline assembly have to be noted: others begin with %.
  absl::Status AddRegisters(absl::string_view list) {
    for (const absl::string_view name :
         absl::StrSplit(list, absl::ByAnyChar(" \t,"), absl::SkipEmpty())) {
      if (name[0] != '.' && name[0] != '%') RegisterOf(std::string(name));
    }
    return absl::OkStatus();
  }

  absl::Status AddShared(const std::string& text) {
    BANYAN_ASSIGN_OR_RETURN(const Declaration array, ParseDeclaration(text));
    const auto offset =
        static_cast<unsigned>(RoundUp(kernel().shared_bytes, array.align));
    symbols_[array.name] = offset;
    kernel().shared_bytes = offset + array.bytes;
    return absl::OkStatus();
  }

  absl::Status AddInstruction(std::string text) {
    std::string predicate;
    if (text[0] == '@') {
      const size_t end = text.find_first_of(" \t");
      predicate = text.substr(1, end - 1);
      text = Trimmed(text.substr(end));
    }
    const size_t end = text.find_first_of(" \t\n");
    BANYAN_ASSIGN_OR_RETURN(Instruction instruction,
                            ParseName(text.substr(0, end)));
    instruction.line = line_;
    if (!predicate.empty()) {
      instruction.is_predicate_negated = predicate[0] == '!';
      instruction.predicate =
          RegisterOf(predicate.substr(instruction.is_predicate_negated));
    }
    const std::string operands =
        end == text.npos ? "" : Trimmed(text.substr(end));
    if (instruction.opcode == Opcode::kBra) {
      jumps_.emplace_back(kernel().code.size(), operands);
    } else {
      BANYAN_RETURN_IF_ERROR(AddOperands(operands, &instruction));
    }
    kernel().code.push_back(std::move(instruction));
    return absl::OkStatus();
  }

  absl::Status AddOperands(const std::string& text, Instruction* instruction) {
    const Names names = {
        .register_of =
            [this](absl::string_view name) {
              const bool is_register = name[0] == '%' || name == "_" ||
                                       registers_.count(std::string(name)) > 0;
              return is_register ? RegisterOf(std::string(name)) : -1;
            },
        .find_symbol =
            [this](absl::string_view name, uint64_t* value) {
              if (dynamic_shared_.count(std::string(name)) > 0) {
                kernel().has_dynamic_shared = true;
                *value = 0;
                return true;
              }
              const auto symbol = symbols_.find(std::string(name));
              if (symbol == symbols_.end()) return false;
              *value = symbol->second;
              return true;
            }};
    for (const std::string& operand : SplitOperands(text)) {
      BANYAN_RETURN_IF_ERROR(ParseOperand(operand, names, instruction));
    }
    return absl::OkStatus();
  }

  int RegisterOf(const std::string& name) {
    return registers_.emplace(name, static_cast<int>(registers_.size()))
        .first->second;
  }

  const absl::string_view text_;
  const std::string path_;
  size_t at_ = 0;
  int line_ = 1;
  int depth_ = 0;  // Of braces.
  std::string statement_;
  std::vector<Kernel> kernels_;
  std::set<std::string> dynamic_shared_;  // Names of it.

  // Of the kernel that is read.
  std::map<std::string, int> labels_;
  std::map<std::string, int> registers_;
  std::map<std::string, unsigned> symbols_;  // Parameters, shared arrays.
  std::vector<std::pair<size_t, std::string>> jumps_;
};

}  // namespace

absl::StatusOr<Module> Module::Read(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::stringstream text;
  text << file.rdbuf();
  return Parse(text.str(), path);
}

absl::StatusOr<Module> Module::Parse(absl::string_view text,
                                     const std::string& path) {
  Module module;
  BANYAN_ASSIGN_OR_RETURN(module.kernels_, Parser(text, path).Run());
  return module;
}

absl::StatusOr<const Kernel*> Module::Find(absl::string_view part) const {
  const Kernel* found = nullptr;
  for (const Kernel& kernel : kernels_) {
    if (!absl::StrContains(kernel.name, part)) continue;
    if (found != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("two kernels: ", part));
    }
    found = &kernel;
  }
  if (found != nullptr) return found;
  return absl::NotFoundError(absl::StrCat("no kernel is called ", part));
}

}  // namespace banyan::simt::ptx
