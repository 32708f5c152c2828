#include "cache_server/transfer/ucx_connection.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::transfer {
namespace {

using transport::UcxAnswer;
using transport::UcxToNodeKind;

absl::Status Malformed(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "FRAME",
                   absl::StrCat("ucx: ", what, ". Check both versions."));
}

}  // namespace

UcxConnection::UcxConnection(const Shared& shared, transport::UcxLinkPtr link,
                             std::string peer)
    : shared_(shared),
      link_(std::move(link)),
      peer_(std::move(peer)),
      accepted_(shared.clock.Now()),
      gets_(std::make_shared<UcxGets>(shared.options, shared.store, shared.cold,
                                      shared.clock, link_)) {}

absl::Status UcxConnection::OnMessage(absl::Span<const std::byte> head,
                                      const absl::Span<const std::byte>* body) {
  if (body == nullptr) return Malformed("a body that would have to be fetched");
  if (body->size() > transport::kUcxBodyBytesMax) {
    return Malformed(absl::StrCat("a body of ", body->size(), " bytes, limit ",
                                  transport::kUcxBodyBytesMax));
  }
  if (link_->sending_own() >= shared_.options.answers_max) {
    return MakeError(absl::StatusCode::kResourceExhausted, "ANSWERS",
                     absl::StrCat("ucx: ", link_->sending_own(),
                                  " answers were not taken, the limit. Read "
                                  "what you ask for."));
  }
  BANYAN_ASSIGN_OR_RETURN(const UcxToNodeKind kind,
                          transport::UcxToNodeKindOf(head));
  if ((kind == UcxToNodeKind::kHello) == is_welcome()) {
    return Malformed(is_welcome() ? "a second hello" : "not a hello first");
  }
  switch (kind) {
    case UcxToNodeKind::kHello:
      return Welcome(head);
    case UcxToNodeKind::kMatch: {
      BANYAN_ASSIGN_OR_RETURN(const auto question,
                              transport::ParseUcxQuestion(head, *body));
      Match(question);
      return absl::OkStatus();
    }
    case UcxToNodeKind::kGet:
    case UcxToNodeKind::kCheck: {
      BANYAN_ASSIGN_OR_RETURN(const auto question,
                              transport::ParseUcxQuestion(head, *body));
      if (kind == UcxToNodeKind::kCheck && question.run.size() != 1) {
        return Malformed("a check of other than one block");
      }
      gets_->Begin(question);
      return absl::OkStatus();
    }
    case UcxToNodeKind::kPut: {
      BANYAN_ASSIGN_OR_RETURN(const auto put, transport::ParseUcxPut(head));
      Put(put, *body);
      return absl::OkStatus();
    }
    case UcxToNodeKind::kCancel: {
      BANYAN_ASSIGN_OR_RETURN(const auto cancel,
                              transport::ParseUcxCancel(head));
      gets_->Cancel(cancel.call_id);
      return absl::OkStatus();
    }
    case UcxToNodeKind::kBye:
      BANYAN_RETURN_IF_ERROR(transport::ParseUcxBye(head));
      return MakeError(absl::StatusCode::kCancelled, "BYE",
                       "ucx: the client leaves.");
  }
  return absl::OkStatus();
}

absl::Status UcxConnection::Welcome(absl::Span<const std::byte> head) {
  BANYAN_ASSIGN_OR_RETURN(const auto hello, transport::ParseUcxHello(head));
  BANYAN_ASSIGN_OR_RETURN(DoorTickets::Guest guest,
                          shared_.tickets.Redeem("ucx", hello.token));
  session_id_ = std::move(guest.session_id);
  server::Add(shared_.store.counters().ucx_opened);
  link_->SendOwn(EncodeUcx(transport::UcxWelcome{
      .group_blocks = shared_.store.options().index.group_blocks,
      .proof = guest.proof}));
  return absl::OkStatus();
}

absl::Status UcxConnection::Look() {
  const UcxDoorOptions& options = shared_.options;
  const absl::Duration now = shared_.clock.Now();
  if (!is_welcome() && now - accepted_ >= options.hello_timeout) {
    return MakeError(
        absl::StatusCode::kDeadlineExceeded, "SILENT",
        absl::StrCat("ucx: no hello within ",
                     absl::FormatDuration(options.hello_timeout), "."));
  }
  if (is_welcome() && !shared_.store.IsSessionOpen(session_id_)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "SESSION",
                     "ucx: the session has ended. Open another.");
  }
  if (now - gets_->waiting_since() >= options.stall_timeout) {
    return MakeError(
        absl::StatusCode::kDeadlineExceeded, "STALLED",
        absl::StrCat("ucx: nothing was taken for ",
                     absl::FormatDuration(options.stall_timeout), "."));
  }
  gets_->DropOverdue();
  return absl::OkStatus();
}

void UcxConnection::Match(const transport::UcxQuestion& question) {
  const auto hits = shared_.store.Match(TargetOf(question));
  Answer({.call_id = question.call_id,
          .status = hits.status(),
          .blocks = hits.ok() ? *hits : 0});
}

// Copies the bytes to their room, and computes checksums over the copy.
void UcxConnection::Put(const transport::UcxPut& put,
                        absl::Span<const std::byte> bytes) {
  const auto write = shared_.store.FindWrite(session_id_, put.write_id);
  absl::Status status = write.status();
  if (status.ok()) status = (*write)->Write(put.ordinal, put.offset, bytes);
  if (!status.ok()) shared_.store.CountBadWrite(status);
  Answer({.call_id = put.call_id, .status = status});
}

void UcxConnection::Answer(const UcxAnswer& answer) {
  link_->SendOwn(EncodeUcx(answer), UcxBodyOf(answer));
}

}  // namespace banyan::transfer
