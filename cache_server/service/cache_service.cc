#include "cache_server/service/cache_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "cache_server/service/status_to_grpc.h"
#include "cache_server/service/wire.h"
#include "client/transport/calibration_parts.h"

namespace banyan::service {
namespace {

namespace pb = banyan::v1;

constexpr absl::Duration kTtlDefault = absl::Seconds(10);

absl::StatusOr<absl::Duration> TtlOf(bool is_set,
                                     const google::protobuf::Duration& ttl) {
  if (!is_set) return kTtlDefault;
  return DurationOf(ttl);
}

absl::Status Overloaded() {
  return WithRetryDelay(
      MakeError(absl::StatusCode::kResourceExhausted, "OVERLOADED",
                "overloaded; retry after 20 ms."),
      absl::Milliseconds(20));
}

absl::Status DeadlinePassed() {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "DEADLINE",
                   "deadline passed before work began.");
}

bool IsOverdue(const grpc::CallbackServerContext& context) {
  return context.deadline() <= std::chrono::system_clock::now();
}

}  // namespace

CacheService::CacheService(engine::BlockStore& store, tiers::Executor& executor,
                           transfer::DoorTickets& tickets, const Clock& clock,
                           const Options& options)
    : store_(store),
      executor_(executor),
      tickets_(tickets),
      clock_(clock),
      options_(options),
      watch_(options.streams, clock, store.counters()),
      arriving_calibrations_(options.arriving_calibration_bytes_max),
      wakes_({.threads = 1, .queue_max = options.calls_max}) {}

CacheService::~CacheService() = default;

absl::Status CacheService::Enter(const grpc::CallbackServerContext& context) {
  if (is_draining_) {
    return WithRetryDelay(MakeError(absl::StatusCode::kUnavailable, "DRAINING",
                                    "node is draining; retry on another."),
                          absl::Milliseconds(1));
  }
  if (IsOverdue(context)) return DeadlinePassed();
  if (++calls_ > options_.calls_max) {
    --calls_;
    server::Add(store_.counters().rejected_overload);
    return Overloaded();
  }
  return absl::OkStatus();
}

absl::Status CacheService::BecomeFollower() {
  if (++followers_ > options_.calls_max) {
    --followers_;
    server::Add(store_.counters().rejected_overload);
    return Overloaded();
  }
  --calls_;
  return absl::OkStatus();
}

absl::Status CacheService::TurnAway() {
  server::Add(store_.counters().rejected_overload);
  return Overloaded();
}

void CacheService::Tick() {
  watch_.Tick();
  for (const std::string& session_id : watch_.Sessions()) {
    if (!store_.IsSessionOpen(session_id)) watch_.CutSession(session_id);
  }
}

void CacheService::TellDeadline(grpc::CallbackServerContext& context) const {
  if (HasDeadline(context)) return;
  context.AddInitialMetadata(
      "banyan-deadline-applied",
      absl::FormatDuration(options_.streams.deadline_cap));
}

template <typename Call>
grpc::ServerUnaryReactor* CacheService::Run(
    grpc::CallbackServerContext* context, const Call& call) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (absl::Status entered = Enter(*context); !entered.ok()) {
    reactor->Finish(ToGrpc(entered));
    return reactor;
  }
  TellDeadline(*context);
  const absl::Status status = call();
  Leave();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

template <typename Call>
grpc::ServerUnaryReactor* CacheService::RunBlocking(
    grpc::CallbackServerContext* context, Call call) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (absl::Status entered = Enter(*context); !entered.ok()) {
    reactor->Finish(ToGrpc(entered));
    return reactor;
  }
  TellDeadline(*context);
  const bool is_taken =
      executor_.TrySubmit([this, context, reactor, call = std::move(call)] {
        // What nobody waits for any more is not begun.
        const absl::Status status =
            IsOverdue(*context) ? DeadlinePassed() : call();
        Leave();
        reactor->Finish(ToGrpc(status));
      });
  if (is_taken) return reactor;
  Leave();
  reactor->Finish(ToGrpc(TurnAway()));
  return reactor;
}

template <typename Call>
grpc::ServerUnaryReactor* CacheService::RunCold(
    grpc::CallbackServerContext* context, Call call) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (absl::Status entered = Enter(*context); !entered.ok()) {
    reactor->Finish(ToGrpc(entered));
    return reactor;
  }
  TellDeadline(*context);
  absl::Status status = call(engine::ColdReads::kDefer);
  if (engine::IsDeferred(status)) {
    const bool is_taken = executor_.TrySubmit([this, context, reactor, call] {
      const absl::Status read = IsOverdue(*context)
                                    ? DeadlinePassed()
                                    : call(engine::ColdReads::kRead);
      Leave();
      reactor->Finish(ToGrpc(read));
    });
    if (is_taken) return reactor;
    status = call(engine::ColdReads::kSkip);
  }
  Leave();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

grpc::ServerUnaryReactor* CacheService::OpenDoor(
    grpc::CallbackServerContext* context, const pb::OpenDoorRequest* request,
    pb::OpenDoorResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_RETURN_IF_ERROR(store_.TouchSession(request->session_id()));
    BANYAN_ASSIGN_OR_RETURN(
        auto ticket, tickets_.Issue(request->door(), request->session_id()));
    response->set_address(std::move(ticket.address));
    response->set_token(std::move(ticket.token));
    response->set_proof(std::move(ticket.proof));
    SetDuration(ticket.ttl, response->mutable_ttl());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* CacheService::OpenNamespace(
    grpc::CallbackServerContext* context,
    const pb::OpenNamespaceRequest* request,
    pb::OpenNamespaceResponse* response) {
  return Run(context, [&] {
    return Open(*context, *request, request->calibration(), *response);
  });
}

absl::Status CacheService::Open(const grpc::CallbackServerContext& context,
                                const pb::OpenNamespaceRequest& request,
                                absl::string_view calibration,
                                pb::OpenNamespaceResponse& response) {
  if (IsOverdue(context)) return DeadlinePassed();
  BANYAN_ASSIGN_OR_RETURN(const Fingerprint fingerprint,
                          FingerprintOf(request.fingerprint()));
  BANYAN_ASSIGN_OR_RETURN(
      const auto opened,
      store_.OpenNamespace(request.name(), fingerprint,
                           {.codec = request.ssd().codec(),
                            .error_max = request.ssd().error_max()},
                           calibration));
  const engine::Namespace& ns = *opened.ns;
  if (!ns.fingerprint.kv_codec.empty() && calibration.empty()) {
    const absl::string_view bytes = ns.calibration_bytes();
    response.set_calibration_bytes(bytes.size());
    if (bytes.size() <= transport::kWholeCalibrationBytesMax) {
      response.set_calibration(std::string(bytes));
    }
  }
  response.set_namespace_id(ns.id);
  response.set_created(opened.is_created);
  response.set_fingerprint(ns.fingerprint_digest);
  response.set_name(ns.name);
  for (const auto& near_miss : opened.near_misses) {
    auto* const out = response.add_near_misses();
    out->set_name(near_miss.name);
    for (const std::string& field : near_miss.fields) out->add_fields(field);
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* CacheService::MatchPrefix(
    grpc::CallbackServerContext* context, const pb::MatchPrefixRequest* request,
    pb::MatchPrefixResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const uint32_t hits,
                            store_.Match(TargetOf(*request)));
    response->set_hit_blocks(hits);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* CacheService::Exists(
    grpc::CallbackServerContext* context, const pb::ExistsRequest* request,
    pb::ExistsResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const std::vector<bool> exists,
                            store_.Exists(TargetOf(*request)));
    std::string bitmap((exists.size() + 7) / 8, '\0');
    for (size_t i = 0; i < exists.size(); ++i) {
      if (exists[i]) bitmap[i / 8] |= static_cast<char>(1 << (i % 8));
    }
    response->set_bitmap(std::move(bitmap));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* CacheService::Acquire(
    grpc::CallbackServerContext* context, const pb::AcquireRequest* request,
    pb::AcquireResponse* response) {
  return RunCold(
      context,
      [this, context, request,
       response](engine::ColdReads cold) -> absl::Status {
        BANYAN_ASSIGN_OR_RETURN(const auto mode, ModeOf(request->mode()));
        BANYAN_ASSIGN_OR_RETURN(const absl::Duration ttl,
                                TtlOf(request->has_ttl(), request->ttl()));
        BANYAN_ASSIGN_OR_RETURN(const engine::Target target,
                                ReadTargetOf(*request));
        BANYAN_ASSIGN_OR_RETURN(
            const auto granted,
            store_.Acquire(request->session_id(), request->request_id(), target,
                           mode, ttl, cold, TimeForDisk(*context)));
        response->set_lease_id(granted.lease_id);
        for (const lease::PinnedBlock& block : *granted.pins) {
          pb::BlockHead* const head = response->add_blocks();
          SetHead(block.pin->header(), target.quality, head);
          head->set_ordinal(block.ordinal);
          head->set_tier(ToProto(block.tier));
        }
        SetDuration(granted.ttl, response->mutable_ttl());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* CacheService::Renew(
    grpc::CallbackServerContext* context, const pb::RenewRequest* request,
    pb::RenewResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(absl::Duration ttl,
                            TtlOf(request->has_ttl(), request->ttl()));
    const std::vector<std::string> ids(request->lease_ids().begin(),
                                       request->lease_ids().end());
    BANYAN_ASSIGN_OR_RETURN(const auto unknown,
                            store_.Renew(request->session_id(), ids, ttl));
    for (const std::string& id : unknown) response->add_unknown(id);
    SetDuration(ttl, response->mutable_ttl());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* CacheService::Release(
    grpc::CallbackServerContext* context, const pb::ReleaseRequest* request,
    pb::ReleaseResponse*) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const tiers::ReuseHint hint,
                            HintOf(request->hint()));
    const std::vector<std::string> ids(request->lease_ids().begin(),
                                       request->lease_ids().end());
    store_.Release(request->session_id(), ids, hint);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* CacheService::Hint(
    grpc::CallbackServerContext* context, const pb::HintRequest* request,
    pb::HintResponse* response) {
  return Run(context, [&]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const tiers::ReuseHint hint,
                            HintOf(request->hint()));
    BANYAN_ASSIGN_OR_RETURN(const uint32_t blocks,
                            store_.Hint(TargetOf(*request), hint));
    response->set_hinted_blocks(blocks);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* CacheService::Reserve(
    grpc::CallbackServerContext* context, const pb::ReserveRequest* request,
    pb::ReserveResponse* response) {
  const auto reserve = [this, request, response]() -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(const auto durability,
                            DurabilityOf(request->durability()));
    BANYAN_ASSIGN_OR_RETURN(const tiers::ReuseHint hint,
                            HintOf(request->hint()));
    BANYAN_ASSIGN_OR_RETURN(
        const auto reserved,
        store_.Reserve(request->session_id(), request->request_id(),
                       TargetOf(*request), request->payload_bytes(),
                       request->piece_bytes(), durability, hint,
                       request->by_layers() ? engine::WriteOrder::kLayers
                                            : engine::WriteOrder::kBlocks));
    response->set_write_id(reserved.write_id);
    if (request->by_layers()) {
      response->set_piece_bytes(reserved.piece_bytes);
      response->set_layers(reserved.layers);
    }
    for (const auto verdict : reserved.verdicts) {
      response->add_verdicts(VerdictOf(verdict));
    }
    return absl::OkStatus();
  };
  // Blocks that exist may have to be written to disk first.
  if (request->durability() == pb::DURABILITY_DURABLE) {
    return RunBlocking(context, reserve);
  }
  return Run(context, reserve);
}

grpc::ServerUnaryReactor* CacheService::Commit(
    grpc::CallbackServerContext* context, const pb::CommitRequest* request,
    pb::CommitResponse* response) {
  const auto commit = [this, request, response]() -> absl::Status {
    const auto claims = ClaimsOf(*request);
    if (!claims.ok()) {
      store_.CountBadWrite(claims.status());
      return claims.status();
    }
    BANYAN_ASSIGN_OR_RETURN(const tiers::ReuseHint hint,
                            HintOf(request->hint()));
    BANYAN_ASSIGN_OR_RETURN(const auto committed,
                            store_.Commit(request->session_id(),
                                          request->write_id(), *claims, hint));
    for (const auto outcome : committed.outcomes) {
      response->add_outcomes(outcome == engine::WriteOutcome::kCommitted
                                 ? pb::CommitResponse::OUTCOME_COMMITTED
                                 : pb::CommitResponse::OUTCOME_LOST_RACE);
    }
    response->set_already_committed(committed.is_repeat);
    response->set_durability(ToProto(committed.durability));
    return absl::OkStatus();
  };
  if (store_.IsDurable(request->session_id(), request->write_id())) {
    return RunBlocking(context, commit);
  }
  return Run(context, commit);
}

// Never refused: it only gives back what others may wait for.
grpc::ServerUnaryReactor* CacheService::Abort(
    grpc::CallbackServerContext* context, const pb::AbortRequest* request,
    pb::AbortResponse*) {
  store_.Abort(request->session_id(), request->write_id());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace banyan::service
