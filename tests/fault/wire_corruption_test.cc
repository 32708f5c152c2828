// Damage on the wire is never served and never stored, and each is counted by
// reason on the side that finds it.
//
// Method: a real node and the client's real calls over a channel that changes
// messages on their way (tests/testing/tampered_wire.h), seeded. Ground truth
// is known: what was changed and what each block must hold. A change that left
// the message as it was is not counted as an injection. Heads also carry a
// generation and a tier, which name a place and no bytes: a change there may
// end in a hit, with the right bytes.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "base/error.h"
#include "client/cpp/node_calls.h"
#include "client/transport/frame_codec.h"
#include "client/transport/grpc_transport.h"
#include "tests/integration/node.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/host_tier_peer.h"
#include "tests/testing/repetitions.h"
#include "tests/testing/tampered_wire.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;
using client::NodeCalls;
using testing::ChainKeys;
using testing::FrameField;

constexpr uint64_t kSeed = 20240301;
constexpr char kSpace[] = "wire";
constexpr size_t kBlocks = 32;  // Of a chain.
constexpr size_t kChains = 8;   // Even ones in one piece a block.
// Of each kind: calls that damage all their blocks, calls with one damage, and
// puts with one.
constexpr int kConfinedCalls = testing::Repetitions(250);
constexpr int kBrokenCalls = testing::Repetitions(900);
constexpr int kPuts = testing::Repetitions(350);

// Chains c and c ^ 1 have blocks of equal size, so that bytes can be swapped.
size_t SizeOf(size_t chain) { return 300 + 211 * (chain / 2); }
uint64_t PieceOf(size_t chain) { return chain % 2 == 0 ? 0 : 100; }

// The fields of one block in a frame of GetBlocks.
struct BlockFields {
  FrameField* head = nullptr;
  std::vector<FrameField*> chunks;
  FrameField* done = nullptr;
};

std::vector<BlockFields> BlocksIn(std::vector<FrameField>& fields) {
  std::vector<BlockFields> blocks;
  for (FrameField& field : fields) {
    if (field.number == transport::kGetHeads) blocks.emplace_back();
    if (field.number == transport::kGetHeads) blocks.back().head = &field;
    if (field.number == transport::kGetChunks) {
      blocks.back().chunks.push_back(&field);
    }
    if (field.number == transport::kGetDone) blocks.back().done = &field;
  }
  return blocks;
}

// Parses a field's message, changes it, and writes it back.
template <typename Message>
void Edit(FrameField& field, const std::function<void(Message&)>& change) {
  Message message;
  ASSERT_TRUE(message.ParseFromString(field.bytes));
  change(message);
  field.bytes = message.SerializeAsString();
}

void EditChunk(FrameField& field,
               const std::function<void(pb::BlockChunk&)>& change) {
  Edit<pb::BlockChunk>(field, change);
}
void EditHead(FrameField& field,
              const std::function<void(pb::BlockHead&)>& change) {
  Edit<pb::BlockHead>(field, change);
}
void EditDone(FrameField& field,
              const std::function<void(pb::BlockDone&)>& change) {
  Edit<pb::BlockDone>(field, change);
}

// Encodes all fields as Edit does, so that only a changed value differs.
void Normalize(std::vector<FrameField>& fields) {
  for (FrameField& field : fields) {
    if (field.number == transport::kGetHeads) EditHead(field, [](auto&) {});
    if (field.number == transport::kGetChunks) EditChunk(field, [](auto&) {});
    if (field.number == transport::kGetDone) EditDone(field, [](auto&) {});
  }
}

class WireCorruptionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    client_ = std::make_unique<NodeCalls>(
        ClientOptions{.transport = TransportKind::kGrpc},
        wire_.ChannelTo(node_.endpoint()), "wire-test");
    const auto ns =
        client_->OpenNamespace(kSpace, testing::OpaqueFingerprint());
    ASSERT_TRUE(ns.ok()) << ns.status();
    ns_ = ns->id;
    for (size_t c = 0; c < kChains; ++c) {
      chains_.push_back(ChainKeys(absl::StrCat("chain", c), kBlocks));
      const Completion put = Put(chains_[c], kBlocks, SizeOf(c), PieceOf(c));
      ASSERT_TRUE(put.status.ok()) << put.status;
    }
  }

  void TearDown() override {
    // The wire is whole again, and so is all that is stored.
    wire_.on_send = nullptr;
    wire_.on_receive = nullptr;
    for (size_t c = 0; c < kChains; ++c) {
      EXPECT_EQ(Get(c, kBlocks).hit_blocks, kBlocks);
    }
    for (const auto& [kind, count] : injected_) RecordProperty(kind, count);
    EXPECT_EQ(wrong_, 0);
    client_.reset();
    const tiers::TierUsage usage = node_.host().usage();
    EXPECT_TRUE(testing::PollUntil([&] {
      return node_.host().usage().staged_bytes == 0 &&
             node_.host().usage().pinned_bytes == 0;
    })) << usage.staged_bytes
        << " " << usage.pinned_bytes;
  }

  uint64_t Draw(uint64_t end) { return random_() % end; }
  void FlipBit(std::string& bytes) {
    if (bytes.empty()) return;
    bytes[Draw(bytes.size())] ^= static_cast<char>(1 << Draw(8));
  }

  NodeCalls::Blocks BlocksOf(const std::string& keys) const {
    return {.namespace_id = ns_, .keys = keys, .key_bytes = 32};
  }

  Completion Put(const std::string& keys, size_t count, size_t bytes,
                 uint64_t piece_bytes) {
    std::vector<std::vector<std::byte>> payloads;
    for (size_t i = 0; i < count; ++i) {
      payloads.push_back(testing::PayloadOf(kSpace, keys, i, bytes));
    }
    Completion out;
    client_->Put(BlocksOf(keys), {payloads.begin(), payloads.end()},
                 {.piece_bytes = piece_bytes}, out);
    return out;
  }

  // Reads the first blocks of a chain; a hit that is not what the block holds
  // is counted as wrong.
  Completion Get(const std::string& keys, size_t count, size_t bytes) {
    std::vector<std::vector<std::byte>> buffers(
        count, std::vector<std::byte>(bytes, std::byte{0xEE}));
    Completion out;
    NodeCalls::Blocks blocks = BlocksOf(keys.substr(0, count * 32));
    client_->Get(blocks, {buffers.begin(), buffers.end()}, {}, out);
    for (size_t i = 0; i < count; ++i) {
      if (out.reads[i] != ReadResult::kHit) continue;
      const bool is_right =
          out.read_bytes[i] == bytes &&
          testing::CheckPayload(kSpace, keys, i, buffers[i]).ok();
      if (!is_right) ++wrong_;
      EXPECT_TRUE(is_right) << "block " << i << " served wrong";
    }
    return out;
  }
  Completion Get(size_t chain, size_t count) {
    return Get(chains_[chain], count, SizeOf(chain));
  }

  // The one frame that answers a Get of these blocks.
  std::string FrameOf(size_t chain, size_t count) {
    std::string frame;
    wire_.on_receive = [&](std::string_view, std::string& text) {
      frame = text;
    };
    Get(chain, count);
    wire_.on_receive = nullptr;
    return frame;
  }

  // --- Damage that stays inside its block: each is counted under its reason.
  using Damage = std::function<void(std::vector<BlockFields>&, size_t chain)>;
  void RunConfined(const std::string& kind, uint64_t ClientStats::* reason,
                   const Damage& damage) {
    for (int call = 0; call < kConfinedCalls && !HasFailure(); ++call) {
      const size_t chain = Draw(kChains);
      int changed = 0;
      wire_.on_receive = [&](std::string_view, std::string& text) {
        auto fields = testing::SplitFrame(text);
        ASSERT_TRUE(fields.has_value());
        Normalize(*fields);
        const std::vector<FrameField> intact = *fields;
        auto blocks = BlocksIn(*fields);
        ASSERT_EQ(blocks.size(), kBlocks) << "one frame";
        damage(blocks, chain);
        changed += CountChanged(intact, *fields);
        text = testing::JoinFrame(*fields);
      };
      const ClientStats before = client_->stats();
      const Completion got = Get(chain, kBlocks);
      const ClientStats after = client_->stats();
      ASSERT_TRUE(got.status.ok()) << kind << ": " << got.status;
      injected_[kind] += changed;
      EXPECT_EQ(after.*reason - before.*reason, static_cast<uint64_t>(changed))
          << kind;
      EXPECT_EQ(after.found_wrong() - before.found_wrong(),
                static_cast<uint64_t>(changed))
          << kind;
      EXPECT_EQ(after.hit_blocks - before.hit_blocks,
                kBlocks - static_cast<uint64_t>(changed));
    }
    wire_.on_receive = nullptr;
    EXPECT_GT(injected_[kind], kConfinedCalls * static_cast<int>(kBlocks) / 2);
  }

  // Blocks of which a field differs. The fields are in the same order.
  static int CountChanged(const std::vector<FrameField>& intact,
                          const std::vector<FrameField>& damaged) {
    int changed = 0;
    bool is_changed = false;
    for (size_t i = 0; i < intact.size(); ++i) {
      is_changed = is_changed || intact[i].bytes != damaged[i].bytes;
      if (intact[i].number != transport::kGetDone) continue;
      changed += is_changed ? 1 : 0;
      is_changed = false;
    }
    return changed;
  }

  FrameField& SomeChunk(BlockFields& block) {
    return *block.chunks[Draw(block.chunks.size())];
  }

  // --- Damage that breaks the frame: the call finds it.
  using Breakage = std::function<void(std::string& frame, size_t chain)>;
  void RunBroken(const std::string& kind, const Breakage& breakage) {
    constexpr size_t kCount = 6;
    int harmless = 0;
    for (int call = 0; call < kBrokenCalls && !HasFailure(); ++call) {
      const size_t chain = Draw(kChains);
      bool is_changed = false;
      wire_.on_receive = [&](std::string_view, std::string& text) {
        const std::string intact = text;
        breakage(text, chain);
        is_changed = is_changed || text != intact;
      };
      const ClientStats before = client_->stats();
      const Completion got = Get(chain, kCount);
      const ClientStats after = client_->stats();
      if (!is_changed) continue;
      const bool is_whole = got.status.ok() && got.hit_blocks == kCount;
      const uint64_t found = after.found_wrong() - before.found_wrong();
      // A head may also ask for more room than the buffer has.
      const bool is_said = absl::StartsWith(got.status.message(), "buffers[");
      if (is_whole) {
        ++harmless;
        EXPECT_EQ(found, 0u);
        continue;
      }
      ++injected_[kind];
      EXPECT_TRUE(found > 0 || is_said) << kind << ": " << got.status;
      EXPECT_NE(got.status.code(), absl::StatusCode::kUnknown) << got.status;
    }
    wire_.on_receive = nullptr;
    EXPECT_LT(harmless, kBrokenCalls / 10) << kind;
    EXPECT_GT(injected_[kind], kBrokenCalls * 8 / 10) << kind;
  }

  // The same, on the fields of the frame.
  using FieldBreakage = std::function<void(std::vector<FrameField>&)>;
  void RunBrokenFields(const std::string& kind, const FieldBreakage& change) {
    RunBroken(kind, [&](std::string& frame, size_t) {
      auto fields = testing::SplitFrame(frame);
      ASSERT_TRUE(fields.has_value());
      change(*fields);
      frame = testing::JoinFrame(*fields);
    });
  }

  // Index of some field of this number.
  size_t Some(const std::vector<FrameField>& fields, uint32_t number) {
    while (true) {
      const size_t at = Draw(fields.size());
      if (fields[at].number == number) return at;
    }
  }

  // --- Damage towards the node: nothing is stored, and the node counts it.
  static constexpr std::array<const char*, 5> kArrivals = {
      "checksum", "size", "order", "frame", "unknown"};
  std::array<uint64_t, 5> Arrivals() {
    std::array<uint64_t, 5> counts{};
    for (size_t i = 0; i < kArrivals.size(); ++i) {
      const std::string name =
          absl::StrCat("banyan_verify_total{where=\"arrival\",result=\"",
                       kArrivals[i], "\"}");
      for (const auto& reading : node_.store().Stats()) {
        if (reading.name == name) counts[i] = reading.value;
      }
    }
    return counts;
  }

  // `reasons`: one of these counters, by index in kArrivals, must rise.
  void RunPuts(const std::string& kind, std::string_view method,
               const std::vector<size_t>& reasons,
               const std::function<void(std::string&)>& change) {
    constexpr size_t kCount = 3;
    int harmless = 0;
    for (int put = 0; put < kPuts && !HasFailure(); ++put) {
      const std::string keys = ChainKeys(absl::StrCat(kind, put), kCount);
      const size_t bytes = 200 + Draw(1500);
      const uint64_t piece = Draw(2) == 0 ? 0 : 128;
      bool is_changed = false;
      wire_.on_send = [&](std::string_view sent, std::string& text) {
        if (sent != method) return;
        const std::string intact = text;
        change(text);
        is_changed = text != intact;
      };
      const auto before = Arrivals();
      const uint64_t blocks = node_.host().usage().blocks;
      const Completion done = Put(keys, kCount, bytes, piece);
      wire_.on_send = nullptr;
      if (!is_changed) continue;
      if (done.status.ok()) {  // Then what is stored is what was meant.
        ++harmless;
        EXPECT_EQ(Get(keys, kCount, bytes).hit_blocks, kCount);
        continue;
      }
      ++injected_[kind];
      const auto after = Arrivals();
      uint64_t counted = 0;
      for (const size_t i : reasons) counted += after[i] - before[i];
      EXPECT_EQ(counted, 1u) << kind << ": " << done.status;
      EXPECT_TRUE(absl::IsDataLoss(done.status) ||
                  absl::IsInvalidArgument(done.status) ||
                  absl::IsFailedPrecondition(done.status))
          << kind << ": " << done.status;
      EXPECT_EQ(node_.host().usage().blocks, blocks) << "nothing is stored";
      EXPECT_EQ(node_.host().usage().staged_bytes, 0u);
      EXPECT_EQ(Get(keys, kCount, bytes).hit_blocks, 0u);
    }
    EXPECT_LT(harmless, kPuts / 10) << kind;
    EXPECT_GT(injected_[kind], kPuts * 8 / 10) << kind;
  }

  // A change of one chunk of a frame of PutBlocks.
  void RunPutChunks(const std::string& kind, const std::vector<size_t>& reasons,
                    const std::function<void(std::vector<FrameField>&)>& edit) {
    RunPuts(kind, "/banyan.v1.Cache/PutBlocks", reasons,
            [&](std::string& frame) {
              auto fields = testing::SplitFrame(frame);
              ASSERT_TRUE(fields.has_value());
              edit(*fields);
              frame = testing::JoinFrame(*fields);
            });
  }

  testing::TamperedWire wire_;  // Before the client, which uses it.
  testing::BareNode node_;
  std::unique_ptr<NodeCalls> client_;
  std::string ns_;
  std::vector<std::string> chains_;
  std::mt19937_64 random_{kSeed};
  std::map<std::string, int> injected_;
  int wrong_ = 0;
};

TEST_F(WireCorruptionTest, DamagedBytesOfABlockAreCaught) {
  RunConfined("bit_flip", &ClientStats::corrupt_checksum,
              [&](std::vector<BlockFields>& blocks, size_t) {
                for (BlockFields& block : blocks) {
                  EditChunk(SomeChunk(block), [&](pb::BlockChunk& chunk) {
                    FlipBit(*chunk.mutable_data());
                  });
                }
              });
  RunConfined("several_bit_flips", &ClientStats::corrupt_checksum,
              [&](std::vector<BlockFields>& blocks, size_t) {
                for (BlockFields& block : blocks) {
                  EditChunk(SomeChunk(block), [&](pb::BlockChunk& chunk) {
                    for (uint64_t n = 1 + Draw(8); n > 0; --n) {
                      (*chunk.mutable_data())[Draw(chunk.data().size())] ^=
                          static_cast<char>(1 + Draw(255));
                    }
                  });
                }
              });
  RunConfined("zeroed", &ClientStats::corrupt_checksum,
              [&](std::vector<BlockFields>& blocks, size_t) {
                for (BlockFields& block : blocks) {
                  EditChunk(SomeChunk(block), [&](pb::BlockChunk& chunk) {
                    std::string& data = *chunk.mutable_data();
                    const size_t at = Draw(data.size());
                    std::fill(data.begin() + static_cast<ptrdiff_t>(at),
                              data.end(), '\0');
                  });
                }
              });
}

TEST_F(WireCorruptionTest, DamagedHeadsOfABlockAreCaught) {
  RunConfined("checksum_flip", &ClientStats::corrupt_checksum,
              [&](std::vector<BlockFields>& blocks, size_t) {
                for (BlockFields& block : blocks) {
                  EditHead(*block.head, [&](pb::BlockHead& head) {
                    FlipBit(*head.mutable_checksums());
                  });
                }
              });
  RunConfined(
      "piece_length", &ClientStats::corrupt_checksum,
      [&](std::vector<BlockFields>& blocks, size_t) {
        for (BlockFields& block : blocks) {
          EditHead(*block.head, [&](pb::BlockHead& head) {
            head.set_piece_bytes(head.piece_bytes() ^ uint64_t{1} << Draw(6));
          });
        }
      });
}

TEST_F(WireCorruptionTest, TruncatedBytesOfABlockAreCaught) {
  RunConfined("truncated", &ClientStats::corrupt_length,
              [&](std::vector<BlockFields>& blocks, size_t) {
                for (BlockFields& block : blocks) {
                  EditChunk(*block.chunks.back(), [&](pb::BlockChunk& chunk) {
                    chunk.mutable_data()->resize(Draw(chunk.data().size()));
                  });
                }
              });
}

TEST_F(WireCorruptionTest, BytesOfAnotherBlockAreCaught) {
  const auto swap_pairs = [](std::vector<BlockFields>& blocks,
                             const auto& swap) {
    for (size_t i = 0; i + 1 < blocks.size(); i += 2) {
      swap(blocks[i], blocks[i + 1]);
    }
  };
  RunConfined("swapped_payload", &ClientStats::corrupt_checksum,
              [&](std::vector<BlockFields>& blocks, size_t) {
                swap_pairs(blocks, [](BlockFields& a, BlockFields& b) {
                  EditChunk(*a.chunks[0], [&](pb::BlockChunk& one) {
                    EditChunk(*b.chunks[0], [&](pb::BlockChunk& other) {
                      one.mutable_data()->swap(*other.mutable_data());
                    });
                  });
                });
              });
  RunConfined("swapped_checksums", &ClientStats::corrupt_checksum,
              [&](std::vector<BlockFields>& blocks, size_t) {
                swap_pairs(blocks, [](BlockFields& a, BlockFields& b) {
                  EditHead(*a.head, [&](pb::BlockHead& one) {
                    EditHead(*b.head, [&](pb::BlockHead& other) {
                      one.mutable_checksums()->swap(*other.mutable_checksums());
                    });
                  });
                });
              });
  // A whole and consistent block, but another one: head and bytes.
  RunConfined("swapped_blocks", &ClientStats::corrupt_checksum,
              [&](std::vector<BlockFields>& blocks, size_t) {
                swap_pairs(blocks, [](BlockFields& a, BlockFields& b) {
                  EditHead(*a.head, [&](pb::BlockHead& one) {
                    EditHead(*b.head, [&](pb::BlockHead& other) {
                      one.mutable_checksums()->swap(*other.mutable_checksums());
                    });
                  });
                  for (size_t i = 0; i < a.chunks.size(); ++i) {
                    EditChunk(*a.chunks[i], [&](pb::BlockChunk& one) {
                      EditChunk(*b.chunks[i], [&](pb::BlockChunk& other) {
                        one.mutable_data()->swap(*other.mutable_data());
                      });
                    });
                  }
                });
              });
}

// A frame that answered another question, from another chain or namespace.
TEST_F(WireCorruptionTest, AReplayedFrameIsCaught) {
  std::vector<std::string> frames;
  for (size_t c = 0; c < kChains; ++c) frames.push_back(FrameOf(c, 6));
  RunBroken("replayed_frame", [&](std::string& frame, size_t chain) {
    frame = frames[(chain + 1 + Draw(kChains - 1)) % kChains];
  });
}

TEST_F(WireCorruptionTest, ABrokenFrameIsCaught) {
  RunBroken("frame_bit_flip",
            [&](std::string& frame, size_t) { FlipBit(frame); });
  RunBroken("frame_truncated", [&](std::string& frame, size_t) {
    frame.resize(Draw(frame.size()));
  });
  RunBroken("frame_dropped", [](std::string& frame, size_t) { frame.clear(); });
  RunBroken("frame_doubled",
            [](std::string& frame, size_t) { frame += std::string(frame); });
  RunBroken("frame_garbage", [&](std::string& frame, size_t) {
    for (char& c : frame) c = static_cast<char>(random_());
  });
}

TEST_F(WireCorruptionTest, FieldsThatAreLostOrTwiceAreCaught) {
  for (const uint32_t number :
       {transport::kGetHeads, transport::kGetChunks, transport::kGetDone}) {
    RunBrokenFields(
        absl::StrCat("lost_", number), [&](std::vector<FrameField>& fields) {
          fields.erase(fields.begin() +
                       static_cast<ptrdiff_t>(Some(fields, number)));
        });
    RunBrokenFields(
        absl::StrCat("twice_", number), [&](std::vector<FrameField>& fields) {
          const size_t at = Some(fields, number);
          const FrameField field = fields[at];
          fields.insert(fields.begin() + static_cast<ptrdiff_t>(at), field);
        });
  }
  // What follows a hit must not change its buffer.
  RunBrokenFields("late_bytes", [&](std::vector<FrameField>& fields) {
    const auto blocks = BlocksIn(fields);
    const BlockFields& block = blocks[Draw(blocks.size())];
    std::vector<FrameField> late = {*block.head, *block.chunks[0]};
    EditChunk(late[1],
              [&](pb::BlockChunk& chunk) { FlipBit(*chunk.mutable_data()); });
    fields.insert(fields.end(), late.begin(), late.end());
  });
}

TEST_F(WireCorruptionTest, FieldsThatLieAreCaught) {
  RunBrokenFields("chunk_ordinal", [&](std::vector<FrameField>& fields) {
    EditChunk(fields[Some(fields, transport::kGetChunks)],
              [&](pb::BlockChunk& chunk) {
                chunk.set_ordinal(chunk.ordinal() ^ 1u << Draw(32));
              });
  });
  RunBrokenFields("chunk_offset", [&](std::vector<FrameField>& fields) {
    EditChunk(fields[Some(fields, transport::kGetChunks)],
              [&](pb::BlockChunk& chunk) {
                chunk.set_offset(chunk.offset() ^ uint64_t{1} << Draw(64));
              });
  });
  RunBrokenFields("head_ordinal", [&](std::vector<FrameField>& fields) {
    EditHead(fields[Some(fields, transport::kGetHeads)],
             [&](pb::BlockHead& head) {
               head.set_ordinal(head.ordinal() ^ 1u << Draw(32));
             });
  });
  RunBrokenFields("head_length", [&](std::vector<FrameField>& fields) {
    EditHead(fields[Some(fields, transport::kGetHeads)],
             [&](pb::BlockHead& head) {
               head.set_payload_bytes(head.payload_bytes() ^ uint64_t{1}
                                                                 << Draw(64));
             });
  });
  RunBrokenFields("done_ordinal", [&](std::vector<FrameField>& fields) {
    EditDone(fields[Some(fields, transport::kGetDone)],
             [&](pb::BlockDone& done) {
               done.set_ordinal(done.ordinal() ^ 1u << Draw(32));
             });
  });
  RunBrokenFields("done_status", [&](std::vector<FrameField>& fields) {
    EditDone(fields[Some(fields, transport::kGetDone)],
             [&](pb::BlockDone& done) {
               done.set_status(
                   static_cast<pb::BlockStatus>(done.status() ^ 1 << Draw(31)));
             });
  });
}

constexpr size_t kChecksum = 0;
constexpr size_t kSize = 1;
constexpr size_t kOrder = 2;
constexpr size_t kFrame = 3;
constexpr size_t kUnknown = 4;

TEST_F(WireCorruptionTest, DamagedBytesAreNotStored) {
  RunPutChunks(
      "put_bit_flip", {kChecksum}, [&](std::vector<FrameField>& fields) {
        EditChunk(
            fields[Some(fields, transport::kPutChunks)],
            [&](pb::BlockChunk& chunk) { FlipBit(*chunk.mutable_data()); });
      });
  RunPutChunks("put_truncated", {kSize}, [&](std::vector<FrameField>& fields) {
    EditChunk(fields[Some(fields, transport::kPutChunks)],
              [&](pb::BlockChunk& chunk) {
                chunk.mutable_data()->resize(Draw(chunk.data().size()));
              });
  });
  RunPutChunks("put_swapped", {kChecksum},
               [&](std::vector<FrameField>& fields) {
                 const size_t at = Some(fields, transport::kPutChunks);
                 size_t other = at;
                 while (other == at)
                   other = Some(fields, transport::kPutChunks);
                 EditChunk(fields[at], [&](pb::BlockChunk& one) {
                   EditChunk(fields[other], [&](pb::BlockChunk& two) {
                     one.mutable_data()->swap(*two.mutable_data());
                   });
                 });
               });
}

TEST_F(WireCorruptionTest, LostDoubledOrMisplacedBytesAreNotStored) {
  RunPutChunks("put_lost", {kSize}, [&](std::vector<FrameField>& fields) {
    fields.erase(fields.begin() +
                 static_cast<ptrdiff_t>(Some(fields, transport::kPutChunks)));
  });
  RunPutChunks("put_twice", {kOrder}, [&](std::vector<FrameField>& fields) {
    const size_t at = Some(fields, transport::kPutChunks);
    const FrameField field = fields[at];
    fields.insert(fields.begin() + static_cast<ptrdiff_t>(at), field);
  });
  RunPutChunks("put_ordinal", {kOrder}, [&](std::vector<FrameField>& fields) {
    EditChunk(fields[Some(fields, transport::kPutChunks)],
              [&](pb::BlockChunk& chunk) {
                chunk.set_ordinal(chunk.ordinal() ^ 1u << Draw(32));
              });
  });
  RunPutChunks(
      "put_offset", {kOrder, kFrame}, [&](std::vector<FrameField>& fields) {
        EditChunk(fields[Some(fields, transport::kPutChunks)],
                  [&](pb::BlockChunk& chunk) {
                    chunk.set_offset(chunk.offset() ^ uint64_t{1} << Draw(64));
                  });
      });
  RunPutChunks(
      "put_write_id", {kUnknown},
      [&](std::vector<FrameField>& fields) { FlipBit(fields[Draw(2)].bytes); });
}

TEST_F(WireCorruptionTest, BrokenFramesAreNotStored) {
  constexpr char kPut[] = "/banyan.v1.Cache/PutBlocks";
  const std::vector<size_t> any = {kChecksum, kSize, kOrder, kFrame, kUnknown};
  RunPuts("put_frame_bit_flip", kPut, any,
          [&](std::string& frame) { FlipBit(frame); });
  RunPuts("put_frame_truncated", kPut, any,
          [&](std::string& frame) { frame.resize(Draw(frame.size())); });
  RunPuts("put_frame_garbage", kPut, any, [&](std::string& frame) {
    for (char& c : frame) c = static_cast<char>(random_());
  });
}

TEST_F(WireCorruptionTest, DamagedClaimsAreNotStored) {
  constexpr char kCommit[] = "/banyan.v1.Cache/Commit";
  const auto edit = [](std::string& text,
                       const std::function<void(pb::CommitRequest&)>& change) {
    pb::CommitRequest request;
    ASSERT_TRUE(request.ParseFromString(text));
    change(request);
    text = request.SerializeAsString();
  };
  RunPuts("commit_checksum", kCommit, {kChecksum}, [&](std::string& text) {
    edit(text, [&](pb::CommitRequest& request) {
      FlipBit(*request.mutable_blocks(static_cast<int>(Draw(3)))
                   ->mutable_checksums());
    });
  });
  RunPuts("commit_lost_checksum", kCommit, {kChecksum, kFrame},
          [&](std::string& text) {
            edit(text, [&](pb::CommitRequest& request) {
              auto* const sums =
                  request.mutable_blocks(static_cast<int>(Draw(3)))
                      ->mutable_checksums();
              sums->resize(Draw(sums->size()));
            });
          });
  RunPuts(
      "commit_ordinal", kCommit, {kOrder, kChecksum}, [&](std::string& text) {
        edit(text, [&](pb::CommitRequest& request) {
          auto* const block = request.mutable_blocks(static_cast<int>(Draw(3)));
          block->set_ordinal(block->ordinal() ^ 1u << Draw(32));
        });
      });
  RunPuts("commit_write_id", kCommit, {kUnknown}, [&](std::string& text) {
    edit(text, [&](pb::CommitRequest& request) {
      FlipBit(*(Draw(2) == 0 ? request.mutable_write_id()
                             : request.mutable_session_id()));
    });
  });
}

// A node whose block has other pieces than the caller knows writes nowhere and
// makes no hit, although all that it says is consistent.
TEST_F(WireCorruptionTest, PiecesThatWereNotAskedForLandNowhere) {
  constexpr size_t kChain = 7;  // 933 bytes in pieces of 100.
  const size_t size = SizeOf(kChain);
  const transport::Blocks blocks{
      .namespace_id = ns_,
      .run = {.keys = absl::string_view(chains_[kChain]).substr(0, 32),
              .key_bytes = 32}};
  const uint64_t seed = transport::ChecksumSeeds(blocks)[0];
  const auto payload = testing::PayloadOf(kSpace, chains_[kChain], 0, size);
  struct Lie {
    uint64_t piece_bytes;
    size_t at;  // Where the bytes are said to belong.
    std::string data;
  };
  const std::string text(reinterpret_cast<const char*>(payload.data()), size);
  const std::vector<Lie> lies = {
      {.piece_bytes = 150, .at = 900, .data = text.substr(900)},  // 7 pieces.
      {.piece_bytes = 500, .at = 1000, .data = text.substr(0, 64)},
      {.piece_bytes = 932, .at = 6 * 932, .data = text.substr(0, 64)}};
  transport::GrpcTransport grpc(wire_.ChannelTo(node_.endpoint()),
                                transport::Verification::kOn);
  for (const Lie& lie : lies) {
    wire_.on_receive = [&](std::string_view, std::string& frame) {
      auto fields = testing::SplitFrame(frame);
      ASSERT_TRUE(fields.has_value());
      for (BlockFields& block : BlocksIn(*fields)) {
        EditHead(*block.head, [&](pb::BlockHead& head) {
          head.set_piece_bytes(lie.piece_bytes);
          head.set_checksums(
              transport::PackedChecksums(seed, payload, lie.piece_bytes));
        });
        ASSERT_FALSE(block.chunks.empty());
        EditChunk(*block.chunks[0], [&](pb::BlockChunk& chunk) {
          chunk.set_offset(lie.at);
          chunk.set_data(lie.data);
        });
      }
      frame = testing::JoinFrame(*fields);
    };
    std::vector<std::byte> memory(16 * kKiB, std::byte{0xEE});
    const std::vector<std::span<std::byte>> buffers = {
        std::span(memory).first(size)};
    transport::GetResult result;

    const absl::Status status =
        grpc.Get({.blocks = blocks,
                  .buffers = buffers,
                  .pieces = {.first = 6, .count = 2}},
                 {.deadline = std::chrono::steady_clock::now() +
                              std::chrono::seconds(20)},
                 result);

    EXPECT_TRUE(absl::IsInternal(status)) << status;
    EXPECT_NE(result.blocks[0].result, ReadResult::kHit) << lie.piece_bytes;
    EXPECT_EQ(result.found.broken_order, 1u);
    EXPECT_EQ(memory, std::vector(memory.size(), std::byte{0xEE}));
  }
}

// Damage in the node's memory, seen from the client: verified before it is
// sent, dropped, counted on both sides.
TEST_F(WireCorruptionTest, DamageInTheNodesMemoryReachesNobody) {
  tiers::HostTierPeer peer(node_.host());
  const auto ns = node_.store().namespaces().FindById(ns_);
  ASSERT_TRUE(ns.ok());
  constexpr int kDamages = testing::Repetitions(2000);
  for (int i = 0; i < kDamages && !HasFailure(); ++i) {
    const size_t chain = Draw(kChains);
    const std::string& keys = chains_[chain];
    const size_t n = Draw(kBlocks);
    const BlockId id = (*ns)->unsalted(std::string(testing::KeyNo(keys, n)));
    peer.Payload(id)[Draw(SizeOf(chain))] ^= std::byte{1} << Draw(8);
    const ClientStats before = client_->stats();
    const Completion got = Get(chain, kBlocks);
    ASSERT_TRUE(got.status.ok()) << got.status;
    EXPECT_EQ(got.hit_blocks, n);
    EXPECT_EQ(got.reads[n], ReadResult::kCorrupt);
    EXPECT_EQ(client_->stats().corrupt_server - before.corrupt_server, 1u);
    ++injected_["node_memory"];
    ASSERT_TRUE(Put(keys, kBlocks, SizeOf(chain), PieceOf(chain)).status.ok());
  }
  for (const auto& reading : node_.store().Stats()) {
    if (reading.name ==
        "banyan_corruption_detected_total{where=\"checksum\"}") {
      EXPECT_EQ(reading.value, static_cast<uint64_t>(kDamages));
    }
  }
}

}  // namespace
}  // namespace banyan
