// A program that a bench starts and stops: a node, or a peer to compare with.
//
// Threads:  thread-compatible.
// Lifetime: the program ends with the object; it is killed if this process
//           dies first.
// Errors:   a program that cannot be started ends the bench with a message.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace banyan::bench {

class Child {
 public:
  // Runs the program at `path` with these arguments, of which the first is the
  // name it is told it has. WriteLine is its standard input, and its output
  // goes to ReadLine.
  Child(const std::string& path, const std::vector<std::string>& arguments);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The next line of its output without the end; empty if there is no more.
  std::string ReadLine();

  // To its input, with an end of line.
  void WriteLine(std::string_view line);

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
};

}  // namespace banyan::bench
