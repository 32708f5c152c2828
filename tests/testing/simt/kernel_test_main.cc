// Runs the tests of a kernel test program; in its checked form, with the
// Checker watching.
#include <gtest/gtest.h>

#include "tests/testing/simt/checker.h"

int main(int argc, char** argv) {
  if (BANYAN_SIMT_CHECKED) banyan::simt::Checker::Get();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
