#include "kernels/codec/codec_spec.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::codec {
namespace {

constexpr uint16_t kDimGroup = 64;
constexpr uint16_t kChannelGroup = 32;
constexpr uint32_t kGroupMin = 8;
constexpr uint32_t kGroupMax = 128;

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CODEC", message);
}

struct NamedSpec {
  absl::string_view name;
  PlaneSpec spec;
};

// Every codec, without options.
constexpr NamedSpec kSpecs[] = {
    {"raw", {.id = CodecId::kRaw}},
    {"lossless", {.id = CodecId::kLossless}},
    {"fp8", {.id = CodecId::kFp8, .bits = 8}},
    {"int8", {.id = CodecId::kInt, .bits = 8, .group = kDimGroup}},
    {"int4", {.id = CodecId::kInt, .bits = 4, .group = kDimGroup}},
    {"int2", {.id = CodecId::kInt, .bits = 2, .group = kDimGroup}},
    {"rotlm4", {.id = CodecId::kRotLm, .bits = 4}},
    {"rotlm3", {.id = CodecId::kRotLm, .bits = 3}},
    {"rotlm2", {.id = CodecId::kRotLm, .bits = 2}},
    {"nuq4", {.id = CodecId::kNuq, .bits = 4}},
    {"nuq3", {.id = CodecId::kNuq, .bits = 3}},
    {"nuq2", {.id = CodecId::kNuq, .bits = 2}},
    {"kvarn4", {.id = CodecId::kKvarn, .bits = 4}},
    {"kvarn3", {.id = CodecId::kKvarn, .bits = 3}},
    {"kvarn2", {.id = CodecId::kKvarn, .bits = 2}},
    {"cold4", {.id = CodecId::kCold, .bits = 4}},
    {"cold3", {.id = CodecId::kCold, .bits = 3}},
    {"cold2", {.id = CodecId::kCold, .bits = 2}},
    {"cold1", {.id = CodecId::kCold, .bits = 1}},
};

absl::StatusOr<PlaneSpec> SpecOfName(absl::string_view name) {
  std::string known;
  for (const NamedSpec& entry : kSpecs) {
    if (entry.name == name) return entry.spec;
    absl::StrAppend(&known, known.empty() ? "" : ", ", entry.name);
  }
  return Bad(
      absl::StrCat("codec: want one of ", known, "; got ", Echo(name), "."));
}

bool TakeNuqOption(absl::string_view option, PlaneSpec& spec) {
  if (option == "channel") {
    spec.axis = Axis::kChannel;
  } else if (option == "dense") {
    spec.is_dense = true;
  } else if (option == "qnorm") {
    spec.has_q_norm = true;
  } else if (option == "pre") {
    spec.is_pre_rope = true;
  } else {
    return false;
  }
  return true;
}

// Sets what the option says; false if this codec has no such option.
bool TakeOption(absl::string_view option, PlaneSpec& spec) {
  if (spec.id == CodecId::kInt) {
    if (option == "channel") {
      spec.axis = Axis::kChannel;
      return true;
    }
    uint32_t group = 0;
    if (!absl::ConsumePrefix(&option, "g") ||
        !absl::SimpleAtoi(option, &group) || group < kGroupMin ||
        group > kGroupMax || group % kGroupMin != 0) {
      return false;
    }
    spec.group = static_cast<uint16_t>(group);
    return true;
  }
  if (spec.id == CodecId::kKvarn) {
    if (option == "channel") spec.axis = Axis::kChannel;
    return option == "channel";
  }
  if (spec.id == CodecId::kNuq) return TakeNuqOption(option, spec);
  if (spec.id == CodecId::kCold) {
    spec.is_pre_rope |= option == "pre";
    spec.is_weighted |= option == "weighted";
    return option == "pre" || option == "weighted";
  }
  if (spec.id != CodecId::kRotLm) return false;
  if (option == "pre") {
    spec.is_pre_rope = true;
  } else if (option == "centre") {
    spec.centre = Centre::kMean;
  } else if (option == "white") {
    spec.centre = Centre::kWhiten;
  } else {
    return false;
  }
  return true;
}

absl::StatusOr<PlaneSpec> ParsePlaneSpec(absl::string_view text) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, ':');
  BANYAN_ASSIGN_OR_RETURN(PlaneSpec spec, SpecOfName(words.front()));
  if (spec.id == CodecId::kInt &&
      std::find(words.begin(), words.end(), "channel") != words.end()) {
    spec.group = kChannelGroup;  // Unless an option says otherwise.
  }
  for (size_t i = 1; i < words.size(); ++i) {
    if (!TakeOption(words[i], spec)) {
      return Bad(absl::StrCat("codec: ", words.front(), " has no option ",
                              Echo(words[i]),
                              "; groups are multiples of 8 up to 128."));
    }
  }
  return spec;
}

absl::Status TakeField(absl::string_view field, BlockSpec& spec) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(field, absl::MaxSplits('=', 1));
  if (parts.first == "sink") {
    if (!absl::SimpleAtoi(parts.second, &spec.sink_tokens) ||
        spec.sink_tokens > kSinkTokensMax) {
      return Bad(absl::StrCat("codec.sink: want 0 to ", kSinkTokensMax,
                              " tokens, got ", Echo(parts.second), "."));
    }
    return absl::OkStatus();
  }
  if (parts.first != "k" && parts.first != "v") {
    return Bad(
        absl::StrCat("codec: want k=, v= or sink=, got ", Echo(field), "."));
  }
  BANYAN_ASSIGN_OR_RETURN((parts.first == "k" ? spec.keys : spec.values),
                          ParsePlaneSpec(parts.second));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BlockSpec> ParseBlockSpec(absl::string_view text) {
  std::vector<absl::string_view> fields = absl::StrSplit(text, ',');
  BlockSpec spec;
  if (!absl::StrContains(fields.front(), '=')) {
    BANYAN_ASSIGN_OR_RETURN(spec.keys, ParsePlaneSpec(fields.front()));
    spec.values = spec.keys;
    fields.erase(fields.begin());
  } else if (fields.size() < 2 || !absl::StartsWith(fields[0], "k=") ||
             !absl::StartsWith(fields[1], "v=")) {
    return Bad(absl::StrCat("codec: want CODEC or k=CODEC,v=CODEC; got ",
                            Echo(text), "."));
  } else {
    BANYAN_RETURN_IF_ERROR(TakeField(fields[0], spec));
    BANYAN_RETURN_IF_ERROR(TakeField(fields[1], spec));
    fields.erase(fields.begin(), fields.begin() + 2);
  }
  if (fields.size() > 1 ||
      (fields.size() == 1 && !absl::StartsWith(fields[0], "sink="))) {
    return Bad(absl::StrCat("codec: want sink=TOKENS at the end of ",
                            Echo(text), "."));
  }
  if (fields.size() == 1) BANYAN_RETURN_IF_ERROR(TakeField(fields[0], spec));
  return spec;
}

std::vector<std::string> CodecNames() {
  std::vector<std::string> names;
  for (const NamedSpec& entry : kSpecs) names.emplace_back(entry.name);
  return names;
}

std::string ToString(const PlaneSpec& spec) {
  std::string text;
  for (const NamedSpec& entry : kSpecs) {
    if (entry.spec.id == spec.id && entry.spec.bits == spec.bits) {
      text = std::string(entry.name);
    }
  }
  if (spec.axis == Axis::kChannel) absl::StrAppend(&text, ":channel");
  const uint16_t usual = spec.axis == Axis::kDim ? kDimGroup : kChannelGroup;
  if (spec.id == CodecId::kInt && spec.group != usual) {
    absl::StrAppend(&text, ":g", spec.group);
  }
  if (spec.centre == Centre::kMean) absl::StrAppend(&text, ":centre");
  if (spec.centre == Centre::kWhiten) absl::StrAppend(&text, ":white");
  if (spec.is_dense) absl::StrAppend(&text, ":dense");
  if (spec.has_q_norm) absl::StrAppend(&text, ":qnorm");
  if (spec.is_weighted) absl::StrAppend(&text, ":weighted");
  if (spec.is_pre_rope) absl::StrAppend(&text, ":pre");
  return text;
}

std::string ToString(const BlockSpec& spec) {
  std::string text = ToString(spec.keys);
  if (!(spec.keys == spec.values)) {
    text = absl::StrCat("k=", text, ",v=", ToString(spec.values));
  }
  if (spec.sink_tokens > 0) absl::StrAppend(&text, ",sink=", spec.sink_tokens);
  return text;
}

}  // namespace banyan::codec
