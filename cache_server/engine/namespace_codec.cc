#include "cache_server/engine/namespace_codec.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "kernels/codec/codec_spec.h"
#include "kernels/codec/codec_table.h"
#include "kernels/codec/plane.h"

namespace banyan::engine {

absl::Status CheckCodec(const Fingerprint& fingerprint) {
  if (fingerprint.kv_codec.empty()) return absl::OkStatus();
  BANYAN_ASSIGN_OR_RETURN(const codec::BlockSpec spec,
                          codec::ParseBlockSpec(fingerprint.kv_codec));
  // One text for one spec: otherwise equal blocks lie in two namespaces.
  if (const std::string text = ToString(spec); text != fingerprint.kv_codec) {
    return MakeError(absl::StatusCode::kInvalidArgument, "CODEC",
                     absl::StrCat("fingerprint.kv_codec: send its shortest "
                                  "form, \"",
                                  text, "\"."));
  }
  BANYAN_ASSIGN_OR_RETURN(const codec::ElementType type,
                          codec::ParseElementType(fingerprint.data_type));
  const codec::PlaneShape shape{
      .type = type, .heads = fingerprint.kv_heads, .dim = fingerprint.head_dim};
  BANYAN_RETURN_IF_ERROR(codec::MakePlaneCodec(spec.keys, shape).status());
  return codec::MakePlaneCodec(spec.values, shape).status();
}

}  // namespace banyan::engine
