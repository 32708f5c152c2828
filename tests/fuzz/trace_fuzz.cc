// Any text given to the trace parser: it must refuse it with a message that
// names the line, or return requests that have blocks.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "client/ctl/trace.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto trace = banyan::ctl::ParseTrace("fuzz", text);
  if (!trace.ok()) {
    BANYAN_CHECK(trace.status().message().size() <= 300);
    return 0;
  }
  for (const auto& request : *trace) BANYAN_CHECK(!request.blocks.empty());
  return 0;
}
