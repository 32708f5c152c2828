// The namespaces of a node: name, fingerprint, id, and the hasher that turns
// their keys into block ids.
//
// Threads: thread-safe. A Namespace is immutable and outlives its removal for
//          as long as somebody holds it.
// Errors:  kNotFound reason NAMESPACE; kFailedPrecondition reason REFUSED (see
//          Refuse). Open also kInvalidArgument (name or fingerprint; reason CODEC:
//          no codec for such blocks; reason CALIBRATION), kFailedPrecondition
//          reason LAYOUT, MODEL or POLICY (the name is taken by another
//          fingerprint, or another policy), kResourceExhausted reason NAMESPACES
//          or CALIBRATIONS.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/block_header.h"
#include "base/block_id.h"
#include "base/fingerprint.h"
#include "base/mutex.h"
#include "cache_server/engine/ssd_coding.h"

namespace banyan::engine {

struct Namespace {
  std::string name;
  std::string id;  // kNamespaceIdBytes.
  Fingerprint fingerprint;
  std::string fingerprint_digest;
  SsdPolicy ssd_policy;
  // Of kv_codec, or of the policy's; null: there is none. Namespaces with equal
  // ones share it.
  std::shared_ptr<const std::string> calibration;
  std::string calibration_digest;               // SHA-256, where there is one.
  std::shared_ptr<const SsdCoding> ssd_coding;  // Null: blocks as they are.
  uint64_t raw_bytes_of_lossy = 0;  // Of kv_codec; see RawBytesOfLossy.
  uint32_t number = 0;              // Given once, never reused.
  BlockIdHasher unsalted;
  std::string empty_salt_digest;

  absl::string_view calibration_bytes() const {
    return calibration == nullptr ? absl::string_view() : *calibration;
  }

  // How far a block of it is from what was written (base/representation.h); no
  // value: nobody has measured it.
  std::optional<uint8_t> ErrorClassOf(const BlockHeader& header) const;
};
using NamespacePtr = std::shared_ptr<const Namespace>;

class NamespaceRegistry {
 public:
  struct Options {
    size_t namespaces_max = 4096;
    // What the calibrations of all may take, with what their codecs make of them.
    uint64_t calibration_bytes_max = uint64_t{512} << 20;
    std::string node_secret;  // Keys all block ids.
    int id_bits = 128;        // Fewer force collisions, in tests.
  };

  explicit NamespaceRegistry(const Options& options);

  struct NearMiss {
    std::string name;
    std::vector<std::string> fields;
  };
  struct Opened {
    NamespacePtr ns;
    bool is_created = false;
    std::vector<NearMiss> near_misses;
  };

  // An empty name is replaced by "ns-" and the fingerprint's digest in hex.
  // The policy is that of whoever creates the namespace; one that names no codec
  // agrees with any. So is the calibration, which the codec of either wants:
  // bytes, of which the fingerprint has the digest if it is for kv_codec.
  absl::StatusOr<Opened> Open(absl::string_view name,
                              const Fingerprint& fingerprint,
                              const SsdPolicy& ssd_policy = {},
                              absl::string_view calibration = {});
  // The same of one that was open before the node's last end: however much
  // calibrations may take by now, its blocks are there.
  absl::StatusOr<Opened> Recover(absl::string_view name,
                                 const Fingerprint& fingerprint,
                                 const SsdPolicy& ssd_policy,
                                 absl::string_view calibration);

  // From now on whoever asks for the namespace of this name, or id, is told that
  // it cannot be served, and `why`; until it is removed.
  void Refuse(absl::string_view name, absl::string_view id,
              const absl::Status& why);

  // Why namespaces are refused, one line each.
  std::vector<std::string> RefusedLines() const;

  // The id of such a namespace.
  static std::string IdOf(absl::string_view name,
                          const Fingerprint& fingerprint);

  absl::StatusOr<NamespacePtr> FindById(absl::string_view id) const;
  absl::StatusOr<NamespacePtr> FindByName(absl::string_view name) const;
  // Also one that is refused: then only name, id and number are known.
  absl::StatusOr<NamespacePtr> Remove(absl::string_view name);
  std::vector<NamespacePtr> All() const;  // By name.

  // The number of the namespace with this id; if it is not open, the one that
  // it will have.
  uint32_t NumberOf(absl::string_view id);

  // The hasher for the salt; cheap for the empty one.
  BlockIdHasher HasherFor(const Namespace& ns, absl::string_view salt) const;

 private:
  struct Refused {
    std::string name;
    std::string id;
    std::string why;

    absl::Status status() const;
  };

  // What is asked for, as far as it follows from that alone.
  struct Candidate;
  class Making;

  absl::StatusOr<Opened> OpenWithin(uint64_t calibration_bytes_max,
                                    absl::string_view name,
                                    const Fingerprint& fingerprint,
                                    const SsdPolicy& ssd_policy,
                                    absl::string_view calibration);
  // Whether it agrees, and nothing that it sent has to be looked at any more.
  static bool IsKnown(const Namespace& ns, const Candidate& candidate);
  static absl::Status Agrees(const Namespace& ns, const Candidate& candidate);
  std::vector<NearMiss> NearMissesOf(const Fingerprint& fingerprint) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // An open one's, if it has the same bytes.
  std::shared_ptr<const std::string> Shared(const Candidate& candidate) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What the calibration and its codec will take, beside what is there.
  uint64_t BytesFor(const Candidate& candidate,
                    uint64_t calibration_bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckMemory(uint64_t more, uint64_t bytes_max) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  NamespacePtr Create(Candidate candidate)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // OK: none of this name, or id, is refused. Either may be empty.
  absl::Status CheckRefused(absl::string_view name, absl::string_view id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<NamespacePtr> RemoveLocked(absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t TakeNumber(const std::string& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, NamespacePtr> by_name_
      ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, NamespacePtr> by_id_ ABSL_GUARDED_BY(mutex_);
  std::vector<Refused> refused_ ABSL_GUARDED_BY(mutex_);  // Few.
  // Numbers given ahead, by id.
  absl::flat_hash_map<std::string, uint32_t> promised_ ABSL_GUARDED_BY(mutex_);
  uint32_t next_number_ ABSL_GUARDED_BY(mutex_) = 1;
  // What calibrations that are being looked at will take.
  uint64_t making_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace banyan::engine
