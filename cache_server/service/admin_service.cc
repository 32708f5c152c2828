#include "cache_server/service/admin_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/kv_layout.h"
#include "base/status_macros.h"
#include "base/units.h"
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
  out->set_tier(ToProto(block.tier));
  out->set_is_pinned(block.is_pinned);
}

// The usage of every tier of the node, the fastest first.
template <typename Response>
void AddTiers(engine::BlockStore& store, Response* out) {
  SetTierUsage(tiers::TierKind::kHost, store.HostUsage(), out->add_tiers());
  if (store.cold() == nullptr) return;
  SetTierUsage(tiers::TierKind::kSsd, store.cold()->tier().usage(),
               out->add_tiers());
}

void AddSessions(engine::BlockStore& store, pb::StatsResponse* response) {
  for (const auto& session : store.ListSessions()) {
    auto* const out = response->add_sessions();
    out->set_client_id(session.client_id);
    out->set_engine(session.note.engine);
    out->set_transport(session.note.transport);
    out->set_why(session.note.why);
    out->set_fallbacks(session.note.fallbacks);
    out->set_given_up(session.note.given_up);
    SetDuration(session.idle, out->mutable_idle());
  }
}

absl::Status NoSsd() {
  return MakeError(absl::StatusCode::kFailedPrecondition, "NO_SSD",
                   "scrub: this node has no SSD. Start it with --ssd-dir.");
}

template <typename Value>
void AddFact(const char* name, const Value& value,
             pb::DescribeTiersResponse::Tier* out) {
  auto* const fact = out->add_facts();
  fact->set_name(name);
  fact->set_value(absl::StrCat(value));
}

void DescribeHost(engine::BlockStore& store,
                  pb::DescribeTiersResponse::Tier* out) {
  SetTierUsage(tiers::TierKind::kHost, store.HostUsage(), out->mutable_usage());
  out->set_state("ok");
  AddFact("largest block", FormatBytes(store.host_block_bytes_max()), out);
}

void DescribeSsd(tiers::SsdTier& ssd, pb::DescribeTiersResponse::Tier* out) {
  SetTierUsage(tiers::TierKind::kSsd, ssd.usage(), out->mutable_usage());
  const auto problems = ssd.problems();
  out->set_state(problems.empty() ? "ok" : problems[0].message);
  for (size_t i = 1; i < problems.size(); ++i) {
    AddFact("also", problems[i].message, out);
  }
  const tiers::SsdCounters counters = ssd.counters();
  const tiers::SsdOpenReport& opened = ssd.open_report();
  AddFact("largest block", FormatBytes(ssd.block_bytes_max()), out);
  AddFact("engine", ssd.engine_name(), out);
  AddFact("write amplification", counters.write_amplification(), out);
  AddFact("written by users", FormatBytes(counters.user_written_bytes), out);
  AddFact("carried by reclaim", FormatBytes(counters.carried_bytes), out);
  AddFact("segments reclaimed", counters.segments_reclaimed, out);
  AddFact("segments quarantined", counters.segments_quarantined, out);
  AddFact("read", FormatBytes(counters.read_bytes), out);
  AddFact("blocks found damaged", counters.corruptions, out);
  AddFact("blocks that could not be read", counters.blocks_dropped_unreadable,
          out);
  AddFact("blocks at start", opened.blocks, out);
  AddFact("opened in", absl::FormatDuration(opened.open_time), out);
  if (opened.is_rebuilt) {
    AddFact("catalogue rebuilt because", opened.rebuild_reason, out);
  }
  for (size_t i = 0; i < tiers::DiskHealth::kOpCount; ++i) {
    if (counters.disk.slow_calls[i] == 0) continue;
    AddFact(
        "slow calls",
        absl::StrCat(
            tiers::DiskHealth::NameOf(static_cast<tiers::DiskHealth::Op>(i)),
            ": ", counters.disk.slow_calls[i], " of ", counters.disk.calls[i]),
        out);
  }
  for (const auto& [error, count] : counters.errors) {
    AddFact("errors", absl::StrCat(error.first, " ", error.second, ": ", count),
            out);
  }
}

}  // namespace

AdminService::AdminService(engine::BlockStore& store, engine::Mover* mover,
                           tiers::Executor& executor, const Clock& clock,
                           std::function<std::string()> state)
    : store_(store),
      mover_(mover),
      executor_(executor),
      clock_(clock),
      started_(clock.Now()),
      state_(std::move(state)) {}

AdminService::~AdminService() = default;

template <typename Call>
grpc::ServerUnaryReactor* AdminService::RunBlocking(
    grpc::CallbackServerContext* context, Call call) {
  if (mover_ == nullptr) return Run(context, call);  // There is no disk.
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const bool is_taken =
      executor_.TrySubmit([reactor, call] { reactor->Finish(ToGrpc(call())); });
  if (!is_taken) {
    reactor->Finish(
        ToGrpc(MakeError(absl::StatusCode::kResourceExhausted, "OVERLOADED",
                         "overloaded; the disk has too much to do. Retry.")));
  }
  return reactor;
}

void AdminService::SetRecord(const engine::Namespace& ns,
                             pb::NamespaceRecord* out) const {
  out->set_name(ns.name);
  out->set_namespace_id(ns.id);
  SetFingerprint(ns.fingerprint, out->mutable_fingerprint());
  out->set_calibration_digest(ns.calibration_digest);
  out->set_calibration_bytes(ns.calibration_bytes().size());
  out->set_blocks(store_.BlocksOf(ns));
  if (!ns.ssd_policy.codec.empty()) {
    out->mutable_ssd()->set_codec(ns.ssd_policy.codec);
    out->mutable_ssd()->set_error_max(ns.ssd_policy.error_max);
  }
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
  return RunBlocking(context, [this, request, response]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const uint64_t removed,
                            store_.DropNamespace(request->name()));
    response->set_removed_blocks(removed);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::Delete(
    grpc::CallbackServerContext* context, const pb::DeleteRequest* request,
    pb::DeleteResponse* response) {
  return RunBlocking(context, [this, request, response]() -> absl::Status {
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
  return RunBlocking(context, [this, request, response]() -> absl::Status {
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
      SetHead(facts[i].header, QualityFloor(), out->mutable_head());
      if (facts[i].error_class.has_value()) {
        out->mutable_head()->set_error_class(*facts[i].error_class);
      }
      out->mutable_head()->set_tier(ToProto(facts[i].tier));
      SetDuration(facts[i].idle, out->mutable_idle());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::ListBlocks(
    grpc::CallbackServerContext* context, const pb::ListBlocksRequest* request,
    pb::ListBlocksResponse* response) {
  return RunBlocking(context, [this, request, response]() -> absl::Status {
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
    AddTiers(store_, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::Trim(
    grpc::CallbackServerContext* context, const pb::TrimRequest* request,
    pb::TrimResponse* response) {
  return RunBlocking(context, [this, request, response]() -> absl::Status {
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

grpc::ServerUnaryReactor* AdminService::DescribeTiers(
    grpc::CallbackServerContext* context, const pb::DescribeTiersRequest*,
    pb::DescribeTiersResponse* response) {
  return Run(context, [&] {
    DescribeHost(store_, response->add_tiers());
    if (store_.cold() != nullptr) {
      DescribeSsd(store_.cold()->tier(), response->add_tiers());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::StartScrub(
    grpc::CallbackServerContext* context, const pb::StartScrubRequest*,
    pb::StartScrubResponse*) {
  return Run(context, [&]() -> absl::Status {
    if (mover_ == nullptr) return NoSsd();
    mover_->StartScrub();
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::ScrubStatus(
    grpc::CallbackServerContext* context, const pb::ScrubStatusRequest*,
    pb::ScrubStatusResponse* response) {
  return Run(context, [&]() -> absl::Status {
    if (mover_ == nullptr) return NoSsd();
    const auto status = mover_->scrub_status();
    response->set_is_running(status.is_running);
    response->set_records(status.records);
    response->set_bytes(status.bytes);
    response->set_findings(status.findings);
    response->set_passes(status.passes);
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
    AddTiers(store_, response);
    AddSessions(store_, response);
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
