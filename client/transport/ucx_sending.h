// A message on its way through a UcxLink: of the link and its worker only.
#pragma once

#include <memory>
#include <string>

#include "absl/types/span.h"
#include "client/transport/ucx_link.h"

namespace banyan::transport {

struct UcxLink::Sending {
  UcxLinkPtr link;
  UcxHead head{0};      // UCX may read it until the end, like the body.
  bool is_own = false;  // The body is `own`.
  std::string own;
  absl::Span<const std::byte> body;
  std::shared_ptr<const void> keep;
  std::shared_ptr<Watcher> watcher;
  Done done;
  Outcome outcome = Outcome::kGivenUp;
};

}  // namespace banyan::transport
