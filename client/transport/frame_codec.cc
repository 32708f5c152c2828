#include "client/transport/frame_codec.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::transport {
namespace {

constexpr uint32_t kChunkOrdinal = 1;
constexpr uint32_t kChunkOffset = 2;
constexpr uint32_t kChunkData = 3;

enum WireType : uint32_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kFixed32 = 5
};

void AppendVarint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

void AppendTag(uint32_t field, WireType type, std::string& out) {
  AppendVarint(uint64_t{field} << 3 | type, out);
}

absl::Status Malformed() {
  return MakeError(absl::StatusCode::kInvalidArgument, "FRAME",
                   "frame: not a message of this kind. Check the client.");
}

// Reads across slices.
class Cursor {
 public:
  explicit Cursor(absl::Span<const grpc::Slice> slices) : slices_(slices) {
    for (const grpc::Slice& slice : slices) left_ += slice.size();
  }

  uint64_t left() const { return left_; }

  bool ReadVarint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (left_ == 0) return false;
      const auto byte = static_cast<uint8_t>(Peek()[0]);
      Advance(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) return true;
    }
    return false;
  }

  // The next contiguous bytes, at least one. Requires: left() > 0.
  absl::Span<const std::byte> Peek() {
    while (at_ == slices_[slice_].size()) {
      ++slice_;
      at_ = 0;
    }
    const grpc::Slice& slice = slices_[slice_];
    return {reinterpret_cast<const std::byte*>(slice.begin()) + at_,
            slice.size() - at_};
  }

  // Requires: count <= left().
  void Advance(uint64_t count) {
    left_ -= count;
    while (count > 0) {
      const uint64_t step = std::min<uint64_t>(count, Peek().size());
      at_ += step;
      count -= step;
    }
  }

  // Requires: count <= left().
  std::string ReadString(uint64_t count) {
    std::string out;
    out.reserve(count);
    while (count > 0) {
      const auto bytes = Peek();
      const uint64_t step = std::min<uint64_t>(count, bytes.size());
      out.append(reinterpret_cast<const char*>(bytes.data()), step);
      Advance(step);
      count -= step;
    }
    return out;
  }

  // Skips a field's value. False if there is none of that type.
  bool Skip(uint32_t type) {
    uint64_t size = 0;
    switch (type) {
      case kVarint:
        return ReadVarint(size);
      case kFixed64:
        size = 8;
        break;
      case kFixed32:
        size = 4;
        break;
      case kBytes:
        if (!ReadVarint(size)) return false;
        break;
      default:
        return false;
    }
    if (size > left_) return false;
    Advance(size);
    return true;
  }

 private:
  absl::Span<const grpc::Slice> slices_;
  size_t slice_ = 0;
  size_t at_ = 0;
  uint64_t left_ = 0;
};

absl::Status ReadData(Cursor& in, uint64_t size, uint32_t ordinal,
                      uint64_t offset, FrameSink& sink) {
  while (size > 0) {
    const auto bytes = in.Peek();
    const uint64_t step = std::min<uint64_t>(size, bytes.size());
    BANYAN_RETURN_IF_ERROR(sink.OnData(ordinal, offset, bytes.first(step)));
    in.Advance(step);
    offset += step;
    size -= step;
  }
  return absl::OkStatus();
}

// A chunk's fields come in order, as every protobuf writer writes them; data
// before ordinal or offset would be misplaced, so it is refused.
absl::Status ReadChunk(Cursor& in, uint64_t size, FrameSink& sink) {
  if (size > in.left()) return Malformed();
  const uint64_t end = in.left() - size;
  uint64_t ordinal = 0;
  uint64_t offset = 0;
  bool has_data = false;
  while (in.left() > end) {
    uint64_t tag = 0;
    if (!in.ReadVarint(tag)) return Malformed();
    uint64_t value = 0;
    if (!in.ReadVarint(value)) return Malformed();
    if (tag == (kChunkOrdinal << 3 | kVarint) && !has_data) {
      if (value > UINT32_MAX) return Malformed();
      ordinal = value;
    } else if (tag == (kChunkOffset << 3 | kVarint) && !has_data) {
      offset = value;
    } else if (tag == (kChunkData << 3 | kBytes) && !has_data) {
      if (in.left() < end || value > in.left() - end) return Malformed();
      if (offset > UINT64_MAX - value) return Malformed();
      has_data = true;
      BANYAN_RETURN_IF_ERROR(
          ReadData(in, value, static_cast<uint32_t>(ordinal), offset, sink));
    } else {
      return Malformed();
    }
  }
  return in.left() == end ? absl::OkStatus() : Malformed();
}

}  // namespace

void FrameWriter::AddBytes(uint32_t field, absl::string_view bytes) {
  const size_t before = head_.size();
  AppendTag(field, kBytes, head_);
  AppendVarint(bytes.size(), head_);
  head_.append(bytes.data(), bytes.size());
  bytes_ += head_.size() - before;
}

void FrameWriter::StartChunk(uint32_t field, uint32_t ordinal, uint64_t offset,
                             size_t data_bytes) {
  std::string fields;
  AppendTag(kChunkOrdinal, kVarint, fields);
  AppendVarint(ordinal, fields);
  AppendTag(kChunkOffset, kVarint, fields);
  AppendVarint(offset, fields);
  AppendTag(kChunkData, kBytes, fields);
  AppendVarint(data_bytes, fields);
  const size_t before = head_.size();
  AppendTag(field, kBytes, head_);
  AppendVarint(fields.size() + data_bytes, head_);
  head_ += fields;
  bytes_ += head_.size() - before + data_bytes;
  FlushHead();
}

void FrameWriter::AddChunk(uint32_t field, uint32_t ordinal, uint64_t offset,
                           absl::Span<const std::byte> data,
                           std::shared_ptr<const void> owner) {
  using Owner = std::shared_ptr<const void>;
  StartChunk(field, ordinal, offset, data.size());
  slices_.emplace_back(
      const_cast<std::byte*>(data.data()), data.size(),
      [](void* held) { delete static_cast<Owner*>(held); },
      new Owner(std::move(owner)));
}

void FrameWriter::AddChunkCopy(uint32_t field, uint32_t ordinal,
                               uint64_t offset,
                               absl::Span<const std::byte> data) {
  StartChunk(field, ordinal, offset, data.size());
  slices_.emplace_back(data.data(), data.size());
}

void FrameWriter::FlushHead() {
  if (head_.empty()) return;
  slices_.emplace_back(head_);
  head_.clear();
}

grpc::ByteBuffer FrameWriter::Finish() {
  FlushHead();
  grpc::ByteBuffer frame(slices_.data(), slices_.size());
  slices_.clear();
  bytes_ = 0;
  return frame;
}

absl::Status ParseFrame(absl::Span<const grpc::Slice> slices,
                        uint32_t chunk_field, FrameSink& sink) {
  Cursor in(slices);
  while (in.left() > 0) {
    uint64_t tag = 0;
    if (!in.ReadVarint(tag) || tag >> 3 == 0 || tag > UINT32_MAX) {
      return Malformed();
    }
    const auto field = static_cast<uint32_t>(tag >> 3);
    if ((tag & 7) != kBytes) {
      if (!in.Skip(tag & 7)) return Malformed();
      continue;
    }
    uint64_t size = 0;
    if (!in.ReadVarint(size)) return Malformed();
    if (field == chunk_field) {
      BANYAN_RETURN_IF_ERROR(ReadChunk(in, size, sink));
      continue;
    }
    if (size > in.left() || size > kFrameFieldBytesMax) return Malformed();
    BANYAN_RETURN_IF_ERROR(sink.OnBytes(field, in.ReadString(size)));
  }
  return absl::OkStatus();
}

}  // namespace banyan::transport
