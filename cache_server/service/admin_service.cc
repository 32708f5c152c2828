#include "cache_server/service/admin_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/kv_layout.h"
#include "base/status_macros.h"
#include "cache_server/service/status_to_grpc.h"
#include "cache_server/service/wire.h"

namespace banyan::service {
namespace {

namespace pb = banyan::v1;

template <typename Call>
grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context,
                              const Call& call) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(call()));
  return reactor;
}

absl::Status CheckTrim(const pb::TrimRequest& request) {
  const auto invalid = [](absl::string_view message) {
    return MakeError(absl::StatusCode::kInvalidArgument, "SELECTOR", message);
  };
  if (request.namespace_name().empty() != request.all_namespaces()) {
    return invalid(
        "selector: name one namespace, or set all_namespaces. Not both.");
  }
  if (!request.has_to_bytes() && !request.has_older_than()) {
    return invalid("to_bytes: neither it nor older_than is given. Set one.");
  }
  if (request.older_than().seconds() < 0 || request.older_than().nanos() < 0) {
    return invalid("older_than: negative would mean everything. Send 0s.");
  }
  return absl::OkStatus();
}

constexpr uint32_t kPageBlocksMax = 1000;
constexpr uint32_t kPageBlocksDefault = 100;

// Cursors of ListBlocks: the ref to go on from, as four bytes. Empty: the start.
absl::StatusOr<tiers::BlockRef> CursorOf(const std::string& cursor) {
  if (cursor.empty()) return 0;
  if (cursor.size() != 4) {
    return MakeError(absl::StatusCode::kInvalidArgument, "CURSOR",
                     absl::StrCat("cursor: ", cursor.size(),
                                  " bytes, need 0 or 4. Send what next_cursor "
                                  "said."));
  }
  return LoadLe32(AsBytes(cursor).data());
}

std::string ToCursor(tiers::BlockRef next) {
  std::string cursor(4, '\0');
  StoreLe32(next, reinterpret_cast<std::byte*>(cursor.data()));
  return cursor;
}

absl::StatusOr<uint32_t> PageBlocksOf(uint32_t limit) {
  if (limit == 0) return kPageBlocksDefault;
  if (limit <= kPageBlocksMax) return limit;
  return MakeError(
      absl::StatusCode::kInvalidArgument, "LIMIT",
      absl::StrCat("limit: ", limit, ", need 1 to ", kPageBlocksMax, "."));
}

void SetListed(const engine::BlockStore::ListedBlock& block,
               pb::ListBlocksResponse::Block* out) {
  const BlockIdentity& identity = block.header.identity;
  out->set_key(std::string(identity.key.bytes()));
  out->set_salt_digest(identity.salt_digest);
  out->set_depth(block.heat.depth);
  out->set_payload_bytes(block.header.payload_bytes);
  out->set_touches(block.heat.touches);
  SetDuration(block.idle, out->mutable_idle());
  out->set_tier(pb::TIER_KIND_HOST);
  out->set_is_pinned(block.is_pinned);
}

}  // namespace

AdminService::AdminService(engine::BlockStore& store, const Clock& clock,
                           std::function<std::string()> state)
    : store_(store),
      clock_(clock),
      started_(clock.Now()),
      state_(std::move(state)) {}

void AdminService::SetRecord(const engine::Namespace& ns,
                             pb::NamespaceRecord* out) const {
  out->set_name(ns.name);
  out->set_namespace_id(ns.id);
  SetFingerprint(ns.fingerprint, out->mutable_fingerprint());
  out->set_blocks(store_.BlocksOf(ns));
}

grpc::ServerUnaryReactor* AdminService::ListNamespaces(
    grpc::CallbackServerContext* context, const pb::ListNamespacesRequest*,
    pb::ListNamespacesResponse* response) {
  return Run(context, [&] {
    for (const auto& ns : store_.namespaces().All()) {
      SetRecord(*ns, response->add_namespaces());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::DescribeNamespace(
    grpc::CallbackServerContext* context,
    const pb::DescribeNamespaceRequest* request,
    pb::DescribeNamespaceResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const auto ns,
                            store_.namespaces().FindByName(request->name()));
    SetRecord(*ns, response->mutable_namespace_());
    // An opaque layout has no sizes: both stay 0.
    if (const auto layout = KvLayout::Of(ns->fingerprint); layout.ok()) {
      response->set_bytes_per_token(layout->bytes_per_token());
      response->set_block_bytes(layout->block_bytes());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::DropNamespace(
    grpc::CallbackServerContext* context,
    const pb::DropNamespaceRequest* request,
    pb::DropNamespaceResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const uint64_t removed,
                            store_.DropNamespace(request->name()));
    response->set_removed_blocks(removed);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::Delete(
    grpc::CallbackServerContext* context, const pb::DeleteRequest* request,
    pb::DeleteResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const auto keys, KeysOf(request->keys()));
    BANYAN_ASSIGN_OR_RETURN(
        const uint64_t removed,
        store_.Delete(request->namespace_name(), request->salt(), keys));
    response->set_removed_blocks(removed);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::Stat(
    grpc::CallbackServerContext* context, const pb::StatRequest* request,
    pb::StatResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const auto keys, KeysOf(request->keys()));
    BANYAN_ASSIGN_OR_RETURN(
        const auto facts,
        store_.Stat(request->namespace_name(), request->salt(), keys));
    for (size_t i = 0; i < keys.size(); ++i) {
      auto* const out = response->add_blocks();
      out->set_key(std::string(keys[i].bytes()));
      out->set_is_stored(facts[i].is_stored);
      if (!facts[i].is_stored) continue;
      out->set_depth(facts[i].heat.depth);
      out->set_touches(facts[i].heat.touches);
      out->set_is_pinned(facts[i].is_pinned);
      SetHead(facts[i].header, out->mutable_head());
      SetDuration(facts[i].idle, out->mutable_idle());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::ListBlocks(
    grpc::CallbackServerContext* context, const pb::ListBlocksRequest* request,
    pb::ListBlocksResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const uint32_t limit,
                            PageBlocksOf(request->limit()));
    BANYAN_ASSIGN_OR_RETURN(const tiers::BlockRef from,
                            CursorOf(request->cursor()));
    BANYAN_ASSIGN_OR_RETURN(
        const auto page,
        store_.ListBlocks(request->namespace_name(), from, limit));
    for (const auto& block : page.blocks) {
      SetListed(block, response->add_blocks());
    }
    if (page.next != tiers::kNoBlock) {
      response->set_next_cursor(ToCursor(page.next));
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::Usage(
    grpc::CallbackServerContext* context, const pb::UsageRequest* request,
    pb::UsageResponse* response) {
  return Run(context, [&]() -> absl::Status {
    auto chosen = store_.namespaces().All();
    if (!request->namespace_name().empty()) {
      BANYAN_ASSIGN_OR_RETURN(const auto ns, store_.namespaces().FindByName(
                                                 request->namespace_name()));
      chosen = {ns};
    }
    for (const auto& ns : chosen) {
      auto* const out = response->add_namespaces();
      out->set_name(ns->name);
      out->set_blocks(store_.BlocksOf(*ns));
    }
    SetTierUsage(store_.HostUsage(), response->add_tiers());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::Trim(
    grpc::CallbackServerContext* context, const pb::TrimRequest* request,
    pb::TrimResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_RETURN_IF_ERROR(CheckTrim(*request));
    absl::Duration older_than = absl::InfiniteDuration();
    if (request->has_older_than()) {
      BANYAN_ASSIGN_OR_RETURN(older_than, DurationOf(request->older_than()));
    }
    std::optional<uint64_t> to_bytes;
    if (request->has_to_bytes()) to_bytes = request->to_bytes();
    BANYAN_ASSIGN_OR_RETURN(
        const auto trimmed,
        store_.Trim(request->namespace_name(), to_bytes, older_than));
    response->set_removed_blocks(trimmed.blocks);
    response->set_removed_bytes(trimmed.bytes);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::Stats(
    grpc::CallbackServerContext* context, const pb::StatsRequest*,
    pb::StatsResponse* response) {
  return Run(context, [&] {
    for (const auto& reading : store_.Stats()) {
      auto* const out = response->add_counters();
      out->set_name(reading.name);
      out->set_value(reading.value);
      out->set_is_gauge(reading.is_gauge);
    }
    SetDuration(clock_.Now() - started_, response->mutable_uptime());
    SetTierUsage(store_.HostUsage(), response->add_tiers());
    response->set_state(state_());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::Version(
    grpc::CallbackServerContext* context, const pb::VersionRequest*,
    pb::VersionResponse* response) {
  return Run(context, [&] {
    response->set_version(BANYAN_VERSION);
    response->set_protocol_min(1);
    response->set_protocol_max(1);
    response->set_compiler(__VERSION__);
    return absl::OkStatus();
  });
}

}  // namespace banyan::service
