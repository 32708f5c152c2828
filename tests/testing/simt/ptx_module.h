// The kernels of a PTX file, as nvcc wrote it, ready to be run: see
// tests/testing/simt/ptx_machine.h.
//
// Errors: kUnimplemented, with file and line, for what is not known; kNotFound
//         for a file or a kernel that is not there.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/testing/simt/ptx_instruction.h"

namespace banyan::simt::ptx {

struct Parameter {
  unsigned offset = 0;
  unsigned bytes = 0;
};

struct Kernel {
  std::string name;  // Mangled.
  std::string file;
  std::vector<Parameter> parameters;
  unsigned parameter_bytes = 0;
  unsigned shared_bytes = 0;        // Of arrays that it declares.
  bool has_dynamic_shared = false;  // What the launch allots, instead of those.
  int registers = 0;
  std::vector<Instruction> code;
};

class Module {
 public:
  static absl::StatusOr<Module> Read(const std::string& path);
  // `path` is for findings.
  static absl::StatusOr<Module> Parse(absl::string_view text,
                                      const std::string& path);

  // The one kernel whose mangled name has `part` in it.
  absl::StatusOr<const Kernel*> Find(absl::string_view part) const;

  const std::vector<Kernel>& kernels() const { return kernels_; }

 private:
  std::vector<Kernel> kernels_;
};

}  // namespace banyan::simt::ptx
