// What UCX would print: it has one log for the whole process and writes it to
// standard output. Here its lines are counted and the latest is kept, for our own
// errors to name; only what comes right before UCX ends the process is printed.
//
// Threads: thread-safe.
#pragma once

#include <string>

namespace banyan::transport {

// Takes UCX's log over, once a process, and gives back the signals that UCX took
// when it was loaded: a crash is not UCX's to report. Call before any other use of
// UCX.
void SetUpUcxProcess();

// The latest warning or error of UCX; empty if there was none.
std::string LastUcxLine();

// What UCX warns of on this thread while it lives, a line each. One at a time.
class UcxWarnings {
 public:
  UcxWarnings();
  ~UcxWarnings();
  UcxWarnings(const UcxWarnings&) = delete;
  UcxWarnings& operator=(const UcxWarnings&) = delete;

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace banyan::transport
