#include "client/ctl/admin.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/block_key.h"
#include "base/error.h"
#include "base/representation.h"
#include "base/units.h"
#include "client/ctl/exit_code.h"
#include "client/transport/grpc_status.h"

namespace banyan::ctl {
namespace {

namespace pb = banyan::v1;

constexpr size_t kPageBlocks = 1000;

void PrintJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status =
      google::protobuf::util::MessageToJsonString(message, &text, options);
  std::printf("%s\n", status.ok() ? text.c_str() : "{}");
}

const char* TierName(pb::TierKind kind) {
  return kind == pb::TIER_KIND_SSD ? "ssd" : "host";
}

void PrintTier(const pb::TierUsage& tier) {
  std::printf("%-8s %10s %10s %10s %10s %10s %10lu\n", TierName(tier.tier()),
              FormatBytes(tier.capacity_bytes()).c_str(),
              FormatBytes(tier.used_bytes()).c_str(),
              FormatBytes(tier.staged_bytes()).c_str(),
              FormatBytes(tier.free_bytes()).c_str(),
              FormatBytes(tier.pinned_bytes()).c_str(),
              static_cast<unsigned long>(tier.blocks()));
}

void PrintTierHead() {
  std::printf("%-8s %10s %10s %10s %10s %10s %10s\n", "TIER", "CAPACITY",
              "USED", "STAGED", "FREE", "PINNED", "BLOCKS");
}

void PrintSessions(const pb::StatsResponse& stats) {
  if (stats.sessions().empty()) return;
  std::printf("%-32s %-16s %-10s %9s %8s  %s\n", "CLIENT", "ENGINE",
              "TRANSPORT", "FALLBACKS", "GIVEN UP", "WHY");
  for (const auto& session : stats.sessions()) {
    // Texts of the client's: escaped.
    std::printf(
        "%-32s %-16s %-10s %9lu %8lu  %s\n", Echo(session.client_id()).c_str(),
        Echo(session.engine()).c_str(), Echo(session.transport()).c_str(),
        static_cast<unsigned long>(session.fallbacks()),
        static_cast<unsigned long>(session.given_up()),
        absl::CHexEscape(session.why()).c_str());
  }
  std::printf("\n");
}

void PrintListed(const pb::ListBlocksResponse::Block& block) {
  std::printf("%s  salt %s  block %6u  %10s  %-4s %6u touches  idle %6ld s%s\n",
              absl::BytesToHexString(block.key()).c_str(),
              absl::BytesToHexString(block.salt_digest().substr(0, 4)).c_str(),
              block.depth(), FormatBytes(block.payload_bytes()).c_str(),
              TierName(block.tier()), block.touches(),
              static_cast<long>(block.idle().seconds()),
              block.is_pinned() ? "  pinned" : "");
}

// False, and a message, unless every key is hex.
bool AddKeys(const std::vector<std::string>& hex_keys,
             google::protobuf::RepeatedPtrField<std::string>* out) {
  for (const std::string& hex : hex_keys) {
    const auto key = BlockKey::FromHex(hex);
    if (!key.ok()) {
      Report(key.status());
      return false;
    }
    *out->Add() = std::string(key->bytes());
  }
  return true;
}

// How far a block is from what was written; nothing if it is that.
std::string ErrorText(const pb::BlockHead& head) {
  if (!head.has_error_class()) return ", error not measured";
  const uint32_t error_class = std::min(head.error_class(), 255u);
  if (error_class == 0) return "";
  return absl::StrFormat(", error at most %.2g",
                         ErrorBound(static_cast<uint8_t>(error_class)));
}

void PrintField(const char* name, const std::string& value) {
  if (!value.empty()) std::printf("%-16s %s\n", name, value.c_str());
}

void PrintNamespace(const pb::DescribeNamespaceResponse& response) {
  const pb::NamespaceRecord& ns = response.namespace_();
  const pb::Fingerprint& f = ns.fingerprint();
  PrintField("name", ns.name());
  PrintField("id", absl::BytesToHexString(ns.namespace_id()));
  PrintField("blocks", absl::StrCat(ns.blocks()));
  PrintField("model", f.model());
  PrintField("revision", f.revision());
  PrintField("quantization", f.quantization());
  PrintField("adapter", f.adapter());
  PrintField("hash", f.hash_algorithm());
  PrintField("hash seed", absl::BytesToHexString(f.hash_seed_digest()));
  PrintField("engine", f.engine());
  if (f.layers() == 0) return PrintField("layout", "opaque");
  PrintField("layout", f.layout() == pb::LAYOUT_ORDER_HND ? "hnd" : "nhd");
  PrintField("shape",
             absl::StrCat(f.layers(), " layers x ", f.planes(), " planes x ",
                          f.block_tokens(), " tokens x ", f.kv_heads(),
                          " heads x ", f.head_dim(), ", ",
                          pb::DataType_Name(f.data_type()).substr(10)));
  PrintField("codec", f.kv_codec());
  if (ns.calibration_bytes() > 0) {
    PrintField("calibration",
               absl::StrCat(FormatBytes(ns.calibration_bytes()), ", SHA-256 ",
                            absl::BytesToHexString(ns.calibration_digest())));
  }
  PrintField("parallel",
             absl::StrCat("rank ", f.rank(), ", tp ", std::max(1u, f.tp_size()),
                          ", pp ", std::max(1u, f.pp_size())));
  if (!ns.ssd().codec().empty()) {
    PrintField(
        "on SSD",
        absl::StrCat(ns.ssd().codec(), ", error at most ",
                     ns.ssd().error_max() > 0 ? ns.ssd().error_max() : 0.05));
  }
  PrintField("block", FormatBytes(response.block_bytes()));
  PrintField("token", FormatBytes(response.bytes_per_token()));
}

}  // namespace

Admin::Admin(std::shared_ptr<grpc::Channel> channel, absl::Duration timeout,
             const Output& output)
    : stub_(pb::Admin::NewStub(std::move(channel))),
      timeout_(timeout),
      output_(output) {}

template <typename Request, typename Response, typename Method>
int Admin::Ask(Method method, const Request& request, Response& response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMilliseconds(timeout_));
  const grpc::Status status =
      (stub_.get()->*method)(&context, request, &response);
  return Report(transport::FromGrpc(status));
}

// Exit code; kExitOk with JSON printed already if that is wanted.
template <typename Request, typename Response, typename Method>
int Admin::Call(Method method, const Request& request, Response& response) {
  const int code = Ask(method, request, response);
  if (code == kExitOk && output_.is_json) PrintJson(response);
  return code;
}

int Admin::Status() {
  pb::StatsResponse stats;
  const int code = Call(&pb::Admin::Stub::Stats, pb::StatsRequest(), stats);
  if (code != kExitOk || output_.is_json) return code;
  std::printf("state %s, up %ld s\n\n", stats.state().c_str(),
              static_cast<long>(stats.uptime().seconds()));
  PrintTierHead();
  for (const auto& tier : stats.tiers()) PrintTier(tier);
  std::printf("\n");
  PrintSessions(stats);
  for (const auto& counter : stats.counters()) {
    if (counter.value() == 0 && !counter.is_gauge()) continue;
    std::printf("%-64s %12lu\n", counter.name().c_str(),
                static_cast<unsigned long>(counter.value()));
  }
  return code;
}

int Admin::Version() {
  pb::VersionResponse version;
  const int code =
      Call(&pb::Admin::Stub::Version, pb::VersionRequest(), version);
  if (code == kExitOk && !output_.is_json) {
    std::printf("server  %s (protocol %u-%u)\n", version.version().c_str(),
                version.protocol_min(), version.protocol_max());
  }
  return code;
}

int Admin::NamespaceList() {
  pb::ListNamespacesResponse list;
  const int code =
      Call(&pb::Admin::Stub::ListNamespaces, pb::ListNamespacesRequest(), list);
  if (code != kExitOk || output_.is_json) return code;
  std::printf("%-40s %12s  %s\n", "NAMESPACE", "BLOCKS", "MODEL");
  for (const auto& ns : list.namespaces()) {
    std::printf("%-40s %12lu  %s\n", ns.name().c_str(),
                static_cast<unsigned long>(ns.blocks()),
                ns.fingerprint().model().c_str());
  }
  return code;
}

int Admin::NamespaceDescribe(const std::string& name) {
  pb::DescribeNamespaceRequest request;
  request.set_name(name);
  pb::DescribeNamespaceResponse response;
  const int code = Call(&pb::Admin::Stub::DescribeNamespace, request, response);
  if (code == kExitOk && !output_.is_json) PrintNamespace(response);
  return code;
}

int Admin::NamespaceDrop(const std::string& name) {
  pb::DropNamespaceRequest request;
  request.set_name(name);
  pb::DropNamespaceResponse response;
  const int code = Call(&pb::Admin::Stub::DropNamespace, request, response);
  if (code == kExitOk && !output_.is_json) {
    std::printf("dropped \"%s\": %lu blocks\n", name.c_str(),
                static_cast<unsigned long>(response.removed_blocks()));
  }
  return code;
}

absl::Status Admin::DropNamespace(const std::string& name) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMilliseconds(timeout_));
  pb::DropNamespaceRequest request;
  request.set_name(name);
  pb::DropNamespaceResponse response;
  return transport::FromGrpc(
      stub_->DropNamespace(&context, request, &response));
}

int Admin::KeyStat(const std::string& ns, const std::string& salt,
                   const std::vector<std::string>& hex_keys) {
  pb::StatRequest request;
  request.set_namespace_name(ns);
  request.set_salt(salt);
  if (!AddKeys(hex_keys, request.mutable_keys())) return kExitUsage;
  pb::StatResponse response;
  const int code = Call(&pb::Admin::Stub::Stat, request, response);
  if (code != kExitOk) return code;
  int stored = 0;
  for (const auto& block : response.blocks()) {
    stored += block.is_stored() ? 1 : 0;
    if (output_.is_json) continue;
    std::printf("%s  ", absl::BytesToHexString(block.key()).c_str());
    if (!block.is_stored()) {
      std::printf("not stored\n");
      continue;
    }
    std::printf(
        "%s, block %u of its chain, %u touches, idle %ld s%s%s\n",
        FormatBytes(block.head().payload_bytes()).c_str(), block.depth(),
        block.touches(), static_cast<long>(block.idle().seconds()),
        block.is_pinned() ? ", pinned" : "", ErrorText(block.head()).c_str());
  }
  if (stored == response.blocks_size()) return kExitOk;
  return stored == 0 ? kExitNotFound : kExitPartial;
}

int Admin::KeyRemove(const std::string& ns, const std::string& salt,
                     const std::vector<std::string>& hex_keys) {
  pb::DeleteRequest request;
  request.set_namespace_name(ns);
  request.set_salt(salt);
  if (!AddKeys(hex_keys, request.mutable_keys())) return kExitUsage;
  pb::DeleteResponse response;
  const int code = Call(&pb::Admin::Stub::Delete, request, response);
  if (code == kExitOk && !output_.is_json) {
    std::printf("removed %lu blocks\n",
                static_cast<unsigned long>(response.removed_blocks()));
  }
  return code;
}

int Admin::KeyList(const std::string& ns, size_t limit) {
  pb::ListBlocksRequest request;
  request.set_namespace_name(ns);
  pb::ListBlocksResponse all;
  do {
    const size_t left = limit - static_cast<size_t>(all.blocks_size());
    request.set_limit(static_cast<uint32_t>(std::min(left, kPageBlocks)));
    request.set_cursor(all.next_cursor());
    pb::ListBlocksResponse page;
    const int code = Ask(&pb::Admin::Stub::ListBlocks, request, page);
    if (code != kExitOk) return code;
    all.clear_next_cursor();
    all.MergeFrom(page);
  } while (!all.next_cursor().empty() &&
           static_cast<size_t>(all.blocks_size()) < limit);
  if (output_.is_json) {
    PrintJson(all);
    return kExitOk;
  }
  for (const auto& block : all.blocks()) PrintListed(block);
  if (!all.next_cursor().empty()) {
    std::fprintf(stderr, "There are more; see --limit.\n");
  }
  return kExitOk;
}

int Admin::Usage(const std::string& ns) {
  pb::UsageRequest request;
  request.set_namespace_name(ns);
  pb::UsageResponse response;
  const int code = Call(&pb::Admin::Stub::Usage, request, response);
  if (code != kExitOk || output_.is_json) return code;
  PrintTierHead();
  for (const auto& tier : response.tiers()) PrintTier(tier);
  std::printf("\n%-40s %12s\n", "NAMESPACE", "BLOCKS");
  for (const auto& entry : response.namespaces()) {
    std::printf("%-40s %12lu\n", entry.name().c_str(),
                static_cast<unsigned long>(entry.blocks()));
  }
  return code;
}

int Admin::Trim(const std::string& ns, std::optional<uint64_t> to_bytes,
                std::optional<absl::Duration> older_than) {
  pb::TrimRequest request;
  request.set_namespace_name(ns);
  request.set_all_namespaces(ns.empty());
  if (to_bytes.has_value()) request.set_to_bytes(*to_bytes);
  if (older_than.has_value()) {
    request.mutable_older_than()->set_seconds(
        absl::ToInt64Seconds(*older_than));
  }
  pb::TrimResponse response;
  const int code = Call(&pb::Admin::Stub::Trim, request, response);
  if (code == kExitOk && !output_.is_json) {
    std::printf("removed %lu blocks, %s\n",
                static_cast<unsigned long>(response.removed_blocks()),
                FormatBytes(response.removed_bytes()).c_str());
  }
  return code;
}

int Admin::TierDescribe() {
  pb::DescribeTiersResponse response;
  const int code = Call(&pb::Admin::Stub::DescribeTiers,
                        pb::DescribeTiersRequest(), response);
  if (code != kExitOk || output_.is_json) return code;
  for (const auto& tier : response.tiers()) {
    const pb::TierUsage& usage = tier.usage();
    PrintField("tier", TierName(usage.tier()));
    PrintField("state", tier.state());
    PrintField("capacity", FormatBytes(usage.capacity_bytes()));
    PrintField("used", FormatBytes(usage.used_bytes()));
    PrintField("payload", FormatBytes(usage.payload_bytes()));
    PrintField("blocks", absl::StrCat(usage.blocks()));
    for (const auto& fact : tier.facts()) {
      PrintField(fact.name().c_str(), fact.value());
    }
    std::printf("\n");
  }
  return code;
}

int Admin::ScrubStart() {
  pb::StartScrubResponse response;
  const int code =
      Call(&pb::Admin::Stub::StartScrub, pb::StartScrubRequest(), response);
  if (code == kExitOk && !output_.is_json) {
    std::printf("started. See: banyanctl scrub status\n");
  }
  return code;
}

int Admin::ScrubStatus() {
  pb::ScrubStatusResponse status;
  const int code =
      Call(&pb::Admin::Stub::ScrubStatus, pb::ScrubStatusRequest(), status);
  if (code != kExitOk) return code;
  if (!output_.is_json) {
    std::printf("%s. Verified %lu records, %s, in %lu passes: %lu damaged.\n",
                status.is_running() ? "running" : "not running",
                static_cast<unsigned long>(status.records()),
                FormatBytes(status.bytes()).c_str(),
                static_cast<unsigned long>(status.passes()),
                static_cast<unsigned long>(status.findings()));
  }
  return status.findings() > 0 ? kExitIntegrity : kExitOk;
}

uint64_t Admin::CapacityBytes() {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMilliseconds(timeout_));
  pb::UsageResponse response;
  stub_->Usage(&context, pb::UsageRequest(), &response);
  uint64_t bytes = 0;
  for (const auto& tier : response.tiers()) bytes += tier.capacity_bytes();
  return bytes;
}

}  // namespace banyan::ctl
