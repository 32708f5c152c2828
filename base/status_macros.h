// BANYAN_RETURN_IF_ERROR and BANYAN_ASSIGN_OR_RETURN: leave the function with
// the status of a failed call. Both evaluate their expression once.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define BANYAN_RETURN_IF_ERROR(expr)                                \
  do {                                                              \
    if (absl::Status banyan_status = (expr); !banyan_status.ok()) { \
      return banyan_status;                                         \
    }                                                               \
  } while (false)

#define BANYAN_CONCAT_INNER(a, b) a##b
#define BANYAN_CONCAT(a, b) BANYAN_CONCAT_INNER(a, b)

// BANYAN_ASSIGN_OR_RETURN(auto x, MakeX());
#define BANYAN_ASSIGN_OR_RETURN(lhs, expr) \
  BANYAN_ASSIGN_OR_RETURN_IMPL(BANYAN_CONCAT(banyan_or_, __LINE__), lhs, expr)

#define BANYAN_ASSIGN_OR_RETURN_IMPL(or_value, lhs, expr) \
  auto or_value = (expr);                                 \
  if (!or_value.ok()) return or_value.status();           \
  lhs = *std::move(or_value)
