// A message on its way through a UcxLink: of the link and its worker only.
#pragma once

#include <string>
#include <utility>

#include "absl/types/span.h"
#include "client/transport/ucx_link.h"

namespace banyan::transport {

struct UcxLink::Sending {
  Sending(UcxLinkPtr on, const UcxHead& with)
      : link(std::move(on)), head(with) {}

  const UcxLinkPtr link;
  const UcxHead head;   // UCX may read it until the end, like the body.
  bool is_own = false;  // The body is `own`.
  std::string own;
  absl::Span<const std::byte> body;
  Done done;
  Outcome outcome = Outcome::kGivenUp;
};

}  // namespace banyan::transport
