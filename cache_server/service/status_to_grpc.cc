#include "cache_server/service/status_to_grpc.h"

#include <string>

#include "absl/strings/string_view.h"
#include "base/error.h"
#include "google/rpc/error_details.pb.h"

namespace banyan::service {
namespace {

// The field of a message of the form "field: what is wrong".
std::string FieldOf(absl::string_view message) {
  return std::string(message.substr(0, message.find(':')));
}

void AddDetails(const absl::Status& status, google::rpc::Status& out) {
  const std::string message(status.message());
  google::rpc::ErrorInfo info;
  info.set_reason(ErrorReason(status));
  info.set_domain("banyan");
  out.add_details()->PackFrom(info);

  if (absl::IsInvalidArgument(status)) {
    google::rpc::BadRequest detail;
    detail.add_field_violations()->set_field(FieldOf(message));
    detail.mutable_field_violations(0)->set_description(message);
    out.add_details()->PackFrom(detail);
  } else if (absl::IsFailedPrecondition(status)) {
    google::rpc::PreconditionFailure detail;
    detail.add_violations()->set_type(ErrorReason(status));
    detail.mutable_violations(0)->set_description(message);
    out.add_details()->PackFrom(detail);
  } else if (absl::IsResourceExhausted(status)) {
    google::rpc::QuotaFailure detail;
    detail.add_violations()->set_subject(FieldOf(message));
    detail.mutable_violations(0)->set_description(message);
    out.add_details()->PackFrom(detail);
  } else if (absl::IsNotFound(status)) {
    google::rpc::ResourceInfo detail;
    detail.set_resource_type("namespace");
    detail.set_description(message);
    out.add_details()->PackFrom(detail);
  }
  if (const absl::Duration delay = RetryDelay(status);
      delay > absl::ZeroDuration()) {
    google::rpc::RetryInfo detail;
    detail.mutable_retry_delay()->set_nanos(
        static_cast<int>(absl::ToInt64Nanoseconds(delay) % 1000000000));
    detail.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
    out.add_details()->PackFrom(detail);
  }
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());
  const std::string message(status.message());
  google::rpc::Status details;
  details.set_code(static_cast<int>(code));
  details.set_message(message);
  AddDetails(status, details);
  return {code, message, details.SerializeAsString()};
}

}  // namespace banyan::service
