#include "cache_server/engine/namespace_registry.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/bytes.h"
#include "base/error.h"
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
                   ". Leave the policy out, or use a new namespace."));
}

}  // namespace

NamespaceRegistry::NamespaceRegistry(const Options& options)
    : options_(options) {}

absl::StatusOr<NamespaceRegistry::Opened> NamespaceRegistry::Open(
    absl::string_view name, const Fingerprint& fingerprint,
    const SsdPolicy& ssd_policy) {
  BANYAN_RETURN_IF_ERROR(ValidateFingerprint(fingerprint));
  BANYAN_RETURN_IF_ERROR(CheckCodec(fingerprint));
  std::shared_ptr<const SsdCoding> ssd_coding;
  if (!ssd_policy.codec.empty()) {
    BANYAN_ASSIGN_OR_RETURN(ssd_coding,
                            SsdCoding::Make(fingerprint, ssd_policy));
  }
  const std::string digest = FingerprintDigest(fingerprint);
  const std::string full_name =
      name.empty() ? absl::StrCat("ns-", absl::BytesToHexString(digest))
                   : std::string(name);
  BANYAN_RETURN_IF_ERROR(ValidateName(full_name));

  MutexLock lock(mutex_);
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
    if (ssd_coding != nullptr && !(found->second->ssd_policy == ssd_policy)) {
      return OtherPolicy(*found->second);
    }
    opened.ns = found->second;
    return opened;
  }
  if (by_name_.size() >= options_.namespaces_max) {
    return MakeError(absl::StatusCode::kResourceExhausted, "NAMESPACES",
                     absl::StrCat("namespaces: ", by_name_.size(),
                                  " exist, the limit. Drop some."));
  }
  const Sha256Digest id_digest =
      Sha256({"banyan.namespace.v1", full_name, digest});
  const std::string id(AsText(id_digest).substr(0, kNamespaceIdBytes));
  const auto promised = promised_.find(id);
  const uint32_t number =
      promised == promised_.end() ? next_number_++ : promised->second;
  promised_.erase(id);
  opened.is_created = true;
  opened.ns = std::make_shared<const Namespace>(Namespace{
      .name = full_name,
      .id = id,
      .fingerprint = fingerprint,
      .fingerprint_digest = digest,
      .ssd_policy = ssd_policy,
      .ssd_coding = std::move(ssd_coding),
      .number = number,
      .unsalted = BlockIdHasher(options_.node_secret, id, "", options_.id_bits),
      .empty_salt_digest = SaltDigest("")});
  by_name_[full_name] = opened.ns;
  by_id_[id] = opened.ns;
  return opened;
}

absl::StatusOr<NamespacePtr> NamespaceRegistry::FindById(
    absl::string_view id) const {
  MutexLock lock(mutex_);
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
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return NoSuchNamespace(Echo(name));
  return found->second;
}

absl::StatusOr<NamespacePtr> NamespaceRegistry::Remove(absl::string_view name) {
  BANYAN_ASSIGN_OR_RETURN(const NamespacePtr ns, FindByName(name));
  MutexLock lock(mutex_);
  by_name_.erase(name);
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
