// Runs a kernel, compiled as C++, on the executor.
#pragma once

#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tests/testing/simt/executor.h"

namespace banyan::simt {

// kernel<<<grid, block, dynamic_shared_bytes>>>(arguments...), and its end.
// Errors: see Executor.
template <class... Parameters, class... Arguments>
absl::Status RunKernel(std::string name, void (*kernel)(Parameters...),
                       Dim3 grid, Dim3 block, size_t dynamic_shared_bytes,
                       const Arguments&... arguments) {
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;  // By value, as on a GPU.
  };
  Call call{kernel, std::tuple<Parameters...>(arguments...)};
  const Launch launch = {
      .name = std::move(name),
      .grid = grid,
      .block = block,
      .dynamic_shared_bytes = dynamic_shared_bytes,
      .arguments = {reinterpret_cast<const std::byte*>(&call), sizeof(call)}};
  return Executor::Get().Run(
      launch,
      [](void* context) {
        const Call& c = *static_cast<const Call*>(context);
        std::apply(c.kernel, c.arguments);
      },
      &call);
}

struct LaunchShape {
  Dim3 grid;
  Dim3 block;
  size_t dynamic_shared_bytes = 0;
};

// Where launchers' kernels go instead: an interpreter of PTX, say, that gets the
// bytes of each argument. An empty one, as at first: RunKernel.
using LaunchRoute = std::function<absl::Status(
    const LaunchShape& shape,
    absl::Span<const std::vector<std::byte>> arguments)>;
void SetLaunchRoute(LaunchRoute route);
const LaunchRoute& TheLaunchRoute();

// How much dynamic shared memory a kernel may be launched with: 48 KiB, unless
// its launcher asked for more.
void AllowDynamicShared(const void* kernel, size_t bytes);
size_t DynamicSharedAllowed(const void* kernel);

template <class T>
std::vector<std::byte> BytesOf(const T& value) {
  const auto* const begin = reinterpret_cast<const std::byte*>(&value);
  return {begin, begin + sizeof(value)};
}

// What the launcher of a kernel, which has an error code only, could not say:
// how its last launch ended.
void KeepLaunchStatus(const absl::Status& status);
const absl::Status& LastLaunchStatus();

}  // namespace banyan::simt
