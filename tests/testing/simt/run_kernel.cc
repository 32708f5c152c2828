#include "tests/testing/simt/run_kernel.h"

#include <map>

namespace banyan::simt {
namespace {

absl::Status& Kept() {
  static auto* const status = new absl::Status();
  return *status;
}

LaunchRoute& Route() {
  static auto* const route = new LaunchRoute();
  return *route;
}

std::map<const void*, size_t>& Allowed() {
  static auto* const allowed = new std::map<const void*, size_t>();
  return *allowed;
}

}  // namespace

void SetLaunchRoute(LaunchRoute route) { Route() = std::move(route); }

const LaunchRoute& TheLaunchRoute() { return Route(); }

void AllowDynamicShared(const void* kernel, size_t bytes) {
  Allowed()[kernel] = bytes;
}

size_t DynamicSharedAllowed(const void* kernel) {
  const auto found = Allowed().find(kernel);
  return found != Allowed().end() ? found->second : size_t{48} << 10;
}

void KeepLaunchStatus(const absl::Status& status) { Kept() = status; }

const absl::Status& LastLaunchStatus() { return Kept(); }

}  // namespace banyan::simt
