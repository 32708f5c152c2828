#include "client/transport/ucx_log.h"

#include <signal.h>
#include <ucm/api/ucm.h>
#include <ucs/debug/debug.h>
#include <ucs/debug/log_def.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"

namespace banyan::transport {
namespace {

// UCX's log belongs to the process, and so does what we keep of it.
struct LastLine {
  Mutex mutex;
  std::string text ABSL_GUARDED_BY(mutex);
};

LastLine& Kept() {
  static auto* const kept = new LastLine;  // UCX logs until the very end.
  return *kept;
}

// Of the UcxWarnings of this thread.
thread_local std::string* warnings_text = nullptr;

ucs_log_func_rc_t OnLine(const char*, unsigned, const char*,
                         ucs_log_level_t level,
                         const ucs_log_component_config_t*, const char* message,
                         va_list arguments) {
  if (level <= UCS_LOG_LEVEL_FATAL) return UCS_LOG_FUNC_RC_CONTINUE;
  if (level > UCS_LOG_LEVEL_WARN) return UCS_LOG_FUNC_RC_STOP;
  std::array<char, 256> line{};
  va_list copy;
  va_copy(copy, arguments);
  std::vsnprintf(line.data(), line.size(), message, copy);
  va_end(copy);
  if (warnings_text != nullptr) {
    absl::StrAppend(warnings_text, line.data(), "\n");
  }
  LastLine& kept = Kept();
  MutexLock lock(kept.mutex);
  kept.text = line.data();
  return UCS_LOG_FUNC_RC_STOP;
}

}  // namespace

UcxWarnings::UcxWarnings() { warnings_text = &text_; }

UcxWarnings::~UcxWarnings() { warnings_text = nullptr; }

void SetUpUcxProcess() {
  static std::once_flag once;
  std::call_once(once, [] {
    ucs_log_push_handler(&OnLine);
    for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE}) {
      ucs_debug_disable_signal(signal);
    }
    // Without memory that is registered with hardware nobody needs to watch
    // every mmap of the process.
    ucm_global_opts.enable_events = 0;
  });
}

std::string LastUcxLine() {
  LastLine& kept = Kept();
  MutexLock lock(kept.mutex);
  return kept.text;
}

}  // namespace banyan::transport
