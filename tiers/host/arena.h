// An Arena is one piece of host memory behind a sealed memfd: this process
// reads and writes it, anyone who is handed the descriptor can map it read-only
// and nothing else. It knows nothing of blocks or slots.
//
// Invariant: the size never changes, and no writable mapping can be made after
//            Create: the kernel refuses both.
// Threads:   immutable after Create, thread-safe; who writes which byte when is
//            the owner's business.
// Lifetime:  spans live as long as the Arena. A reader that mapped the
//            descriptor keeps the memory, even after the Arena is gone.
// Errors:    kResourceExhausted when the memory is not there.
// Cost:      prefault takes about 250 ms per GiB, once; without it the first
//            write of each page pays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace banyan::tiers {

class Arena {
 public:
  struct Options {
    uint64_t bytes = 0;
    // Takes all memory now. Without it, memory that is not there shows itself
    // later, as a SIGBUS.
    bool prefault = true;
    // With prefault: checks that the memory is there, and leaves it to the owner
    // to take it by Prefault.
    bool is_prefaulted_later = false;
    // Uses reserved huge pages if there are enough of them, else normal pages.
    bool huge_pages = true;
  };

  // Errors: kInvalidArgument     bytes is 0 or beyond the address space
  //         kResourceExhausted   not enough memory, descriptors or mappings
  static absl::StatusOr<std::unique_ptr<Arena>> Create(const Options& options);

  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Takes the memory of this part, whoever uses it meanwhile. Threads: any.
  // Errors: kResourceExhausted.
  absl::Status Prefault(uint64_t begin, uint64_t bytes);

  // The bytes asked for.
  absl::Span<std::byte> bytes() const { return {address_, bytes_}; }

  // Descriptor for readers in other processes; the Arena keeps it open.
  int fd() const { return fd_; }

  // Size of the file behind fd(): bytes() rounded up to whole pages.
  uint64_t file_bytes() const { return file_bytes_; }

  // Size of the pages that back the memory: tells whether huge pages were had.
  uint64_t page_bytes() const { return page_bytes_; }

 private:
  Arena(uint64_t bytes, uint64_t page_bytes);

  absl::Status Map();
  absl::Status PrefaultAll();
  absl::Status Seal();
  static absl::StatusOr<std::unique_ptr<Arena>> CreateWithPages(
      const Options& options, uint64_t page_bytes);

  const uint64_t bytes_;
  const uint64_t page_bytes_;
  const uint64_t file_bytes_;
  int fd_ = -1;
  std::byte* address_ = nullptr;
};

}  // namespace banyan::tiers
