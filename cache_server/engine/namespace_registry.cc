#include "cache_server/engine/namespace_registry.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/representation.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/units.h"
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
                   ns.calibration == nullptr ? "" : " and its own calibration",
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

// What the codec of a policy makes of its calibration: floats of halves, and as
// many of the inverse of a basis.
constexpr uint64_t kTablesOfByte = 4;

uint64_t TablesBytesOf(const SsdPolicy& policy, uint64_t calibration_bytes) {
  return policy.codec.empty() ? 0 : kTablesOfByte * calibration_bytes;
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
    return TooLongCalibration(calibration.size());
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

struct NamespaceRegistry::Candidate {
  std::string name;
  std::string id;
  const Fingerprint& fingerprint;
  std::string fingerprint_digest;
  const SsdPolicy& ssd_policy;
  std::shared_ptr<const SsdCoding> ssd_coding;
  std::shared_ptr<const std::string> calibration;
  std::string calibration_digest;
};

// Gives back what making_bytes_ has for a candidate.
class NamespaceRegistry::Making {
 public:
  explicit Making(NamespaceRegistry& registry) : registry_(registry) {}
  ~Making() {
    if (bytes == 0) return;
    MutexLock lock(registry_.mutex_);
    registry_.making_bytes_ -= bytes;
  }
  Making(const Making&) = delete;
  Making& operator=(const Making&) = delete;

  uint64_t bytes = 0;

 private:
  NamespaceRegistry& registry_;
};

absl::StatusOr<NamespaceRegistry::Opened> NamespaceRegistry::Open(
    absl::string_view name, const Fingerprint& fingerprint,
    const SsdPolicy& ssd_policy, absl::string_view calibration) {
  return OpenWithin(options_.calibration_bytes_max, name, fingerprint,
                    ssd_policy, calibration);
}

absl::StatusOr<NamespaceRegistry::Opened> NamespaceRegistry::Recover(
    absl::string_view name, const Fingerprint& fingerprint,
    const SsdPolicy& ssd_policy, absl::string_view calibration) {
  return OpenWithin(std::numeric_limits<uint64_t>::max(), name, fingerprint,
                    ssd_policy, calibration);
}

absl::StatusOr<NamespaceRegistry::Opened> NamespaceRegistry::OpenWithin(
    uint64_t calibration_bytes_max, absl::string_view name,
    const Fingerprint& fingerprint, const SsdPolicy& ssd_policy,
    absl::string_view calibration) {
  BANYAN_RETURN_IF_ERROR(ValidateFingerprint(fingerprint));
  Candidate candidate{.fingerprint = fingerprint,
                      .fingerprint_digest = FingerprintDigest(fingerprint),
                      .ssd_policy = ssd_policy};
  candidate.name = FullName(name, candidate.fingerprint_digest);
  candidate.id = NamespaceId(candidate.name, candidate.fingerprint_digest);
  if (!calibration.empty()) {
    candidate.calibration_digest = std::string(AsText(Sha256({calibration})));
  }
  // What follows takes seconds if the calibration is long.
  Making making(*this);
  {
    MutexLock lock(mutex_);
    const auto found = by_name_.find(candidate.name);
    if (found != by_name_.end() && IsKnown(*found->second, candidate)) {
      return Opened{.ns = found->second,
                    .near_misses = NearMissesOf(fingerprint)};
    }
    if (found == by_name_.end() && !calibration.empty()) {
      const uint64_t more = BytesFor(candidate, calibration.size());
      BANYAN_RETURN_IF_ERROR(CheckMemory(more, calibration_bytes_max));
      making_bytes_ += more;
      making.bytes = more;
    }
  }
  BANYAN_RETURN_IF_ERROR(ValidateName(candidate.name));
  BANYAN_RETURN_IF_ERROR(CheckCodec(fingerprint));
  BANYAN_RETURN_IF_ERROR(
      CheckCalibrationSent(fingerprint, ssd_policy, calibration));
  if (!ssd_policy.codec.empty()) {
    BANYAN_ASSIGN_OR_RETURN(
        candidate.ssd_coding,
        SsdCoding::Make(fingerprint, ssd_policy, calibration));
  }
  if (!calibration.empty()) {
    candidate.calibration = std::make_shared<const std::string>(calibration);
  }

  MutexLock lock(mutex_);
  BANYAN_RETURN_IF_ERROR(CheckRefused(candidate.name, candidate.id));
  Opened opened{.near_misses = NearMissesOf(fingerprint)};
  const auto found = by_name_.find(candidate.name);
  if (found != by_name_.end()) {
    BANYAN_RETURN_IF_ERROR(Agrees(*found->second, candidate));
    opened.ns = found->second;
    return opened;
  }
  if (calibration.empty()) {
    BANYAN_RETURN_IF_ERROR(CheckCalibration(fingerprint, calibration));
  }
  if (by_name_.size() >= options_.namespaces_max) {
    return MakeError(absl::StatusCode::kResourceExhausted, "NAMESPACES",
                     absl::StrCat("namespaces: ", by_name_.size(),
                                  " exist, the limit. Drop some."));
  }
  candidate.calibration = Shared(candidate);
  opened.is_created = true;
  opened.ns = Create(std::move(candidate));
  return opened;
}

std::vector<NamespaceRegistry::NearMiss> NamespaceRegistry::NearMissesOf(
    const Fingerprint& fingerprint) const {
  std::vector<NearMiss> near_misses;
  for (const auto& [name, ns] : by_name_) {
    std::vector<std::string> fields =
        DifferingFields(ns->fingerprint, fingerprint);
    if (fields.size() == 1) {
      near_misses.push_back({.name = name, .fields = std::move(fields)});
    }
  }
  return near_misses;
}

bool NamespaceRegistry::IsKnown(const Namespace& ns,
                                const Candidate& candidate) {
  const std::string& sent = candidate.calibration_digest;
  return Agrees(ns, candidate).ok() &&
         (sent.empty() || sent == ns.calibration_digest);
}

absl::Status NamespaceRegistry::Agrees(const Namespace& ns,
                                       const Candidate& candidate) {
  if (ns.fingerprint_digest != candidate.fingerprint_digest) {
    return OtherFingerprint(ns, candidate.fingerprint);
  }
  if (!candidate.ssd_policy.codec.empty() &&
      (!(ns.ssd_policy == candidate.ssd_policy) ||
       ns.calibration_digest != candidate.calibration_digest)) {
    return OtherPolicy(ns);
  }
  return absl::OkStatus();
}

std::shared_ptr<const std::string> NamespaceRegistry::Shared(
    const Candidate& candidate) const {
  for (const auto& [name, ns] : by_name_) {
    if (ns->calibration_digest == candidate.calibration_digest) {
      return ns->calibration;
    }
  }
  return candidate.calibration;
}

uint64_t NamespaceRegistry::BytesFor(const Candidate& candidate,
                                     uint64_t calibration_bytes) const {
  const uint64_t tables =
      TablesBytesOf(candidate.ssd_policy, calibration_bytes);
  const bool is_there = Shared(candidate) != nullptr;
  return is_there ? tables : tables + calibration_bytes;
}

absl::Status NamespaceRegistry::CheckMemory(uint64_t more,
                                            uint64_t bytes_max) const {
  absl::flat_hash_set<const std::string*> counted;
  uint64_t held = making_bytes_;
  for (const auto& [name, ns] : by_name_) {
    const uint64_t bytes = ns->calibration_bytes().size();
    held += TablesBytesOf(ns->ssd_policy, bytes);
    if (counted.insert(ns->calibration.get()).second) held += bytes;
  }
  if (more + held <= bytes_max) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted, "CALIBRATIONS",
      absl::StrCat("calibrations: ", FormatBytes(held), " of ",
                   FormatBytes(bytes_max), " are taken, this wants ",
                   FormatBytes(more),
                   ". Drop namespaces, or raise calibration-bytes."));
}

NamespacePtr NamespaceRegistry::Create(Candidate candidate) {
  auto ns = std::make_shared<const Namespace>(
      Namespace{.name = candidate.name,
                .id = candidate.id,
                .fingerprint = candidate.fingerprint,
                .fingerprint_digest = std::move(candidate.fingerprint_digest),
                .ssd_policy = candidate.ssd_policy,
                .calibration = std::move(candidate.calibration),
                .calibration_digest = std::move(candidate.calibration_digest),
                .ssd_coding = std::move(candidate.ssd_coding),
                .raw_bytes_of_lossy = RawBytesOfLossy(candidate.fingerprint),
                .number = TakeNumber(candidate.id),
                .unsalted = BlockIdHasher(options_.node_secret, candidate.id,
                                          "", options_.id_bits),
                .empty_salt_digest = SaltDigest("")});
  by_name_[ns->name] = ns;
  by_id_[ns->id] = ns;
  return ns;
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
                                                    .calibration = nullptr,
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
