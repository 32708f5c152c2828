// A codec spec as text: how the keys and the values of a block are encoded.
//
//   SPEC  = PLANE | "k=" PLANE ",v=" PLANE, and then maybe ",sink=" COUNT
//   PLANE = NAME (":" OPTION)*
//
//   raw                      bytes as they are
//   lossless                 the same bytes back, from fewer where it can be
//   fp8                      e4m3, one scale a head
//   int8, int4, int2         groups along the head, with scale and minimum
//     :g32                     elements a group (default 64)
//     :channel                 groups along the tokens (default 32)
//   rotlm4, rotlm3, rotlm2   rotated, Gaussian levels
//     :centre, :white          less each channel's mean, over its deviation
//     :pre                     with the rotary embedding taken off first
//   nuq4, nuq3, nuq2         levels of a calibration, a range for each token
//     :channel                 a range for each channel, from the calibration
//     :dense                   without keeping the 1 % furthest out as they are
//     :qnorm                   decoded to the mean and deviation of the real
//     :pre                     with the rotary embedding taken off first
//   kvarn4, kvarn3, kvarn2   rotated, rows and channels balanced; for each token
//                            of a tile of 128 a scale and a minimum
//     :channel                 for each channel of the tile: of keys
//   cold4, cold3, cold2, cold1   so many bits an element, all included
//     :weighted                errors weighed by a calibration
//     :pre                     with the rotary embedding taken off first
//
// SINK: so many tokens at the start of a sequence are kept as they are.
//
// Errors: Parse returns kInvalidArgument, reason CODEC, naming what is wrong.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace banyan::codec {

// Numbers are those of the format.
enum class CodecId : uint8_t {
  kRaw = 0,
  kFp8 = 1,
  kInt = 2,
  kRotLm = 3,
  kLossless = 4,
  kNuq = 5,
  kCold = 6,
  kKvarn = 7
};
enum class Axis : uint8_t { kDim = 0, kChannel = 1 };
enum class Centre : uint8_t { kNone = 0, kMean = 1, kWhiten = 2 };

struct PlaneSpec {
  CodecId id = CodecId::kRaw;
  uint8_t bits = 0;    // Of a code, where the codec has a choice.
  uint16_t group = 0;  // kInt.
  Axis axis = Axis::kDim;
  Centre centre = Centre::kNone;
  bool is_pre_rope = false;
  bool is_dense = false;     // kNuq.
  bool has_q_norm = false;   // kNuq.
  bool is_weighted = false;  // kCold.

  friend bool operator==(const PlaneSpec&, const PlaneSpec&) = default;

  // A codec that must know something of the model.
  bool wants_calibration() const { return id == CodecId::kNuq || is_weighted; }

  // A codec that gives back the bytes that it was given, whatever they are.
  bool is_lossless() const {
    return id == CodecId::kRaw || id == CodecId::kLossless;
  }
};

inline constexpr uint32_t kSinkTokensMax = 255;

struct BlockSpec {
  PlaneSpec keys;
  PlaneSpec values;
  uint32_t sink_tokens = 0;

  friend bool operator==(const BlockSpec&, const BlockSpec&) = default;
};

absl::StatusOr<BlockSpec> ParseBlockSpec(absl::string_view text);

// The NAMEs of all codecs: each is a spec.
std::vector<std::string> CodecNames();

// The text that ParseBlockSpec reads as the same spec; the shortest such.
std::string ToString(const PlaneSpec& spec);
std::string ToString(const BlockSpec& spec);

}  // namespace banyan::codec
