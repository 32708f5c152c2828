#include "kernels/codec/plane.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan::codec {

absl::StatusOr<ElementType> ParseElementType(absl::string_view data_type) {
  if (data_type == "fp16") return ElementType::kFp16;
  if (data_type == "bf16") return ElementType::kBf16;
  if (data_type == "fp32") return ElementType::kFp32;
  if (data_type == "fp8" || data_type == "int8") return ElementType::kByte;
  return MakeError(absl::StatusCode::kInvalidArgument, "CODEC",
                   absl::StrCat("data_type: want fp16, bf16, fp32, fp8 or "
                                "int8, got ",
                                Echo(data_type), "."));
}

}  // namespace banyan::codec
