#include "kernels/codec/token_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/token_simd.cc"
#include "hwy/foreach_target.h"
#include "kernels/codec/simd_rows.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

template <ElementType kType>
void Load(const PlaneShape& shape, const PlaneSource& plane, uint32_t token,
          const RopeTable* rope, float* to) {
  for (uint32_t head = 0; head < shape.heads; ++head, to += shape.dim) {
    LoadRow<kType>(plane.Row(token, head), shape.dim, shape.dim, to);
    if (rope != nullptr) RotateRow(*rope, token, to);
  }
}

template <ElementType kType>
void Store(const PlaneShape& shape, float* from, uint32_t token,
           const RopeTable* rope, const PlaneTarget& plane) {
  for (uint32_t head = 0; head < shape.heads; ++head, from += shape.dim) {
    if (rope != nullptr) RotateRow(*rope, token, from);
    StoreDecodedRow<kType>(from, shape.dim, plane.Row(token, head));
  }
}

void LoadTokenHere(const PlaneShape& shape, const PlaneSource& plane,
                   uint32_t token, const RopeTable* rope, float* to) {
  shape.type == ElementType::kFp16
      ? Load<ElementType::kFp16>(shape, plane, token, rope, to)
      : Load<ElementType::kBf16>(shape, plane, token, rope, to);
}

void StoreTokenHere(const PlaneShape& shape, float* from, uint32_t token,
                    const RopeTable* rope, const PlaneTarget& plane) {
  shape.type == ElementType::kFp16
      ? Store<ElementType::kFp16>(shape, from, token, rope, plane)
      : Store<ElementType::kBf16>(shape, from, token, rope, plane);
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace banyan::codec {

HWY_EXPORT(LoadTokenHere);
HWY_EXPORT(StoreTokenHere);

void LoadToken(const PlaneShape& shape, const PlaneSource& plane,
               uint32_t token, const RopeTable* rope, float* to) {
  HWY_DYNAMIC_DISPATCH(LoadTokenHere)(shape, plane, token, rope, to);
}

void StoreToken(const PlaneShape& shape, float* from, uint32_t token,
                const RopeTable* rope, const PlaneTarget& plane) {
  HWY_DYNAMIC_DISPATCH(StoreTokenHere)(shape, from, token, rope, plane);
}

}  // namespace banyan::codec
#endif
