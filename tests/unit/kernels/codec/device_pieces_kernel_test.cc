// Goal: on a device, pieces have the checksum that the library gives them, and
// those with any damage are found, and no others.
// Method: the launcher itself runs, on fake device memory; its launches go to the
// executor, or to the interpreter of the PTX that nvcc made for each architecture.
// Sizes at which XXH3 takes another way inside: ends of stripes, blocks and chunks.
#include <gtest/gtest.h>

#include <random>

#include "base/checksum.h"
#include "base/error.h"
#include "kernels/codec/device_codec.h"
#include "tests/testing/simt/checker.h"
#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/ptx_cases.h"
#include "tests/testing/simt/ptx_machine.h"
#include "tests/testing/simt/run_kernel.h"

namespace banyan::codec {
namespace {

using simt::DeviceArray;
using simt::Executor;

constexpr uint32_t kPieces = 3;

// Pieces with their checksums, one of them damaged at will.
struct Pieces {
  Pieces(uint64_t bytes, uint64_t gap, uint64_t begin)
      : piece_bytes(bytes), stride(bytes + gap), first(begin) {
    std::mt19937_64 rng(bytes * 31 + gap);
    memory.resize(first + kPieces * stride);
    for (std::byte& byte : memory) byte = static_cast<std::byte>(rng());
    for (uint32_t i = 0; i < kPieces; ++i) {
      seeds.push_back(rng());
      const Checksum128 sum = Xxh3_128(
          absl::MakeConstSpan(memory).subspan(first + i * stride, bytes),
          seeds.back());
      checksums.push_back(sum.low);
      checksums.push_back(sum.high);
    }
  }

  // The verdicts; `status` is what the launch said.
  std::vector<uint32_t> Check(absl::Status& status) const {
    const DeviceArray<std::byte> bytes(memory);
    const DeviceArray<uint64_t> on_seeds(seeds);
    const DeviceArray<uint64_t> on_checksums(checksums);
    DeviceArray<uint32_t> verdicts(std::vector<uint32_t>(kPieces, 0));
    simt::KeepLaunchStatus(absl::OkStatus());
    status = CheckPiecesOnDevice({.bytes = bytes.get() + first,
                                  .stride_bytes = stride,
                                  .piece_bytes = piece_bytes,
                                  .seeds = on_seeds.get(),
                                  .checksums = on_checksums.get(),
                                  .verdicts = verdicts.get(),
                                  .pieces = kPieces},
                                 {});
    if (status.ok()) status = simt::LastLaunchStatus();
    EXPECT_EQ(bytes.Values(), memory);
    return verdicts.Values();
  }

  uint64_t piece_bytes;
  uint64_t stride;
  uint64_t first;
  std::vector<std::byte> memory;
  std::vector<uint64_t> seeds;
  std::vector<uint64_t> checksums;
};

void ExpectVerdicts(const Pieces& pieces, uint32_t damaged) {
  absl::Status status;
  const std::vector<uint32_t> verdicts = pieces.Check(status);
  ASSERT_TRUE(status.ok()) << status;
  for (uint32_t i = 0; i < kPieces; ++i) {
    const absl::Status said = VerdictStatus(verdicts[i]);
    EXPECT_EQ(ErrorReason(said), i == damaged ? "CHECKSUM" : "")
        << "piece " << i << ": " << said;
  }
}

// Intact; then a bit of a byte turned at the ends, and anywhere.
void ExpectFindsDamage(uint64_t bytes, uint64_t gap, uint64_t begin) {
  SCOPED_TRACE(absl::StrCat(bytes, " bytes, then ", gap, ", from ", begin));
  Pieces pieces(bytes, gap, begin);
  ExpectVerdicts(pieces, kPieces);
  std::mt19937_64 rng(bytes);
  for (const uint64_t at : {uint64_t{0}, bytes - 1, rng() % bytes}) {
    const auto damaged = static_cast<uint32_t>(rng() % kPieces);
    std::byte& byte = pieces.memory[begin + damaged * pieces.stride + at];
    byte ^= std::byte{1} << rng() % 8;
    ExpectVerdicts(pieces, damaged);
    const Checksum128 sum =
        Xxh3_128(absl::MakeConstSpan(pieces.memory)
                     .subspan(begin + damaged * pieces.stride, bytes),
                 pieces.seeds[damaged]);
    pieces.checksums[2 * damaged] = sum.low;
    pieces.checksums[2 * damaged + 1] = sum.high;
  }
}

void ExpectFindsDamageAtAllSizes() {
  for (const uint64_t bytes : {241, 256, 257, 1023, 1024, 1025, 1088, 1089,
                               2048, 4096, 8256, 65536, 65600, 66561, 131136}) {
    ExpectFindsDamage(bytes, (8 - bytes % 8) % 8, 0);
  }
  ExpectFindsDamage(3000, 5, 3);
}

class DevicePiecesKernelTest : public ::testing::Test {
 protected:
  void TearDown() override {
    simt::SetLaunchRoute(nullptr);
    Executor::Get().SetSchedule({});
  }
};

TEST_F(DevicePiecesKernelTest, FindsDamageAtAllSizes) {
  ExpectFindsDamageAtAllSizes();
}

TEST_F(DevicePiecesKernelTest, FindsDamageUnderAnySchedule) {
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    ExpectFindsDamage(70000, 0, 0);
  }
}

TEST_F(DevicePiecesKernelTest, RefusesOtherPieces) {
  for (const DevicePieces& pieces :
       {DevicePieces{.piece_bytes = 240, .pieces = 1},
        DevicePieces{.piece_bytes = 241, .pieces = 0}}) {
    const absl::Status status = CheckPiecesOnDevice(pieces, {});
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(ErrorReason(status), "CODEC");
  }
}

class DevicePiecesPtxTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    BANYAN_SKIP_WITHOUT_PTX();
    auto read =
        simt::ptx::Module::Read(simt::PtxPath("xxh3_pieces", GetParam()));
    ASSERT_TRUE(read.ok()) << read.status();
    module_ = std::make_unique<simt::ptx::Module>(*std::move(read));
  }
  void TearDown() override { simt::SetLaunchRoute(nullptr); }

  void RouteTo(absl::string_view name) {
    const auto kernel = module_->Find(std::string(name));
    ASSERT_TRUE(kernel.ok()) << kernel.status();
    simt::SetLaunchRoute(
        [kernel = *kernel](const auto& shape, const auto& arguments) {
          return simt::ptx::RunPtxBytes(*kernel, shape, arguments);
        });
  }

  std::unique_ptr<simt::ptx::Module> module_;
};

TEST_P(DevicePiecesPtxTest, FindsDamage) {
  RouteTo("CheckXxh3PiecesILi8E");
  for (const uint64_t bytes : {241, 1024, 1089, 66561}) {
    ExpectFindsDamage(bytes, (8 - bytes % 8) % 8, 0);
  }
  RouteTo("CheckXxh3PiecesILi1E");
  ExpectFindsDamage(3000, 5, 3);
}

#if BANYAN_SIMT_CHECKED  // Only such a program counts sectors.
// Also the other half of the roofline that docs/cuda.md works out.
TEST_P(DevicePiecesPtxTest, FetchesNextToNothingInVain) {
  const Pieces pieces(65600, 0, 0);
  RouteTo("CheckXxh3PiecesILi8E");
  simt::Traffic traffic;
  const uint64_t before = simt::ptx::ExecutedInstructions();
  simt::Checker::Get().CountTraffic(&traffic);
  ExpectVerdicts(pieces, kPieces);
  simt::Checker::Get().CountTraffic(nullptr);

  EXPECT_GE(traffic.sector_use(), 0.95);
  const double bytes = static_cast<double>(kPieces * pieces.piece_bytes);
  std::printf("check sm_%d: %.3f B read and %.2f PTX a byte, sectors %.3f\n",
              GetParam(), traffic.read_sectors * 32 / bytes,
              (simt::ptx::ExecutedInstructions() - before) / bytes,
              traffic.sector_use());
}
#endif

INSTANTIATE_TEST_SUITE_P(
    Architectures, DevicePiecesPtxTest,
    ::testing::ValuesIn(simt::PtxArchitectures({"xxh3_pieces"})));

}  // namespace
}  // namespace banyan::codec
