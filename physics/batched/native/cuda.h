// Scalars of the CUDA build: V is a number of one robot. A robot has LIMB_THREADS threads, neighbours in a warp:
// one for each limb, or one for all. What does not belong to a limb they all compute, with the same bits.
#define INLINE static __device__ __forceinline__
#define STAGE static __device__ __forceinline__
#define TABLE static __constant__
#define LIMB_THREAD ((int)(threadIdx.x % LIMB_THREADS))
#define INFINITY (1.0f / 0.0f)

typedef float V;
typedef bool M;
typedef int I;  // whole numbers

INLINE V splat(float x) { return x; }
INLINE V load(const float* p) { return *p; }
INLINE void store(float* p, V v) { *p = v; }
INLINE V vsel(M m, V a, V b) { return m ? a : b; }
INLINE V vabs(V x) { return fabsf(x); }
INLINE V vfloor(V x) { return floorf(x); }
INLINE I vint(V x) { return (int)x; }
INLINE V gather(const float* p, I at) { return __ldg(p + at); }
INLINE bool any(M m) { return m; }
INLINE V vsin(V x) { return sinf(x); }
INLINE V vcos(V x) { return cosf(x); }
INLINE V vrsqrt(V x) { return rsqrtf(x); }
INLINE V vrecip(V x) { return __fdividef(1.0f, x); }  // 2 ulp for x < 2^126, 0 beyond

// Threads of this thread's robot: robots of one warp leave Newton's method at different times.
INLINE unsigned robot_mask() {
  return ((1u << LIMB_THREADS) - 1u) << (threadIdx.x % 32u / LIMB_THREADS * LIMB_THREADS);
}
// Sums over the threads of a robot. They must all get the same bits, or they would part in Newton's method: each
// thread adds the same pairs, and __fadd_rn keeps the compiler from fusing a thread's own term with a product.
INLINE void reduce(V* v, int n) {
#if LIMB_THREADS > 1
#pragma unroll
  for (int far = 1; far < LIMB_THREADS; far *= 2)
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] = __fadd_rn(v[i], __shfl_xor_sync(robot_mask(), v[i], far));
#endif
}
// What a robot's threads have done to memory before, they have done for one another.
INLINE void meet() {
#if LIMB_THREADS > 1
  __syncwarp(robot_mask());
#endif
}
