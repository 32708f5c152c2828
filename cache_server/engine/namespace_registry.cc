#include "cache_server/engine/namespace_registry.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/representation.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "cache_server/engine/namespace_codec.h"

namespace banyan::engine {
namespace {

constexpr size_t kNameBytesMax = 63;

absl::Status ValidateName(absl::string_view name) {
  const bool has_bad_char =
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") !=
      absl::string_view::npos;
  if (!name.empty() && name.size() <= kNameBytesMax && !has_bad_char) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "NAMESPACE_NAME",
                   absl::StrCat("namespace: \"", Echo(name),
                                "\": only a-z 0-9 - _ ., 1-63 chars."));
}

absl::Status NoSuchNamespace(absl::string_view shown) {
  return MakeError(absl::StatusCode::kNotFound, "NAMESPACE",
                   absl::StrCat("namespace \"", shown,
                                "\" does not exist. See: banyanctl namespace "
                                "list."));
}

std::string ShapeOf(const Fingerprint& f) {
  if (f.layout == "opaque") return "opaque";
  return absl::StrCat(f.data_type, "/", f.block_tokens, "x", f.kv_heads, "x",
                      f.head_dim);
}

absl::Status OtherFingerprint(const Namespace& ns, const Fingerprint& given) {
  const std::vector<std::string> fields =
      DifferingFields(ns.fingerprint, given);
  const bool is_model =
      std::all_of(fields.begin(), fields.end(), [](const std::string& field) {
        return field == "model" || field == "revision" ||
               field == "quantization" || field == "adapter";
      });
  if (is_model) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "MODEL",
        absl::StrCat("model: ", absl::StrJoin(fields, ", "),
                     " differs from namespace \"", ns.name, "\" (",
                     Echo(given.revision), " is not ",
                     Echo(ns.fingerprint.revision), "). Use a new namespace."));
  }
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "LAYOUT",
      absl::StrCat("layout: ", ShapeOf(given), " does not match namespace \"",
                   ns.name, "\" (", ShapeOf(ns.fingerprint), "); fields: ",
                   absl::StrJoin(fields, ", "), ". Use a new namespace."));
}

absl::Status OtherPolicy(const Namespace& ns) {
  const SsdPolicy& policy = ns.ssd_policy;
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "POLICY",
      absl::StrCat("ssd: namespace \"", ns.name, "\" was created with codec \"",
                   policy.codec, "\", error_max ", policy.error_max,
                   ns.calibration.empty() ? "" : " and its own calibration",
                   ". Leave the policy out, or use a new namespace."));
}

std::string FullName(absl::string_view name, absl::string_view digest) {
  if (!name.empty()) return std::string(name);
  return absl::StrCat("ns-", absl::BytesToHexString(digest));
}

std::string NamespaceId(absl::string_view full_name, absl::string_view digest) {
  const Sha256Digest id = Sha256({"banyan.namespace.v1", full_name, digest});
  return std::string(AsText(id).substr(0, kNamespaceIdBytes));
}

// Of what wants one; what has none yet is CheckCalibration's.
absl::Status CheckCalibrationSent(const Fingerprint& fingerprint,
                                  const SsdPolicy& ssd_policy,
                                  absl::string_view calibration) {
  const auto bad = [](absl::string_view message) {
    return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION",
                     message);
  };
  if (calibration.empty()) return absl::OkStatus();
  if (calibration.size() > kCalibrationBytesMax) {
    return bad(absl::StrCat("calibration: ", calibration.size(),
                            " bytes, limit ", kCalibrationBytesMax, "."));
  }
  if (fingerprint.kv_codec.empty() && ssd_policy.codec.empty()) {
    return bad("calibration: there is no codec to want it. Leave it out.");
  }
  return CheckCalibration(fingerprint, calibration);
}

}  // namespace

std::optional<uint8_t> Namespace::ErrorClassOf(
    const BlockHeader& header) const {
  const uint8_t error_class = Representation::Of(header.codec).error_class;
  const bool is_unknown = error_class == 0 && raw_bytes_of_lossy != 0 &&
                          header.payload_bytes != raw_bytes_of_lossy;
  if (is_unknown) return std::nullopt;
  return error_class;
}

NamespaceRegistry::NamespaceRegistry(const Options& options)
    : options_(options) {}

absl::StatusOr<NamespaceRegistry::Opened> NamespaceRegistry::Open(
    absl::string_view name, const Fingerprint& fingerprint,
    const SsdPolicy& ssd_policy, absl::string_view calibration) {
  BANYAN_RETURN_IF_ERROR(ValidateFingerprint(fingerprint));
  BANYAN_RETURN_IF_ERROR(CheckCodec(fingerprint));
  BANYAN_RETURN_IF_ERROR(
      CheckCalibrationSent(fingerprint, ssd_policy, calibration));
  std::shared_ptr<const SsdCoding> ssd_coding;
  if (!ssd_policy.codec.empty()) {
    BANYAN_ASSIGN_OR_RETURN(
        ssd_coding, SsdCoding::Make(fingerprint, ssd_policy, calibration));
  }
  const std::string digest = FingerprintDigest(fingerprint);
  const std::string full_name = FullName(name, digest);
  BANYAN_RETURN_IF_ERROR(ValidateName(full_name));
  const std::string id = NamespaceId(full_name, digest);

  MutexLock lock(mutex_);
  BANYAN_RETURN_IF_ERROR(CheckRefused(full_name, id));
  Opened opened;
  for (const auto& [other_name, other] : by_name_) {
    std::vector<std::string> fields =
        DifferingFields(other->fingerprint, fingerprint);
    if (fields.size() == 1) {
      opened.near_misses.push_back({.name = other_name, .fields = fields});
    }
  }
  const auto found = by_name_.find(full_name);
  if (found != by_name_.end()) {
    if (!(found->second->fingerprint_digest == digest)) {
      return OtherFingerprint(*found->second, fingerprint);
    }
    if (ssd_coding != nullptr && (!(found->second->ssd_policy == ssd_policy) ||
                                  found->second->calibration != calibration)) {
      return OtherPolicy(*found->second);
    }
    opened.ns = found->second;
    return opened;
  }
  BANYAN_RETURN_IF_ERROR(CheckCalibration(fingerprint, calibration));
  if (by_name_.size() >= options_.namespaces_max) {
    return MakeError(absl::StatusCode::kResourceExhausted, "NAMESPACES",
                     absl::StrCat("namespaces: ", by_name_.size(),
                                  " exist, the limit. Drop some."));
  }
  opened.is_created = true;
  opened.ns = std::make_shared<const Namespace>(Namespace{
      .name = full_name,
      .id = id,
      .fingerprint = fingerprint,
      .fingerprint_digest = digest,
      .ssd_policy = ssd_policy,
      .calibration = std::string(calibration),
      .calibration_digest =
          calibration.empty() ? "" : std::string(AsText(Sha256({calibration}))),
      .ssd_coding = std::move(ssd_coding),
      .raw_bytes_of_lossy = RawBytesOfLossy(fingerprint),
      .number = TakeNumber(id),
      .unsalted = BlockIdHasher(options_.node_secret, id, "", options_.id_bits),
      .empty_salt_digest = SaltDigest("")});
  by_name_[full_name] = opened.ns;
  by_id_[id] = opened.ns;
  return opened;
}

uint32_t NamespaceRegistry::TakeNumber(const std::string& id) {
  const auto promised = promised_.find(id);
  if (promised == promised_.end()) return next_number_++;
  const uint32_t number = promised->second;
  promised_.erase(promised);
  return number;
}

std::string NamespaceRegistry::IdOf(absl::string_view name,
                                    const Fingerprint& fingerprint) {
  const std::string digest = FingerprintDigest(fingerprint);
  return NamespaceId(FullName(name, digest), digest);
}

absl::Status NamespaceRegistry::Refused::status() const {
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "REFUSED",
      absl::StrCat("namespace: \"", Echo(name),
                   "\" is on the disk, and cannot be served (", why,
                   "). Start the version that wrote it, drop it, or use "
                   "another name."));
}

void NamespaceRegistry::Refuse(absl::string_view name, absl::string_view id,
                               const absl::Status& why) {
  MutexLock lock(mutex_);
  refused_.push_back({.name = std::string(name),
                      .id = std::string(id),
                      .why = std::string(why.message())});
}

std::vector<std::string> NamespaceRegistry::RefusedLines() const {
  MutexLock lock(mutex_);
  std::vector<std::string> lines;
  for (const Refused& refused : refused_) {
    lines.emplace_back(refused.status().message());
  }
  return lines;
}

absl::Status NamespaceRegistry::CheckRefused(absl::string_view name,
                                             absl::string_view id) const {
  for (const Refused& refused : refused_) {
    if (refused.name == name || refused.id == id) return refused.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<NamespacePtr> NamespaceRegistry::FindById(
    absl::string_view id) const {
  MutexLock lock(mutex_);
  BANYAN_RETURN_IF_ERROR(CheckRefused("", id));
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) {
    return NoSuchNamespace(absl::BytesToHexString(id.substr(0, 16)));
  }
  return found->second;
}

absl::StatusOr<NamespacePtr> NamespaceRegistry::FindByName(
    absl::string_view name) const {
  BANYAN_RETURN_IF_ERROR(ValidateName(name));
  MutexLock lock(mutex_);
  BANYAN_RETURN_IF_ERROR(CheckRefused(name, ""));
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return NoSuchNamespace(Echo(name));
  return found->second;
}

absl::StatusOr<NamespacePtr> NamespaceRegistry::Remove(absl::string_view name) {
  BANYAN_RETURN_IF_ERROR(ValidateName(name));
  MutexLock lock(mutex_);
  return RemoveLocked(name);
}

absl::StatusOr<NamespacePtr> NamespaceRegistry::RemoveLocked(
    absl::string_view name) {
  const auto refused =
      std::find_if(refused_.begin(), refused_.end(),
                   [&](const Refused& other) { return other.name == name; });
  if (refused != refused_.end()) {
    const std::string id = refused->id;
    const uint32_t number = TakeNumber(id);
    const BlockIdHasher hasher(options_.node_secret, id, "", options_.id_bits);
    auto ns =
        std::make_shared<const Namespace>(Namespace{.name = refused->name,
                                                    .id = id,
                                                    .fingerprint = {},
                                                    .fingerprint_digest = "",
                                                    .ssd_policy = {},
                                                    .calibration = "",
                                                    .calibration_digest = "",
                                                    .ssd_coding = nullptr,
                                                    .number = number,
                                                    .unsalted = hasher,
                                                    .empty_salt_digest = ""});
    refused_.erase(refused);
    return ns;
  }
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return NoSuchNamespace(Echo(name));
  NamespacePtr ns = found->second;
  by_name_.erase(found);
  by_id_.erase(ns->id);
  return ns;
}

uint32_t NamespaceRegistry::NumberOf(absl::string_view id) {
  MutexLock lock(mutex_);
  const auto open = by_id_.find(id);
  if (open != by_id_.end()) return open->second->number;
  const auto [promised, is_new] = promised_.try_emplace(id, next_number_);
  if (is_new) ++next_number_;
  return promised->second;
}

std::vector<NamespacePtr> NamespaceRegistry::All() const {
  std::vector<NamespacePtr> all;
  {
    MutexLock lock(mutex_);
    for (const auto& [name, ns] : by_name_) all.push_back(ns);
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a->name < b->name; });
  return all;
}

BlockIdHasher NamespaceRegistry::HasherFor(const Namespace& ns,
                                           absl::string_view salt) const {
  if (salt.empty()) return ns.unsalted;
  return BlockIdHasher(options_.node_secret, ns.id, salt, options_.id_bits);
}

}  // namespace banyan::engine
