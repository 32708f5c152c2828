// A GGUF file, version 3: named values, and named tensors in the formats of
// ggml. Foreign bytes: every length is checked against what is left of the file
// before it is believed, and nothing but what is asked for is decoded.
//
//   "GGUF", u32 version, u64 tensors, u64 values; values: name, u32 type, value;
//   tensors: name, u32 dimensions, u64 each (fastest first), u32 type, u64 offset;
//   then, aligned, the bytes of the tensors. Texts have a u64 length in front.
//
// Lifetime: a view; the bytes outlive it.
// Threads:  immutable, thread-safe.
// Errors:   kInvalidArgument reason MODEL.
// Source:   the description of GGUF, and the block formats, of
//           github.com/ggml-org/ggml.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace banyan::ctl {

class GgufFile {
 public:
  static absl::StatusOr<GgufFile> Parse(absl::Span<const std::byte> bytes);

  // Values by name. Integers are of any integer type, and not negative;
  // reals are float32 or float64.
  absl::StatusOr<uint64_t> Integer(absl::string_view name) const;
  absl::StatusOr<double> Real(absl::string_view name) const;
  absl::StatusOr<absl::string_view> Text(absl::string_view name) const;
  absl::StatusOr<absl::Span<const absl::string_view>> Texts(
      absl::string_view name) const;
  bool Has(absl::string_view name) const { return values_.contains(name); }

  // The elements of a tensor of `count` in all, in the order of the file:
  // float32, float16, Q4_1 and Q8_0 are decoded.
  absl::StatusOr<std::vector<float>> Floats(absl::string_view name,
                                            uint64_t count) const;
  bool HasTensor(absl::string_view name) const {
    return tensors_.contains(name);
  }

 private:
  class Reader;

  using TextList = std::vector<absl::string_view>;
  using Value = std::variant<std::monostate, uint64_t, double,
                             absl::string_view, TextList>;
  struct Tensor {
    uint32_t type = 0;
    uint64_t elements = 0;
    uint64_t offset = 0;
    absl::Span<const std::byte> bytes;
  };

  static absl::StatusOr<Value> TakeValue(Reader& reader, uint32_t type);
  absl::Status TakeValues(Reader& reader, uint64_t count);
  absl::Status TakeTensors(Reader& reader, uint64_t count);
  absl::StatusOr<uint64_t> Alignment() const;
  absl::Status PlaceTensors(absl::Span<const std::byte> bytes);

  absl::flat_hash_map<std::string, Value> values_;
  absl::flat_hash_map<std::string, Tensor> tensors_;
};

}  // namespace banyan::ctl
