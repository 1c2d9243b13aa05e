// Torques of an actuator network for the joints of many robots: each SIMD lane is one joint, R vectors at a time.
// Comes after the header of the CPU and after INPUTS and either HIDDEN and LAYERS (LSTM) or SIZES and ACTIVATION (MLP).
// All arrays are [rows, columns], a column per joint; columns are a multiple of R * LANES.
#define R 2
#define BLOCK (R * LANES)
#define UNROLL _Pragma("GCC unroll 8")

// y = W x + b; weights lie as [OUT / 4][bias, then IN weights][4], OUT filled up to a multiple of 4. Returns their end.
template <int IN, int OUT>
STAGE const float* dense(const float* w, const V (*x)[R], V (*y)[R]) {
  for (int j = 0; j < OUT; j += 4) {
    V sum[4][R];
    UNROLL
    for (int q = 0; q < 4; ++q)
      UNROLL
      for (int r = 0; r < R; ++r) sum[q][r] = splat(w[q]);
    w += 4;
    UNROLL
    for (int k = 0; k < IN; ++k, w += 4)
      UNROLL
      for (int q = 0; q < 4; ++q)
        UNROLL
        for (int r = 0; r < R; ++r) sum[q][r] += splat(w[q]) * x[k][r];
    UNROLL
    for (int q = 0; q < 4; ++q)
      UNROLL
      for (int r = 0; r < R; ++r) y[j + q][r] = sum[q][r];
  }
  return w;
}

INLINE void read(const float* from, long columns, int rows, V (*x)[R]) {
  for (int k = 0; k < rows; ++k)
    for (int r = 0; r < R; ++r) x[k][r] = load(from + k * columns + r * LANES);
}

INLINE void write(float* to, const V* y) {
  for (int r = 0; r < R; ++r) store(to + r * LANES, y[r]);
}

// x within +-60; -60 for NaN. Written out because compilers make two instructions of each comparison.
INLINE V bounded(V x) {
#ifdef __AVX512F__
  return (V)_mm512_min_ps(_mm512_max_ps((__m512)x, (__m512)splat(-60.0f)), (__m512)splat(60.0f));
#elif defined(__AVX2__)
  return (V)_mm256_min_ps(_mm256_max_ps((__m256)x, (__m256)splat(-60.0f)), (__m256)splat(60.0f));
#else
  x = vsel(x > splat(-60.0f), x, splat(-60.0f));
  return vsel(x < splat(60.0f), x, splat(60.0f));
#endif
}

// 2^x for x in +-60, and their values beyond; to 1e-7 of itself. Adding 1.5 * 2^23 rounds to a whole number, and
// leaves it in the last bits; the rest, in +-0.5, goes into a minimax polynomial.
INLINE V power(V x) {
  x = bounded(x);
  const V shifted = x + 12582912.0f, r = x - (shifted - 12582912.0f);
  V p = splat(1.327647196e-3f);
  p = p * r + 9.675541503e-3f;
  p = p * r + 5.550713275e-2f;
  p = p * r + 2.402211972e-1f;
  p = p * r + 6.931469671e-1f;
  p = p * r + 1.000000072f;
  return (V)((M)p + ((M)shifted << 23));
}

#ifdef SIZES

#define LOG2E 1.44269504f
INLINE V softsign(V x) { return x * vrecip(1.0f + vabs(x)); }
INLINE V elu(V x) { return vsel(x > splat(0.0f), x, power(LOG2E * x) - 1.0f); }
INLINE V relu(V x) { return vsel(x > splat(0.0f), x, splat(0.0f)); }
INLINE V vtanh(V x) { return 2.0f * vrecip(1.0f + power(-2.0f * LOG2E * x)) - 1.0f; }

// The layers from IN on; the last gives the torque.
template <int IN, int OUT, int... REST>
INLINE void chain(const float* w, const V (*x)[R], float* torque) {
  V y[(OUT + 3) / 4 * 4][R];
  w = dense<IN, OUT>(w, x, y);
  if constexpr (sizeof...(REST) == 0) {
    write(torque, y[0]);
  } else {
    for (int j = 0; j < OUT; ++j)
      for (int r = 0; r < R; ++r) y[j][r] = ACTIVATION(y[j][r]);
    chain<OUT, REST...>(w, y, torque);
  }
}

INLINE void block(const float* w, const float* inputs, float*, float* torque, long columns) {
  V x[INPUTS][R];
  read(inputs, columns, INPUTS, x);
  chain<SIZES>(w, x, torque);
}

#else

// sigmoid(a) tanh(b) from 2^x = e^-a and 2^y = e^-2b: one division for both
INLINE V gated(V x, V y) {
  const V p = power(x), q = power(y);
  return (1.0f - q) * vrecip((1.0f + p) * (1.0f + q));
}

// One layer for one step: x holds its inputs, and below them its hidden state; the new one replaces the inputs.
// The gates of a unit are its input, forget, candidate and output gate, as the exponents of 2 that they need.
template <int IN>
INLINE const float* layer(const float* w, V (*x)[R], float* hidden, float* cell, long columns) {
  V gates[4 * HIDDEN][R];
  read(hidden, columns, HIDDEN, x + IN);
  w = dense<IN + HIDDEN, 4 * HIDDEN>(w, x, gates);
  for (int j = 0; j < HIDDEN; ++j) {
    V(*g)[R] = gates + 4 * j;
    UNROLL
    for (int r = 0; r < R; ++r) {
      V c = load(cell + j * columns + r * LANES);
      c = vrecip(1.0f + power(g[1][r])) * c + gated(g[0][r], g[2][r]);
      store(cell + j * columns + r * LANES, c);
      x[j][r] = gated(g[3][r], -2.88539008f * c);
      store(hidden + j * columns + r * LANES, x[j][r]);
    }
  }
  return w;
}

// memory: [hidden and cell][layer][unit] rows
INLINE void block(const float* w, const float* inputs, float* memory, float* torque, long columns) {
  V x[(INPUTS > HIDDEN ? INPUTS : HIDDEN) + HIDDEN][R];
  read(inputs, columns, INPUTS, x);
  float* cell = memory + LAYERS * HIDDEN * columns;
  w = layer<INPUTS>(w, x, memory, cell, columns);
  for (int l = 1; l < LAYERS; ++l)
    w = layer<HIDDEN>(w, x, memory + l * HIDDEN * columns, cell + l * HIDDEN * columns, columns);
  V y[4][R];
  dense<HIDDEN, 1>(w, x, y);
  write(torque, y[0]);
}

#endif

extern "C" void actuator_net(const float* weights, const float* inputs, float* memory, float* torque, long columns,
                             int num_threads) {
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(num_threads)
#endif
  for (long at = 0; at < columns; at += BLOCK) block(weights, inputs + at, memory + at, torque + at, columns);
}
