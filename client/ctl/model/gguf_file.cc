#include "client/ctl/model/gguf_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "client/ctl/model/fp16.h"

namespace banyan::ctl {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kVersion = 3;
constexpr uint64_t kEntriesMax = 1 << 16;
constexpr uint64_t kListMax = 1 << 20;
constexpr uint64_t kElementsMax = uint64_t{1} << 36;
constexpr uint32_t kDimensionsMax = 4;

enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kText = 8,
  kList = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL", message);
}

absl::Status Missing(absl::string_view name) {
  return Bad(absl::StrCat("model file: no ", Echo(name),
                          ", or of another type, or negative."));
}

// Bytes of a value of fixed size; 0 for others.
uint64_t FixedBytes(uint32_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    default:
      return 0;
  }
}

// A run of elements that are stored together.
struct Format {
  uint32_t elements;
  uint32_t bytes;
  void (*decode)(const std::byte* from, float* to);
};

float LoadFp16(const std::byte* from) { return FloatOfFp16(LoadLe16(from)); }

void DecodeFp32(const std::byte* from, float* to) {
  *to = std::bit_cast<float>(LoadLe32(from));
}

void DecodeFp16(const std::byte* from, float* to) { *to = LoadFp16(from); }

// fp16 scale, fp16 minimum, then 4-bit codes: the first half of the elements in
// the low halves of the bytes.
void DecodeQ41(const std::byte* from, float* to) {
  const float scale = LoadFp16(from);
  const float low = LoadFp16(from + 2);
  for (int i = 0; i < 16; ++i) {
    const auto codes = static_cast<uint8_t>(from[4 + i]);
    to[i] = static_cast<float>(codes & 15) * scale + low;
    to[i + 16] = static_cast<float>(codes >> 4) * scale + low;
  }
}

// fp16 scale, then signed bytes.
void DecodeQ80(const std::byte* from, float* to) {
  const float scale = LoadFp16(from);
  for (int i = 0; i < 32; ++i) {
    to[i] = static_cast<float>(static_cast<int8_t>(from[2 + i])) * scale;
  }
}

// elements = 0 for a format that is not decoded here.
Format FormatOf(uint32_t tensor_type) {
  switch (tensor_type) {
    case 0:
      return {1, 4, &DecodeFp32};
    case 1:
      return {1, 2, &DecodeFp16};
    case 3:
      return {32, 20, &DecodeQ41};
    case 8:
      return {32, 34, &DecodeQ80};
    default:
      return {0, 0, nullptr};
  }
}

}  // namespace

// Takes fixed parts off the front of what is left.
class GgufFile::Reader {
 public:
  explicit Reader(absl::Span<const std::byte> bytes) : left_(bytes) {}

  size_t left() const { return left_.size(); }

  absl::StatusOr<absl::Span<const std::byte>> Take(uint64_t bytes) {
    if (bytes > left_.size()) return Bad("model file: ends early.");
    const absl::Span<const std::byte> taken = left_.first(bytes);
    left_.remove_prefix(bytes);
    return taken;
  }

  absl::StatusOr<uint32_t> Take32() {
    BANYAN_ASSIGN_OR_RETURN(const auto bytes, Take(4));
    return LoadLe32(bytes.data());
  }

  absl::StatusOr<uint64_t> Take64() {
    BANYAN_ASSIGN_OR_RETURN(const auto bytes, Take(8));
    return LoadLe64(bytes.data());
  }

  absl::StatusOr<absl::string_view> TakeText() {
    BANYAN_ASSIGN_OR_RETURN(const uint64_t size, Take64());
    BANYAN_ASSIGN_OR_RETURN(const auto bytes, Take(size));
    return AsText(bytes);
  }

 private:
  absl::Span<const std::byte> left_;
};

namespace {

bool IsSigned(uint32_t type) {
  return type == kInt8 || type == kInt16 || type == kInt32 || type == kInt64;
}

// Nobody here asks for negative ones: nothing stands for them.
std::variant<std::monostate, uint64_t, double> NumberOf(
    absl::Span<const std::byte> bytes, uint32_t type) {
  uint64_t raw = 0;
  std::memcpy(&raw, bytes.data(), bytes.size());
  if (type == kFloat32) {
    return double{std::bit_cast<float>(static_cast<uint32_t>(raw))};
  }
  if (type == kFloat64) return std::bit_cast<double>(raw);
  const bool is_negative = IsSigned(type) && raw >> (8 * bytes.size() - 1) != 0;
  if (is_negative) return std::monostate();
  return raw;
}

}  // namespace

absl::StatusOr<GgufFile::Value> GgufFile::TakeValue(Reader& reader,
                                                    uint32_t type) {
  if (type == kText) {
    BANYAN_ASSIGN_OR_RETURN(const absl::string_view text, reader.TakeText());
    return text;
  }
  if (const uint64_t size = FixedBytes(type); size > 0) {
    BANYAN_ASSIGN_OR_RETURN(const auto bytes, reader.Take(size));
    return std::visit([](auto number) { return Value(number); },
                      NumberOf(bytes, type));
  }
  if (type != kList) {
    return Bad(absl::StrCat("model file: a value of unknown type ", type, "."));
  }
  BANYAN_ASSIGN_OR_RETURN(const uint32_t element_type, reader.Take32());
  BANYAN_ASSIGN_OR_RETURN(const uint64_t count, reader.Take64());
  if (count > kListMax) return Bad("model file: a list is too long.");
  if (element_type != kText) {  // Nobody here asks for lists of numbers.
    const uint64_t size = FixedBytes(element_type);
    if (size == 0) return Bad("model file: a list of lists.");
    BANYAN_RETURN_IF_ERROR(reader.Take(count * size).status());
    return Value();
  }
  TextList texts;
  for (uint64_t i = 0; i < count; ++i) {
    BANYAN_ASSIGN_OR_RETURN(const absl::string_view text, reader.TakeText());
    texts.push_back(text);
  }
  return texts;
}

absl::Status GgufFile::TakeValues(Reader& reader, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    BANYAN_ASSIGN_OR_RETURN(const absl::string_view name, reader.TakeText());
    BANYAN_ASSIGN_OR_RETURN(const uint32_t type, reader.Take32());
    BANYAN_ASSIGN_OR_RETURN(Value value, TakeValue(reader, type));
    if (!values_.emplace(name, std::move(value)).second) {
      return Bad(
          absl::StrCat("model file: two values of name ", Echo(name), "."));
    }
  }
  return absl::OkStatus();
}

absl::Status GgufFile::TakeTensors(Reader& reader, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    BANYAN_ASSIGN_OR_RETURN(const absl::string_view name, reader.TakeText());
    BANYAN_ASSIGN_OR_RETURN(const uint32_t dimensions, reader.Take32());
    if (dimensions == 0 || dimensions > kDimensionsMax) {
      return Bad(absl::StrCat("model file: ", Echo(name), " has ", dimensions,
                              " dimensions, want 1 to ", kDimensionsMax, "."));
    }
    Tensor tensor{.elements = 1};
    for (uint32_t j = 0; j < dimensions; ++j) {
      BANYAN_ASSIGN_OR_RETURN(const uint64_t size, reader.Take64());
      if (size == 0 || size > kElementsMax / tensor.elements) {
        return Bad(absl::StrCat("model file: ", Echo(name),
                                " is empty, or too large."));
      }
      tensor.elements *= size;
    }
    BANYAN_ASSIGN_OR_RETURN(tensor.type, reader.Take32());
    BANYAN_ASSIGN_OR_RETURN(tensor.offset, reader.Take64());
    if (!tensors_.emplace(name, tensor).second) {
      return Bad(
          absl::StrCat("model file: two tensors of name ", Echo(name), "."));
    }
  }
  return absl::OkStatus();
}

absl::Status GgufFile::PlaceTensors(absl::Span<const std::byte> bytes) {
  uint64_t left = bytes.size();  // Each byte is of one tensor at most.
  for (auto& [name, tensor] : tensors_) {
    const Format format = FormatOf(tensor.type);
    if (format.elements == 0) continue;  // Refused when it is asked for.
    if (tensor.elements % format.elements != 0) {
      return Bad(absl::StrCat("model file: ", Echo(name), " has ",
                              tensor.elements, " elements, want a multiple of ",
                              format.elements, "."));
    }
    const uint64_t size = tensor.elements / format.elements * format.bytes;
    if (tensor.offset > bytes.size() || size > bytes.size() - tensor.offset ||
        size > left) {
      return Bad(absl::StrCat("model file: ", Echo(name),
                              " ends beyond the file, or overlaps another."));
    }
    tensor.bytes = bytes.subspan(tensor.offset, size);
    left -= size;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> GgufFile::Alignment() const {
  constexpr absl::string_view kName = "general.alignment";
  if (!Has(kName)) return 32;
  BANYAN_ASSIGN_OR_RETURN(const uint64_t alignment, Integer(kName));
  if (!std::has_single_bit(alignment) || alignment > kMiB) {
    return Bad(absl::StrCat("model file: ", kName, " is ", alignment,
                            ", want a power of two up to 1 MiB."));
  }
  return alignment;
}

absl::StatusOr<GgufFile> GgufFile::Parse(absl::Span<const std::byte> bytes) {
  Reader reader(bytes);
  BANYAN_ASSIGN_OR_RETURN(const uint32_t magic, reader.Take32());
  BANYAN_ASSIGN_OR_RETURN(const uint32_t version, reader.Take32());
  if (magic != kMagic || version != kVersion) {
    return Bad("model file: no GGUF of version 3.");
  }
  BANYAN_ASSIGN_OR_RETURN(const uint64_t tensors, reader.Take64());
  BANYAN_ASSIGN_OR_RETURN(const uint64_t values, reader.Take64());
  if (tensors > kEntriesMax || values > kEntriesMax) {
    return Bad(absl::StrCat("model file: ", tensors, " tensors and ", values,
                            " values, want ", kEntriesMax, " each at most."));
  }
  GgufFile file;
  BANYAN_RETURN_IF_ERROR(file.TakeValues(reader, values));
  BANYAN_ASSIGN_OR_RETURN(const uint64_t alignment, file.Alignment());
  BANYAN_RETURN_IF_ERROR(file.TakeTensors(reader, tensors));
  const uint64_t start =
      std::min(RoundUp(bytes.size() - reader.left(), alignment), bytes.size());
  BANYAN_RETURN_IF_ERROR(file.PlaceTensors(bytes.subspan(start)));
  return file;
}

absl::StatusOr<uint64_t> GgufFile::Integer(absl::string_view name) const {
  const auto entry = values_.find(name);
  if (entry == values_.end()) return Missing(name);
  if (const auto* value = std::get_if<uint64_t>(&entry->second)) return *value;
  return Missing(name);
}

absl::StatusOr<double> GgufFile::Real(absl::string_view name) const {
  const auto entry = values_.find(name);
  if (entry == values_.end()) return Missing(name);
  if (const auto* value = std::get_if<double>(&entry->second)) return *value;
  return Missing(name);
}

absl::StatusOr<absl::string_view> GgufFile::Text(absl::string_view name) const {
  const auto entry = values_.find(name);
  if (entry == values_.end()) return Missing(name);
  if (const auto* value = std::get_if<absl::string_view>(&entry->second)) {
    return *value;
  }
  return Missing(name);
}

absl::StatusOr<absl::Span<const absl::string_view>> GgufFile::Texts(
    absl::string_view name) const {
  const auto entry = values_.find(name);
  if (entry == values_.end()) return Missing(name);
  if (const auto* value = std::get_if<TextList>(&entry->second)) return *value;
  return Missing(name);
}

absl::StatusOr<std::vector<float>> GgufFile::Floats(absl::string_view name,
                                                    uint64_t count) const {
  const auto entry = tensors_.find(name);
  if (entry == tensors_.end()) return Missing(name);
  const Tensor& tensor = entry->second;
  const Format format = FormatOf(tensor.type);
  if (format.elements == 0) {
    return Bad(absl::StrCat("model file: ", Echo(name), " has format ",
                            tensor.type,
                            ". Want float32, float16, Q4_1 or Q8_0."));
  }
  if (tensor.elements != count) {
    return Bad(absl::StrCat("model file: ", Echo(name), " has ",
                            tensor.elements, " elements, want ", count, "."));
  }
  std::vector<float> floats(count);
  for (uint64_t i = 0; i < count / format.elements; ++i) {
    format.decode(&tensor.bytes[i * format.bytes],
                  &floats[i * format.elements]);
  }
  return floats;
}

}  // namespace banyan::ctl
