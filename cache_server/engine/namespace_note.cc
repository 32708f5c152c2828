#include "cache_server/engine/namespace_note.h"

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan::engine {
namespace {

using Json = nlohmann::json;

// Calls field(name, member) for every field that is plain text or a number.
template <typename Print, typename Field>
void ForEachField(Print& f, const Field& field) {
  field("model", f.model);
  field("revision", f.revision);
  field("quantization", f.quantization);
  field("adapter", f.adapter);
  field("hash_algorithm", f.hash_algorithm);
  field("data_type", f.data_type);
  field("layout", f.layout);
  field("layers", f.layers);
  field("kv_heads", f.kv_heads);
  field("head_dim", f.head_dim);
  field("planes", f.planes);
  field("block_tokens", f.block_tokens);
  field("tp_size", f.tp_size);
  field("pp_size", f.pp_size);
  field("rank", f.rank);
  field("engine", f.engine);
  field("serde_version", f.serde_version);
}

absl::Status Unreadable() {
  return MakeError(absl::StatusCode::kDataLoss, "NAMESPACE",
                   "namespace note: not readable. Open the namespace again.");
}

}  // namespace

void SetCalibration(absl::string_view calibration, NamespaceNote& note) {
  if (PartsOf(calibration).empty()) {
    note.calibration = std::string(calibration);
  } else {
    note.calibration_bytes = calibration.size();
  }
}

std::vector<absl::string_view> PartsOf(absl::string_view calibration) {
  std::vector<absl::string_view> parts;
  if (calibration.size() <= kCalibrationPartBytes) return parts;
  for (size_t at = 0; at < calibration.size(); at += kCalibrationPartBytes) {
    parts.push_back(calibration.substr(at, kCalibrationPartBytes));
  }
  return parts;
}

std::string PartKey(absl::string_view namespace_id, size_t part) {
  return absl::StrCat(namespace_id, absl::Hex(part, absl::kZeroPad4));
}

std::string SerializeNamespaceNote(const NamespaceNote& note) {
  Json json = {{"name", note.name}};
  ForEachField(note.fingerprint, [&](const char* name, const auto& value) {
    json[name] = value;
  });
  if (!note.fingerprint.kv_codec.empty()) {
    json["kv_codec"] = note.fingerprint.kv_codec;
  }
  if (!note.ssd_policy.codec.empty()) {
    json["ssd_codec"] = note.ssd_policy.codec;
    json["ssd_error_max"] = note.ssd_policy.error_max;
  }
  if (!note.fingerprint.calibration_digest.empty()) {
    json["calibration_digest"] =
        absl::BytesToHexString(note.fingerprint.calibration_digest);
  }
  if (!note.calibration.empty()) {
    json["calibration"] = absl::Base64Escape(note.calibration);
  }
  if (note.calibration_bytes > 0) {
    json["calibration_bytes"] = note.calibration_bytes;
  }
  json["hash_seed_digest"] =
      absl::BytesToHexString(note.fingerprint.hash_seed_digest);
  // Names come from clients and need not be UTF-8.
  return json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

absl::StatusOr<NamespaceNote> ParseNamespaceNote(absl::string_view text) {
  try {
    const Json json = Json::parse(text.begin(), text.end());
    NamespaceNote note{.name = json.at("name")};
    ForEachField(note.fingerprint, [&](const char* name, auto& value) {
      json.at(name).get_to(value);
    });
    note.fingerprint.kv_codec = json.value("kv_codec", "");
    note.ssd_policy.codec = json.value("ssd_codec", "");
    note.ssd_policy.error_max = json.value("ssd_error_max", 0.0);
    note.fingerprint.hash_seed_digest =
        absl::HexStringToBytes(json.at("hash_seed_digest").get<std::string>());
    note.fingerprint.calibration_digest =
        absl::HexStringToBytes(json.value("calibration_digest", ""));
    note.calibration_bytes = json.value("calibration_bytes", uint64_t{0});
    if (!absl::Base64Unescape(json.value("calibration", ""),
                              &note.calibration)) {
      return Unreadable();
    }
    return note;
  } catch (const Json::exception&) {
    return Unreadable();
  }
}

}  // namespace banyan::engine
