#include "kernels/codec/spec_bytes.h"

#include <array>
#include <cstring>

#include "base/bytes.h"

namespace banyan::codec {
namespace {

constexpr uint8_t kDense = 1;
constexpr uint8_t kQNorm = 2;
constexpr uint8_t kWeighted = 4;

}  // namespace

void StoreSpec(const PlaneSpec& spec, std::byte* out) {
  out[0] = static_cast<std::byte>(spec.id);
  out[1] = static_cast<std::byte>(spec.bits);
  out[2] = static_cast<std::byte>(spec.axis);
  out[3] = static_cast<std::byte>(spec.centre);
  out[4] = static_cast<std::byte>(spec.is_pre_rope);
  out[5] = static_cast<std::byte>((spec.is_dense ? kDense : 0) |
                                  (spec.has_q_norm ? kQNorm : 0) |
                                  (spec.is_weighted ? kWeighted : 0));
  StoreLe16(spec.group, out + 6);
}

bool LoadSpec(const std::byte* in, PlaneSpec& spec) {
  spec = {.id = static_cast<CodecId>(in[0]),
          .bits = static_cast<uint8_t>(in[1]),
          .group = LoadLe16(in + 6),
          .axis = static_cast<Axis>(in[2]),
          .centre = static_cast<Centre>(in[3]),
          .is_pre_rope = in[4] != std::byte{0},
          .is_dense = (static_cast<uint8_t>(in[5]) & kDense) != 0,
          .has_q_norm = (static_cast<uint8_t>(in[5]) & kQNorm) != 0,
          .is_weighted = (static_cast<uint8_t>(in[5]) & kWeighted) != 0};
  std::array<std::byte, kSpecBytes> again;
  StoreSpec(spec, again.data());
  if (std::memcmp(again.data(), in, kSpecBytes) != 0) return false;
  const auto parsed = ParseBlockSpec(ToString(spec));
  return parsed.ok() && parsed->keys == spec;
}

}  // namespace banyan::codec
