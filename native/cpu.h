// Scalars of the CPU build: V is a vector of LANES robots, M the result of a comparison.
// GCC's and Clang's vector types do the arithmetic on any CPU; intrinsics only where a division would cost.
#include <algorithm>
#include <cmath>
#include <cstring>
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#ifdef __AVX512F__
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float V __attribute__((vector_size(4 * LANES)));
typedef int M __attribute__((vector_size(4 * LANES)));
#define INLINE static inline __attribute__((always_inline))
#define STAGE static __attribute__((noinline))
#define TABLE static const
#define LIMB_THREADS 1
#define LIMB_THREAD 0

INLINE V splat(float x) { return V{} + x; }
INLINE V load(const float* p) { V v; std::memcpy(&v, p, sizeof v); return v; }
INLINE void store(float* p, V v) { std::memcpy(p, &v, sizeof v); }
INLINE V vsel(M m, V a, V b) { return m ? a : b; }
INLINE V vabs(V x) { return (V)((M)x & 0x7fffffff); }
INLINE V vfloor(V x) {
  V whole = __builtin_convertvector(__builtin_convertvector(x, M), V);
  return whole - vsel(whole > x, splat(1.0f), splat(0.0f));
}
typedef M I;  // whole numbers
INLINE I vint(V x) { return __builtin_convertvector(x, I); }
INLINE V vfloat(I x) { return __builtin_convertvector(x, V); }
INLINE V gather(const float* p, I at) {
#ifdef __AVX512F__
  return (V)_mm512_i32gather_ps((__m512i)at, p, 4);
#elif defined(__AVX2__)
  return (V)_mm256_i32gather_ps(p, (__m256i)at, 4);
#else
  V v;
  for (int i = 0; i < LANES; ++i) v[i] = p[at[i]];
  return v;
#endif
}
INLINE bool any(M m) {
#ifdef __AVX512F__
  return _mm512_test_epi32_mask((__m512i)m, (__m512i)m) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)m) != 0;
#else
  int found = 0;
  for (int i = 0; i < LANES; ++i) found |= m[i];
  return found != 0;
#endif
}
INLINE V vrsqrt(V x) {
#ifdef __AVX512F__
  V y = (V)_mm512_rsqrt14_ps((__m512)x);
#elif defined(__AVX2__)
  V y = (V)_mm256_rsqrt_ps((__m256)x);
#elif defined(__ARM_NEON)
  V y = (V)vrsqrteq_f32((float32x4_t)x);
  y = y * (1.5f - 0.5f * x * y * y);
#else
  V y;
  for (int i = 0; i < LANES; ++i) y[i] = 1.0f / std::sqrt(x[i]);
  return y;
#endif
  return y * (1.5f - 0.5f * x * y * y);  // one step of Newton's method: full single precision
}
INLINE V vrecip(V x) {
#ifdef __AVX512F__
  V y = (V)_mm512_rcp14_ps((__m512)x);
  return y * (2.0f - x * y);
#elif defined(__AVX2__)
  V y = (V)_mm256_rcp_ps((__m256)x);
  return y * (2.0f - x * y);
#else
  return 1.0f / x;
#endif
}
// Sine and cosine to about 1 ulp for |x| < 1e4: quadrant, then minimax polynomials on [-pi/4, pi/4]
// (coefficients: S. Moshier, Cephes, sinf and cosf).
INLINE void vsincos(V x, V& s, V& c) {
  V k = vfloor(x * 0.636619772f + 0.5f);
  M q = __builtin_convertvector(k, M);
  V r = x - k * 1.5703125f;
  r = r - k * 4.837512969970703125e-4f;
  r = r - k * 7.54978995489188216e-8f;
  V z = r * r;
  V ss = r + r * z * (-1.6666654611e-1f + z * (8.3321608736e-3f + z * -1.9515295891e-4f));
  V cc = 1.0f - 0.5f * z + z * z * (4.166664568298827e-2f + z * (-1.388731625493765e-3f + z * 2.443315711809948e-5f));
  M odd = (q & 1) != 0;
  s = vsel((q & 2) != 0, -vsel(odd, cc, ss), vsel(odd, cc, ss));
  c = vsel(((q + 1) & 2) != 0, -vsel(odd, ss, cc), vsel(odd, ss, cc));
}
INLINE V vsin(V x) { V s, c; vsincos(x, s, c); return s; }
INLINE V vcos(V x) { V s, c; vsincos(x, s, c); return c; }
INLINE void reduce(V*, int) {}
INLINE void meet() {}
