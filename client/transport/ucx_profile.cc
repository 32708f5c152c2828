#include "client/transport/ucx_profile.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "client/transport/ucx_messages.h"

namespace banyan::transport {
namespace {

// A message with the longest body fits: heads of ours and of UCX, too.
constexpr size_t kSegmentBytes = kUcxBodyBytesMax + 4 * kKiB;

UcxSettings CommonSettings(absl::string_view device) {
  return {
      {"NET_DEVICES", std::string(device)},
      {"PROTO_ENABLE", "n"},  // The new protocols of 1.13 are broken.
      {"KEEPALIVE_INTERVAL", "1s"},
      {"MAX_EAGER_RAILS", "1"},  // Messages stay in order.
      {"MAX_RNDV_RAILS", "1"},
  };
}

// Names of a transport's own settings have no prefix here, as they have in the
// environment (UCX_TCP_...): UCX 1.13 takes such names, and does nothing with them.
UcxSettings TcpSettings() {
  return {
      {"TLS", "tcp"},
      {"SOCKADDR_TLS_PRIORITY", "tcp"},
      // Rendezvous over TCP aborts the process in this direction.
      {"RNDV_THRESH", "inf"},
      {"ZCOPY_THRESH", "16384"},
      {"TX_SEG_SIZE", absl::StrCat(kSegmentBytes)},
      // One message a call.
      {"RX_SEG_SIZE", absl::StrCat(kSegmentBytes)},
      {"PUT_ENABLE", "n"},
      {"NODELAY", "y"},
  };
}

UcxSettings RdmaSettings() {
  return {
      // Without tcp, so that nothing is emulated.
      {"TLS", "rc,ud"},
      {"SOCKADDR_TLS_PRIORITY", "rdmacm"},
      {"RNDV_THRESH", "65536"},
      // The receiver's key goes to the sender, never the other way round; and
      // the end is not told before the bytes are there.
      {"RNDV_SCHEME", "put_zcopy"},
      {"RNDV_PUT_FORCE_FLUSH", "y"},
  };
}

}  // namespace

UcxSettings UcxProfile(UcxNetwork network, absl::string_view device) {
  UcxSettings settings = CommonSettings(device);
  const UcxSettings own =
      network == UcxNetwork::kTcp ? TcpSettings() : RdmaSettings();
  settings.insert(settings.end(), own.begin(), own.end());
  return settings;
}

absl::Status CheckUcxVersion(unsigned major, unsigned minor) {
  if (major == UCP_API_MAJOR && minor == UCP_API_MINOR && major == 1 &&
      minor == 13) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, "UCX_VERSION",
                   absl::StrCat("ucx: this is ", major, ".", minor,
                                ", want 1.13. Use gRPC; or install "
                                "libucx0 1.13."));
}

absl::Status CheckUcxVersion() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  ucp_get_version(&major, &minor, &release);
  return CheckUcxVersion(major, minor);
}

}  // namespace banyan::transport
