// For PTX: the instances that the tests run.
#include "tests/testing/simt/sample_kernels.cuh"

namespace banyan::simt {

template __global__ void RowStats<256>(const float4*, RowStat*, int);
template __global__ void ReverseRuns<128>(const uint4*, uint4*, int);

}  // namespace banyan::simt
