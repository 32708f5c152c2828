#include "base/fingerprint.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/block_key.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/kv_layout.h"
#include "base/sha256.h"

namespace banyan {
namespace {

constexpr size_t kTextBytesMax = 256;

// One field in its CBOR form.
struct Field {
  std::string name;
  std::string value;
};

// Head of a CBOR item: major type 0 to 7 and its argument, shortest form.
std::string CborHead(int major, uint64_t argument) {
  const char type = static_cast<char>(major << 5);
  std::string out;
  int bytes = argument < 24 ? 0 : argument < 256 ? 1 : argument < 65536 ? 2 : 4;
  if (argument > UINT32_MAX) bytes = 8;
  constexpr std::pair<int, int> kCodes[] = {{1, 24}, {2, 25}, {4, 26}, {8, 27}};
  if (bytes == 0) return std::string(1, static_cast<char>(type | argument));
  for (const auto& [size, code] : kCodes) {
    if (size == bytes) out.push_back(static_cast<char>(type | code));
  }
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(argument >> shift));
  }
  return out;
}

std::string CborText(absl::string_view text) {
  return absl::StrCat(CborHead(3, text.size()), text);
}

std::string CborBytes(absl::string_view bytes) {
  return absl::StrCat(CborHead(2, bytes.size()), bytes);
}

// An empty value stands for no entry.
std::vector<Field> Fields(const Fingerprint& f) {
  return {
      {"model", CborText(f.model)},
      {"revision", CborText(f.revision)},
      {"quantization", CborText(f.quantization)},
      {"adapter", CborText(f.adapter)},
      {"hash_algorithm", CborText(f.hash_algorithm)},
      {"hash_seed_digest", CborBytes(f.hash_seed_digest)},
      {"data_type", CborText(f.data_type)},
      {"layout", CborText(f.layout)},
      {"layers", CborHead(0, f.layers)},
      {"kv_heads", CborHead(0, f.kv_heads)},
      {"head_dim", CborHead(0, f.head_dim)},
      {"planes", CborHead(0, f.planes)},
      {"block_tokens", CborHead(0, f.block_tokens)},
      {"tp_size", CborHead(0, std::max(1u, f.tp_size))},
      {"pp_size", CborHead(0, std::max(1u, f.pp_size))},
      {"rank", CborHead(0, f.rank)},
      {"engine", CborText(f.engine)},
      {"serde_version", CborHead(0, f.serde_version)},
      {"kv_codec", f.kv_codec.empty() ? "" : CborText(f.kv_codec)},
      {"calibration_digest",
       f.calibration_digest.empty() ? "" : CborBytes(f.calibration_digest)}};
}

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "FINGERPRINT", message);
}

absl::Status ValidateTexts(const Fingerprint& f) {
  const std::pair<absl::string_view, absl::string_view> texts[] = {
      {"model", f.model},
      {"revision", f.revision},
      {"quantization", f.quantization},
      {"adapter", f.adapter},
      {"hash_algorithm", f.hash_algorithm},
      {"hash_seed_digest", f.hash_seed_digest},
      {"engine", f.engine},
      {"kv_codec", f.kv_codec}};
  for (const auto& [name, text] : texts) {
    if (text.size() > kTextBytesMax) {
      return Bad(absl::StrCat("fingerprint.", name, ": ", text.size(),
                              " bytes, limit ", kTextBytesMax, "."));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateCalibration(const Fingerprint& f) {
  const size_t size = f.calibration_digest.size();
  if (size == 0) return absl::OkStatus();
  if (f.kv_codec.empty()) {
    return Bad(
        "fingerprint.calibration_digest: there is no kv_codec to want one.");
  }
  if (size == sizeof(Sha256Digest)) return absl::OkStatus();
  return Bad(absl::StrCat("fingerprint.calibration_digest: ", size,
                          " bytes; want the 32 of a SHA-256."));
}

}  // namespace

absl::Status ValidateFingerprint(const Fingerprint& f) {
  if (absl::Status status = ValidateTexts(f); !status.ok()) return status;
  if (absl::Status status = ValidateCalibration(f); !status.ok()) return status;
  if (f.layout == "opaque") {
    if (f.layers != 0) {
      return Bad("fingerprint.layers: an opaque layout has none. Send 0.");
    }
    if (f.kv_codec.empty()) return absl::OkStatus();
    return Bad("fingerprint.kv_codec: an opaque layout is never encoded.");
  }
  if (f.layout != "nhd" && f.layout != "hnd") {
    return Bad("fingerprint.layout: want nhd, hnd or opaque.");
  }
  return KvLayout::Of(f).status();
}

std::string CanonicalCbor(const Fingerprint& fingerprint) {
  std::vector<Field> fields = Fields(fingerprint);
  std::vector<std::pair<std::string, std::string>> items;
  for (const Field& field : fields) {
    if (field.value.empty()) continue;
    items.emplace_back(CborText(field.name), field.value);
  }
  std::sort(items.begin(), items.end());  // Bytewise order of encoded keys.
  std::string out = CborHead(5, items.size());
  for (const auto& [name, value] : items) absl::StrAppend(&out, name, value);
  return out;
}

std::string FingerprintDigest(const Fingerprint& fingerprint) {
  const Sha256Digest digest = Sha256({CanonicalCbor(fingerprint)});
  return std::string(AsText(digest).substr(0, kFingerprintBytes));
}

std::vector<std::string> DifferingFields(const Fingerprint& a,
                                         const Fingerprint& b) {
  const std::vector<Field> fields_a = Fields(a);
  const std::vector<Field> fields_b = Fields(b);
  std::vector<std::string> names;
  for (size_t i = 0; i < fields_a.size(); ++i) {
    if (fields_a[i].value != fields_b[i].value) {
      names.push_back(fields_a[i].name);
    }
  }
  return names;
}

}  // namespace banyan
