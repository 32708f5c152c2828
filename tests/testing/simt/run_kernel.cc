#include "tests/testing/simt/run_kernel.h"

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

}  // namespace

void SetLaunchRoute(LaunchRoute route) { Route() = std::move(route); }

const LaunchRoute& TheLaunchRoute() { return Route(); }

void KeepLaunchStatus(const absl::Status& status) { Kept() = status; }

const absl::Status& LastLaunchStatus() { return Kept(); }

}  // namespace banyan::simt
