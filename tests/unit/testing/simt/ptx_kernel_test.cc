// Goal: the interpreter does what PTX says, finds what the executor and the
// checker find, and refuses what it does not know.
// Method: nvcc's PTX of the sample kernels against the same kernels in C++, bit
// for bit, under all schedules; small kernels of PTX by hand, for instructions
// that nvcc used nowhere here, and with one bug each.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/ptx_cases.h"
#include "tests/testing/simt/ptx_machine.h"
#include "tests/testing/simt/sample_kernels.cuh"

namespace banyan::simt::ptx {
namespace {

template <class To, class From>
const To* As(const DeviceArray<From>& array) {
  return reinterpret_cast<const To*>(array.get());
}

class NvccPtxTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    BANYAN_SKIP_WITHOUT_PTX();
    auto module = Module::Read(PtxPath("sample_kernels", GetParam()));
    ASSERT_TRUE(module.ok()) << module.status();
    module_ = *std::move(module);
  }
  void TearDown() override { Executor::Get().SetSchedule({}); }

  const Kernel& Named(absl::string_view part) {
    const auto kernel = module_.Find(part);
    EXPECT_TRUE(kernel.ok()) << kernel.status();
    return **kernel;
  }

  // Runs both under each of the usual schedules.
  template <class Test>
  void UnderAllSchedules(Test test) {
    for (const Schedule& schedule : UsualSchedules()) {
      Executor::Get().SetSchedule(schedule);
      test();
    }
  }

  Module module_;
};

#define BANYAN_EXPECT_OK(expr) \
  if (const absl::Status status = (expr); !status.ok()) FAIL() << status

TEST_P(NvccPtxTest, ReducesRowsToTheSameBits) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> values(3 * 1284);
  for (float& value : values) value = normal(random);
  UnderAllSchedules([&] {
    const DeviceArray<float> rows(values);
    const DeviceArray<RowStat> a(3);
    const DeviceArray<RowStat> b(3);

    BANYAN_EXPECT_OK(RunKernel("RowStats", RowStats<256>, 3, 256, 0,
                               As<float4>(rows), a.get(), 1284));
    BANYAN_EXPECT_OK(
        RunPtx(Named("RowStats"), 3, 256, rows.get(), b.get(), 1284));

    const auto want = a.Values();
    const auto found = b.Values();
    EXPECT_EQ(std::memcmp(want.data(), found.data(), 3 * sizeof(RowStat)), 0);
  });
}

// Seven rounds: nvcc unrolls four, and the rest is code of its own.
TEST_P(NvccPtxTest, ReversesRunsToTheSameBits) {
  std::vector<unsigned> values(7 * 128 * 4);
  for (unsigned i = 0; i < values.size(); ++i) values[i] = 2654435761u * i;
  UnderAllSchedules([&] {
    const DeviceArray<unsigned> from(values);
    const DeviceArray<unsigned> a(values.size());
    const DeviceArray<unsigned> b(values.size());

    BANYAN_EXPECT_OK(RunKernel("ReverseRuns", ReverseRuns<128>, 1, 128, 0,
                               As<uint4>(from),
                               reinterpret_cast<uint4*>(a.get()), 7));
    BANYAN_EXPECT_OK(
        RunPtx(Named("ReverseRuns"), 1, 128, from.get(), b.get(), 7));

    EXPECT_EQ(a.Values(), b.Values());
  });
}

TEST_P(NvccPtxTest, CountsTheSame) {
  std::mt19937 random(5);
  std::vector<unsigned> values(1000);
  for (unsigned& value : values) value = static_cast<unsigned>(random());
  UnderAllSchedules([&] {
    const DeviceArray<unsigned> in(values);
    const DeviceArray<unsigned> a(std::vector<unsigned>(17, 0));
    const DeviceArray<unsigned> b(std::vector<unsigned>(17, 0));

    BANYAN_EXPECT_OK(RunKernel("CountValues", CountValues, 3, 128, 0, in.get(),
                               a.get(), a.get() + 16, 1000));
    BANYAN_EXPECT_OK(RunPtx(Named("CountValues"), 3, 128, in.get(), b.get(),
                            b.get() + 16, 1000));

    EXPECT_EQ(a.Values(), b.Values());
  });
}

// Every bit pattern of a half, NaN and infinity among them.
TEST_P(NvccPtxTest, QuantizesToTheSameBits) {
  std::vector<uint16_t> halves(65536);
  std::mt19937 random(13);
  for (size_t i = 0; i < halves.size(); ++i) {
    halves[i] = static_cast<uint16_t>(i);
  }
  std::shuffle(halves.begin(), halves.end(), random);
  const DeviceArray<uint16_t> in(halves);
  const DeviceArray<uint16_t> a_scales(1024);
  const DeviceArray<uint16_t> b_scales(1024);
  const DeviceArray<uint64_t> a(8192);
  const DeviceArray<uint64_t> b(8192);

  BANYAN_EXPECT_OK(RunKernel("QuantizeHalves", QuantizeHalves, 128, 64, 0,
                             As<uint4>(in), reinterpret_cast<uint2*>(a.get()),
                             a_scales.get()));
  BANYAN_EXPECT_OK(RunPtx(Named("QuantizeHalves"), 128, 64, in.get(), b.get(),
                          b_scales.get()));

  EXPECT_EQ(a.Values(), b.Values());
  EXPECT_EQ(a_scales.Values(), b_scales.Values());
}

// The PTX without each line that has `part` in it, in turn.
std::vector<std::string> Mutants(const std::string& path,
                                 absl::string_view part) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  std::vector<std::string> mutants;
  for (std::string& line : lines) {
    if (!absl::StrContains(line, part)) continue;
    const std::string whole = std::exchange(line, "");
    mutants.push_back(absl::StrJoin(lines, "\n"));
    line = whole;
  }
  return mutants;
}

// What is found in the sample kernels of a module, under any schedule.
std::string FoundInSamples(const Module& module) {
  const DeviceArray<unsigned> in(std::vector<unsigned>(7 * 512, 1));
  for (const Schedule& schedule : UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    const DeviceArray<unsigned> out(std::vector<unsigned>(7 * 512, 0));
    for (const absl::Status& status :
         {RunPtx(**module.Find("RowStats"), 2, 256, in.get(), out.get(), 1284),
          RunPtx(**module.Find("ReverseRuns"), 1, 128, in.get(), out.get(), 7),
          RunPtx(**module.Find("CountValues"), 2, 128, in.get(), out.get(),
                 out.get() + 16, 1000)}) {
      if (!status.ok()) return std::string(status.message());
    }
  }
  return "";
}

TEST_P(NvccPtxTest, NoBarrierOrWaitCanBeLeftOut) {
  if (!BANYAN_SIMT_CHECKED) GTEST_SKIP() << "only a checked program sees it";
  const std::string path = PtxPath("sample_kernels", GetParam());
  ASSERT_EQ(FoundInSamples(module_), "");
  for (const absl::string_view part : {"bar.sync", "cp.async.wait_group"}) {
    const std::vector<std::string> mutants = Mutants(path, part);
    EXPECT_GE(mutants.size(), 2u);
    for (size_t i = 0; i < mutants.size(); ++i) {
      const auto mutant = Module::Parse(mutants[i], path);
      ASSERT_TRUE(mutant.ok()) << mutant.status();
      EXPECT_NE(FoundInSamples(*mutant), "") << part << ", number " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Architectures, NvccPtxTest,
    ::testing::ValuesIn(PtxArchitectures({"sample_kernels"})));

// A kernel k(out, in) by hand: %out and %in are addresses, %t the thread.
Module ByHand(const std::string& body) {
  const std::string text = absl::StrCat(
      ".version 9.0\n.target sm_80\n.address_size 64\n"
      ".visible .entry k(.param .u64 a, .param .u64 b)\n{\n"
      ".reg .b64 %out, %in;\n"
      "ld.param.u64 %out, [a];\nld.param.u64 %in, [b];\n"
      "mov.u32 %t, %tid.x;\n",
      body, "\nret;\n}\n");
  auto module = Module::Parse(text, "hand.ptx");
  EXPECT_TRUE(module.ok()) << module.status();
  return *std::move(module);
}

// What one thread leaves in %r, as 64 bits.
uint64_t Result(const std::string& body) {
  const Module module = ByHand(body + "\nst.global.u64 [%out], %r;");
  const DeviceArray<uint64_t> out(1);
  const absl::Status status =
      RunPtx(module.kernels()[0], 1, 1, out.get(), out.get());
  EXPECT_TRUE(status.ok()) << status;
  return out.Values()[0];
}

TEST(PtxMachineTest, GivesWhatTheLaunchAllotsOfSharedMemory) {
  const auto module = Module::Parse(
      ".version 9.0\n.target sm_80\n.address_size 64\n"
      ".extern .shared .align 16 .b8 more[];\n"
      ".visible .entry k(.param .u64 a)\n{\n"
      "ld.param.u64 %out, [a];\nmov.u32 %t, %tid.x;\n"
      "mov.u32 %m, more;\nmad.lo.u32 %m, %t, 4, %m;\n"
      "st.shared.u32 [%m], %t;\nld.shared.u32 %r, [%m];\n"
      "mad.wide.u32 %o, %t, 4, %out;\nst.global.u32 [%o], %r;\nret;\n}\n",
      "hand.ptx");
  ASSERT_TRUE(module.ok()) << module.status();
  const DeviceArray<uint32_t> out(32);
  const auto run = [&](size_t bytes) {
    return RunPtxBytes(module->kernels()[0],
                       {.grid = 1, .block = 32, .dynamic_shared_bytes = bytes},
                       {BytesOf(out.get())});
  };

  BANYAN_EXPECT_OK(run(128));
  EXPECT_EQ(out.Values()[31], 31u);
  EXPECT_TRUE(absl::StrContains(run(124).message(), "outside of the kernel"));
  EXPECT_TRUE(absl::StrContains(run(0).message(), "but none launched"));
}

TEST(PtxArithmeticTest, IntegersAreAsTheManualSays) {
  EXPECT_EQ(Result("mul.wide.s32 %r, -3, 5;"), static_cast<uint64_t>(-15));
  EXPECT_EQ(Result("mul.wide.u32 %r, 4294967295, 2;"), 8589934590u);
  EXPECT_EQ(Result("mul.hi.u32 %r, 4294967295, 4294967295;"), 4294967294u);
  EXPECT_EQ(Result("mul.hi.s32 %r, -1, 1;"), 0xffffffffu);
  EXPECT_EQ(Result("mad.lo.s32 %r, 7, -2, 20;"), 6u);
  EXPECT_EQ(Result("div.s32 %r, -7, 2;"), 0xfffffffdu);
  EXPECT_EQ(Result("rem.s32 %r, -7, 2;"), 0xffffffffu);
  EXPECT_EQ(Result("shr.s32 %r, -8, 40;"), 0xffffffffu);
  EXPECT_EQ(Result("shr.u32 %r, 8, 32;"), 0u);
  EXPECT_EQ(Result("shl.b32 %r, 1, 32;"), 0u);
  EXPECT_EQ(Result("shf.l.wrap.b32 %r, 0x80000000, 1, 33;"), 3u);
  EXPECT_EQ(Result("shf.r.clamp.b32 %r, 0, 5, 40;"), 5u);
  EXPECT_EQ(Result("bfe.s32 %r, 0x000000f0, 4, 4;"), 0xffffffffu);
  EXPECT_EQ(Result("bfe.u32 %r, 0x000000f0, 4, 8;"), 15u);
  EXPECT_EQ(Result("bfi.b32 %r, 0xff, 0, 8, 4;"), 0xf00u);
  EXPECT_EQ(Result("brev.b32 %r, 1;"), 0x80000000u);
  EXPECT_EQ(Result("clz.b32 %r, 1;"), 31u);
  EXPECT_EQ(Result("popc.b64 %r, -1;"), 64u);
  EXPECT_EQ(Result("prmt.b32 %r, 0x33221100, 0x77665544, 0x7531;"),
            0x77553311u);
  EXPECT_EQ(Result("prmt.b32 %r, 0x00000080, 0, 0x8888;"), 0xffffffffu);
  EXPECT_EQ(Result("lop3.b32 %r, 12, 10, 6, 0x96;"), 12u ^ 10u ^ 6u);
  EXPECT_EQ(Result("min.s32 %r, -1, 1;"), 0xffffffffu);
  EXPECT_EQ(Result("min.u32 %r, -1, 1;"), 1u);
  EXPECT_EQ(Result("cvt.s64.s8 %r, 255;"), ~uint64_t{0});
  EXPECT_EQ(Result("cvt.u64.u8 %r, 511;"), 255u);
}

TEST(PtxArithmeticTest, FloatsAreAsTheManualSays) {
  EXPECT_EQ(Result("min.f32 %r, 0f00000000, 0f80000000;"), 0x80000000u);
  EXPECT_EQ(Result("max.f32 %r, 0f7FC00000, 0f3F800000;"), 0x3f800000u);
  EXPECT_EQ(Result("neg.f32 %r, 0f3F800000;"), 0xbf800000u);
  EXPECT_EQ(Result("cvt.rni.s32.f32 %r, 0f40200000;"), 2u);           // 2.5
  EXPECT_EQ(Result("cvt.rzi.s32.f32 %r, 0fC0200000;"), 0xfffffffeu);  // -2.5
  EXPECT_EQ(Result("cvt.rni.s32.f32 %r, 0f7FC00000;"), 0u);           // NaN
  EXPECT_EQ(Result("cvt.rni.s32.f32 %r, 0f4F800000;"), 0x7fffffffu);  // 2^32
  EXPECT_EQ(Result("cvt.rzi.u32.f32 %r, 0fBF800000;"), 0u);           // -1
  EXPECT_EQ(Result("cvt.rn.f32.u32 %r, 4294967295;"), 0x4f800000u);
  EXPECT_EQ(Result("cvt.sat.f32.f32 %r, 0f40000000;"), 0x3f800000u);
  EXPECT_EQ(Result("setp.ltu.f32 %p, 0f7FC00000, 0f3F800000;\n"
                   "selp.u64 %r, 7, 9, %p;"),
            7u);
  EXPECT_EQ(Result("setp.lt.f32 %p, 0f7FC00000, 0f3F800000;\n"
                   "selp.u64 %r, 7, 9, %p;"),
            9u);
}

TEST(PtxArithmeticTest, PredicatesJoinAndBranch) {
  EXPECT_EQ(Result("setp.lt.s32 %p|%q, 1, 2;\n"
                   "setp.eq.and.s32 %p, 3, 3, %q;\n"
                   "mov.u64 %r, 1;\n@%p bra $A;\nmov.u64 %r, 2;\n"
                   "$A:\n@!%q add.u64 %r, %r, 10;"),
            12u);
}

std::string Refusal(const std::string& body) {
  const auto module = Module::Parse(
      absl::StrCat(".visible .entry k(.param .u64 a)\n{\n", body, "\n}\n"),
      "hand.ptx");
  return module.ok() ? "" : std::string(module.status().message());
}

TEST(PtxModuleTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(Refusal("ret;"), "");
  EXPECT_EQ(Refusal("ex2.approx.f32 %r, %r;"),
            "hand.ptx:3: unknown instruction ex2.approx.f32");
  EXPECT_EQ(Refusal("add.ftz.f32 %r, %r, %r;"),
            "hand.ptx:3: unknown part of an instruction add.ftz.f32");
  EXPECT_EQ(Refusal("mov.u32 %r, %clock;\nmov.u32 %r, nobody;"),
            "hand.ptx:4: unknown operand nobody");
  EXPECT_EQ(Refusal("bra $NOWHERE;"), "hand.ptx:4: no label $NOWHERE");
  EXPECT_EQ(Refusal(".local .b8 x[4];"),
            "hand.ptx:3: directive .local .b8 x[4]");
  EXPECT_TRUE(absl::IsNotFound(Module::Read("/nowhere.ptx").status()));
}

TEST(PtxModuleTest, ArgumentsHaveToFit) {
  const Module module = ByHand("");
  const uint64_t word = 0;

  EXPECT_TRUE(absl::IsInvalidArgument(RunPtx(module.kernels()[0], 1, 1, word)));
  EXPECT_TRUE(absl::IsInvalidArgument(
      RunPtx(module.kernels()[0], 1, 1, word, uint32_t{0})));
  EXPECT_TRUE(RunPtx(module.kernels()[0], 1, 1, word, word).ok());
}

std::string FoundInHand(const std::string& body, Dim3 block) {
  const Module module = ByHand(
      "mul.wide.u32 %o, %t, 4;\nadd.u64 %po, %out, %o;\n"
      "add.u64 %pi, %in, %o;\n" +
      body);
  const DeviceArray<unsigned> in(std::vector<unsigned>(64, 1));
  const DeviceArray<unsigned> out(64);
  return std::string(
      RunPtx(module.kernels()[0], 1, block, out.get(), in.get()).message());
}

TEST(PtxFindingsTest, WhatTheExecutorFinds) {
  EXPECT_NE(FoundInHand("setp.lt.u32 %p, %t, 5;\n@%p ret;\nbar.sync 0;", 32)
                .find("5 of 32 threads exited before a barrier"),
            std::string::npos);
  EXPECT_NE(FoundInHand("shfl.sync.bfly.b32 %r, %t, 1, 31, 0xfffffffe;", 32)
                .find("warp mask leaves out the calling lane at hand.ptx:"),
            std::string::npos);
  EXPECT_NE(
      FoundInHand("ld.global.u32 %r, [%out+2];", 1).find("misaligned address"),
      std::string::npos);
  EXPECT_NE(FoundInHand("div.u32 %r, 1, 0;", 1).find("has no one answer"),
            std::string::npos);
}

// What tells code that was run for another architecture already.
TEST(PtxCasesTest, CodeIsAllButCommentsAndTheArchitecturesName) {
  const auto code_of = [](absl::string_view target, absl::string_view line) {
    const std::string path = absl::StrCat(::testing::TempDir(), "/case.ptx");
    std::ofstream(path) << "// by nvcc\n.target " << target << "\n"
                        << line << "\nret;\n";
    return PtxCode(path);
  };
  const std::string code = code_of("sm_80", "add.s32 %r1, %r2, 1;");
  EXPECT_EQ(code, "add.s32 %r1, %r2, 1;\nret;\n");
  EXPECT_EQ(code_of("sm_90", "add.s32 %r1, %r2, 1;"), code);
  EXPECT_NE(code_of("sm_90", "add.s32 %r1, %r2, 2;"), code);
}

TEST(PtxFindingsTest, WhatTheCheckerFinds) {
  if (!BANYAN_SIMT_CHECKED) GTEST_SKIP() << "only a checked program sees it";
  EXPECT_NE(FoundInHand("ld.global.u32 %r, [%in+1024];", 1)
                .find("out of bounds or freed device memory at PTX line"),
            std::string::npos);
  EXPECT_NE(FoundInHand("st.global.u32 [%out], %t;", 64)
                .find("race: write after write at PTX line"),
            std::string::npos);
  EXPECT_NE(FoundInHand("ld.global.u32 %r, [%po];", 64)
                .find("device memory that nobody wrote"),
            std::string::npos);
  EXPECT_EQ(
      FoundInHand("ld.global.u32 %r, [%pi];\nst.global.u32 [%po], %r;", 64),
      "");
}

}  // namespace
}  // namespace banyan::simt::ptx
