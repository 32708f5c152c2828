// A stream of a CUDA device, for callers that see no CUDA headers.
#pragma once

namespace banyan {

// A cudaStream_t, or nullptr for the default stream. Not owned.
struct DeviceStream {
  void* handle = nullptr;
};

}  // namespace banyan
