// Opening namespaces. A calibration that is too long for one message travels in
// parts, and only to, or from, a node where that is needed.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/cpp/node_calls.h"
#include "client/cpp/wire.h"
#include "client/transport/calibration_parts.h"
#include "client/transport/grpc_frames.h"

namespace banyan::client {
namespace {

namespace pb = banyan::v1;

std::string DigestOf(absl::string_view calibration) {
  return std::string(AsText(Sha256({calibration})));
}

absl::StatusOr<std::shared_ptr<const BlockCoding>> CodingFor(
    const Fingerprint& fingerprint, absl::string_view calibration,
    const NamespaceOptions& options) {
  if (!calibration.empty() &&
      DigestOf(calibration) != fingerprint.calibration_digest) {
    return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION",
                     "calibration: not the one that "
                     "fingerprint.calibration_digest names. Give that, or "
                     "leave the digest out.");
  }
  return BlockCoding::Make(fingerprint, {.rope = options.rope,
                                         .calibration = AsBytes(calibration),
                                         .measures = options.measures_error});
}

pb::OpenNamespaceRequest RequestFor(std::string_view name,
                                    const Fingerprint& fingerprint,
                                    const NamespaceOptions& options) {
  pb::OpenNamespaceRequest request;
  request.set_name(std::string(name));
  SetFingerprint(fingerprint, request.mutable_fingerprint());
  if (!options.ssd_codec.empty()) {
    request.mutable_ssd()->set_codec(options.ssd_codec);
    request.mutable_ssd()->set_error_max(options.ssd_error_max);
  }
  return request;
}

}  // namespace

absl::Status NodeCalls::OpenInOne(const pb::OpenNamespaceRequest& request,
                                  pb::OpenNamespaceResponse& response) {
  return RunRpc(absl::Milliseconds(options_.lookup_timeout_ms), 3,
                [&](grpc::ClientContext& context) {
                  return stub_->OpenNamespace(&context, request, &response);
                });
}

absl::Status NodeCalls::OpenInParts(const pb::OpenNamespaceRequest& request,
                                    absl::string_view calibration,
                                    pb::OpenNamespaceResponse& response) {
  pb::OpenCalibratedNamespaceResponse answer;
  BANYAN_RETURN_IF_ERROR(RunRpc(
      LoadTimeout(calibration.size()), 3, [&](grpc::ClientContext& context) {
        const auto writer = stub_->OpenCalibratedNamespace(&context, &answer);
        pb::OpenCalibratedNamespaceRequest part;
        *part.mutable_open() = request;
        part.set_calibration_bytes(calibration.size());
        for (size_t at = 0; at < calibration.size();
             at += transport::kCalibrationPartBytes) {
          part.set_calibration(std::string(
              calibration.substr(at, transport::kCalibrationPartBytes)));
          if (!writer->Write(part)) break;  // It is refused; Finish says why.
          part.Clear();
        }
        writer->WritesDone();
        return writer->Finish();
      }));
  response = std::move(*answer.mutable_opened());
  return absl::OkStatus();
}

absl::Status NodeCalls::Open(const pb::OpenNamespaceRequest& request,
                             absl::string_view calibration,
                             pb::OpenNamespaceResponse& response) {
  if (calibration.size() <= transport::kWholeCalibrationBytesMax) {
    pb::OpenNamespaceRequest whole = request;
    whole.set_calibration(std::string(calibration));
    return OpenInOne(whole, response);
  }
  // One that the fingerprint names may be there already.
  if (!request.fingerprint().calibration_digest().empty()) {
    const absl::Status status = OpenInOne(request, response);
    if (ErrorReason(status) != "CALIBRATION") return status;
  }
  return OpenInParts(request, calibration, response);
}

absl::StatusOr<std::string> NodeCalls::CalibrationFrom(
    pb::OpenNamespaceResponse& opened) {
  if (opened.calibration().size() >= opened.calibration_bytes()) {
    return std::move(*opened.mutable_calibration());
  }
  if (opened.calibration_bytes() > transport::kCalibrationBytesMax) {
    return transport::ServerBrokeProtocol("the length of no calibration");
  }
  pb::GetCalibrationRequest request;
  request.set_namespace_id(opened.namespace_id());
  std::string calibration;
  BANYAN_RETURN_IF_ERROR(
      RunRpc(LoadTimeout(opened.calibration_bytes()), 3,
             [&](grpc::ClientContext& context) {
               const auto reader = stub_->GetCalibration(&context, request);
               pb::GetCalibrationResponse part;
               calibration.clear();
               while (calibration.size() <= opened.calibration_bytes() &&
                      reader->Read(&part)) {
                 calibration += part.calibration();
               }
               const bool is_too_long =
                   calibration.size() > opened.calibration_bytes();
               if (is_too_long) context.TryCancel();
               const grpc::Status finished = reader->Finish();
               return is_too_long ? grpc::Status::OK : finished;  // Told below.
             }));
  if (calibration.size() != opened.calibration_bytes()) {
    return transport::ServerBrokeProtocol("a calibration of another length");
  }
  return calibration;
}

absl::StatusOr<OpenedNamespace> NodeCalls::OpenNamespace(
    std::string_view name, const Fingerprint& named,
    const NamespaceOptions& options) {
  Fingerprint fingerprint = named;
  // With a codec the calibration is its.
  const bool is_encoded = !fingerprint.kv_codec.empty();
  const bool brings_one = !options.calibration.empty();
  if (is_encoded && brings_one && fingerprint.calibration_digest.empty()) {
    fingerprint.calibration_digest = DigestOf(options.calibration);
  }
  const bool is_from_node =
      is_encoded && !brings_one && !fingerprint.calibration_digest.empty();
  std::shared_ptr<const BlockCoding> coding;
  if (is_encoded && !is_from_node) {
    BANYAN_ASSIGN_OR_RETURN(
        coding, CodingFor(fingerprint, options.calibration, options));
  }
  pb::OpenNamespaceResponse response;
  BANYAN_RETURN_IF_ERROR(Open(RequestFor(name, fingerprint, options),
                              options.calibration, response));
  if (is_from_node) {
    BANYAN_ASSIGN_OR_RETURN(const std::string calibration,
                            CalibrationFrom(response));
    BANYAN_ASSIGN_OR_RETURN(coding,
                            CodingFor(fingerprint, calibration, options));
  }
  OpenedNamespace opened{.id = response.namespace_id(),
                         .fingerprint = response.fingerprint(),
                         .name = response.name(),
                         .is_created = response.created()};
  for (const auto& near_miss : response.near_misses()) {
    opened.near_misses.push_back(
        absl::StrCat(near_miss.name(), " (", near_miss.fields(0), ")"));
  }
  if (coding != nullptr) {
    MutexLock lock(codings_mutex_);
    codings_[opened.id] = std::move(coding);
  }
  return opened;
}

}  // namespace banyan::client
