#include "client/ctl/blocks.h"

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <span>

#include "absl/strings/str_cat.h"
#include "base/block_key.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "client/ctl/exit_code.h"
#include "client/ctl/shape.h"

namespace banyan::ctl {
namespace {

constexpr size_t kBlockBytesMax = 64 * kMiB;

absl::StatusOr<std::string> PackedKeys(const ChainArguments& chain,
                                       size_t& key_bytes) {
  std::string packed;
  for (const std::string& hex : chain.hex_keys) {
    BANYAN_ASSIGN_OR_RETURN(const BlockKey key, BlockKey::FromHex(hex));
    if (!packed.empty() && key.bytes().size() != key_bytes) {
      return absl::InvalidArgumentError(
          "keys: of different lengths. A chain has keys of one length.");
    }
    key_bytes = key.bytes().size();
    absl::StrAppend(&packed, key.bytes());
  }
  return packed;
}

Fingerprint OpaqueFingerprint(const std::string& model,
                              const std::string& revision) {
  return {.model = model, .revision = revision, .layout = "opaque"};
}

// The namespace as `namespace create` without options makes it.
absl::StatusOr<std::string> OpenByName(Client& client, const std::string& ns) {
  BANYAN_ASSIGN_OR_RETURN(const auto opened,
                          client.OpenNamespace(ns, OpaqueFingerprint(ns, "")));
  return opened.id;
}

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  if (path == "-") {
    return std::string(std::istreambuf_iterator<char>(std::cin), {});
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(absl::StrCat("file: cannot read \"", Echo(path),
                                            "\". Check the path."));
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::Status WriteAll(const std::string& path, std::span<const char> bytes) {
  if (path == "-") {
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    return absl::OkStatus();
  }
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnknownError(
      absl::StrCat("file: cannot write \"", Echo(path), "\"."));
}

absl::Status Put(Client& client, const ChainArguments& chain,
                 const std::string& path, Durability durability) {
  KeyChain keys{.salt = chain.salt};
  BANYAN_ASSIGN_OR_RETURN(const std::string packed,
                          PackedKeys(chain, keys.key_bytes));
  keys.keys = packed;
  BANYAN_ASSIGN_OR_RETURN(const std::string bytes, ReadAll(path));
  BANYAN_ASSIGN_OR_RETURN(const std::string id, OpenByName(client, chain.ns));
  const auto last = static_cast<uint32_t>(keys.size() - 1);
  const Completion done =
      client.Put(id, keys, last, {std::as_bytes(std::span(bytes))},
                 {.durability = durability});
  BANYAN_RETURN_IF_ERROR(done.status);
  switch (done.writes.at(0)) {
    case WriteResult::kCommitted:
      std::printf("committed %s%s\n", FormatBytes(bytes.size()).c_str(),
                  durability == Durability::kDurable ? ", durable" : "");
      return absl::OkStatus();
    case WriteResult::kExists:
      std::printf("exists already; not changed\n");
      return absl::OkStatus();
    case WriteResult::kInProgress:
      return absl::AbortedError(
          "block: another writer is at it. Try again in a moment.");
    case WriteResult::kTooLarge:
      return absl::InvalidArgumentError("block: larger than the tier.");
    case WriteResult::kNoCapacity:
      break;
  }
  return absl::ResourceExhaustedError(
      "host tier: full, all pinned. Release leases or add memory.");
}

absl::Status Get(Client& client, const ChainArguments& chain,
                 const std::string& path, const GetOptions& options) {
  KeyChain keys{.salt = chain.salt};
  BANYAN_ASSIGN_OR_RETURN(const std::string packed,
                          PackedKeys(chain, keys.key_bytes));
  keys.keys = packed;
  BANYAN_ASSIGN_OR_RETURN(const std::string id, OpenByName(client, chain.ns));
  std::vector<char> buffer(kBlockBytesMax);
  const auto last = static_cast<uint32_t>(keys.size() - 1);
  const Completion done = client.Get(
      id, keys, last, {std::as_writable_bytes(std::span(buffer))}, options);
  BANYAN_RETURN_IF_ERROR(done.status);
  if (done.reads.at(0) == ReadResult::kCorrupt) {
    return absl::DataLossError("block: failed verification and was dropped.");
  }
  if (done.reads.at(0) == ReadResult::kMiss) {
    return absl::NotFoundError("block: not stored. See: banyanctl match");
  }
  return WriteAll(path, std::span(buffer).first(done.read_bytes[0]));
}

absl::StatusOr<OpenedNamespace> Open(Client& client,
                                     const NamespaceArguments& arguments) {
  Fingerprint fingerprint = OpaqueFingerprint(
      arguments.model.empty() ? arguments.name : arguments.model,
      arguments.revision);
  fingerprint.kv_codec = arguments.kv_codec;
  if (!arguments.shape.empty()) {
    BANYAN_RETURN_IF_ERROR(
        SetShape(arguments.shape, arguments.block_tokens, fingerprint));
  }
  NamespaceOptions options{.ssd_codec = arguments.ssd_codec,
                           .ssd_error_max = arguments.ssd_error_max};
  if (!arguments.calibration_path.empty()) {
    BANYAN_ASSIGN_OR_RETURN(options.calibration,
                            ReadAll(arguments.calibration_path));
  }
  return client.OpenNamespace(arguments.name, fingerprint, options);
}

}  // namespace

int NamespaceCreate(Client& client, const NamespaceArguments& arguments) {
  const auto opened = Open(client, arguments);
  if (!opened.ok()) return Report(opened.status());
  std::printf("%s \"%s\"\n", opened->is_created ? "created" : "exists",
              opened->name.c_str());
  for (const std::string& near_miss : opened->near_misses) {
    std::fprintf(stderr, "differs in one field only from %s\n",
                 near_miss.c_str());
  }
  return kExitOk;
}

int PutFile(Client& client, const ChainArguments& chain,
            const std::string& path, Durability durability) {
  return Report(Put(client, chain, path, durability));
}

int GetFile(Client& client, const ChainArguments& chain,
            const std::string& path, const GetOptions& options) {
  return Report(Get(client, chain, path, options));
}

int MatchChain(Client& client, const ChainArguments& chain, bool is_json) {
  KeyChain keys{.salt = chain.salt};
  const auto packed = PackedKeys(chain, keys.key_bytes);
  if (!packed.ok()) return Report(packed.status());
  keys.keys = *packed;
  const auto id = OpenByName(client, chain.ns);
  if (!id.ok()) return Report(id.status());
  const auto hits = client.Match(*id, keys);
  if (!hits.ok()) return Report(hits.status());
  if (is_json) {
    std::printf("{\"hit_blocks\": %u, \"blocks\": %zu}\n", *hits, keys.size());
  } else {
    std::printf("%u of %zu blocks\n", *hits, keys.size());
  }
  return kExitOk;
}

}  // namespace banyan::ctl
