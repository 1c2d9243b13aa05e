// Gradient of PPO's loss by the weights of actor and critic, for the samples of a mini-batch.
// Comes after the header of the CPU (V, load, store, splat, ...). Threads take shares of the samples in chunks whose
// activations stay in their cache; gathering, both passes and the loss happen chunk by chunk. What a share is depends
// on the number of samples alone, and shares are added up in order: results are the same for any number of threads.
//
// A mirror-symmetric layer [[A, B], [B, A]] is diagonal in sums and differences of the two halves: two products
// of half the size each way, half of the arithmetic. Such a layer is "split": its weight is S = (A + B) / 2
// followed by D = (A - B) / 2, and its input is kept as the halves' sum and difference.
#include <vector>

#define CHUNK 48  // samples; a multiple of the rows of `kernel`
#define SHARE 192  // samples, at least
#define SHARES 64  // at most
#define ROWS 6
#if LANES == 8
#define COLUMNS 2
#else
#define COLUMNS 4
#endif

#define UNROLL _Pragma("GCC unroll 8")  // -O2 leaves these loops, and their sums in memory

INLINE int padded(int n) { return (n + LANES - 1) / LANES * LANES; }

// C [R, C vectors] (+)= A [R, K] B [K, C vectors]; A has any strides, so it may be transposed.
template <int R, int C>
STAGE void kernel(int k, const float* a, long a_row, long a_column, const float* b, long b_row, float* c, long c_row,
                  bool add) {
  V sum[R][C];
  UNROLL
  for (int i = 0; i < R; ++i)
    UNROLL
    for (int j = 0; j < C; ++j) sum[i][j] = add ? load(c + i * c_row + j * LANES) : splat(0.0f);
  for (int l = 0; l < k; ++l) {
    V row[C];
    UNROLL
    for (int j = 0; j < C; ++j) row[j] = load(b + l * b_row + j * LANES);
    UNROLL
    for (int i = 0; i < R; ++i) {
      const V x = splat(a[i * a_row + l * a_column]);
      UNROLL
      for (int j = 0; j < C; ++j) sum[i][j] += x * row[j];
    }
  }
  UNROLL
  for (int i = 0; i < R; ++i)
    UNROLL
    for (int j = 0; j < C; ++j) store(c + i * c_row + j * LANES, sum[i][j]);
}

template <int C>
INLINE void columns(int m, int k, const float* a, long a_row, long a_column, const float* b, long b_row, float* c,
                    long c_row, bool add) {
  int i = 0;
  for (; i + ROWS <= m; i += ROWS) kernel<ROWS, C>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, add);
  for (; i < m; ++i) kernel<1, C>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, add);
}

// C [m, n] (+)= A [m, k] B [k, n]; n is a multiple of LANES.
static void product(int m, int n, int k, const float* a, long a_row, long a_column, const float* b, long b_row, float* c,
                    long c_row, bool add) {
  int j = 0;
  for (; j + COLUMNS * LANES <= n; j += COLUMNS * LANES)
    columns<COLUMNS>(m, k, a, a_row, a_column, b + j, b_row, c + j, c_row, add);
  for (; j < n; j += LANES) columns<1>(m, k, a, a_row, a_column, b + j, b_row, c + j, c_row, add);
}

// e^x for x <= 0, to 2 ulp: 2^n by the exponent's bits, the rest by the polynomial of Cephes' expf.
INLINE V vexp(V x) {
  x = vsel(x > splat(-87.0f), x, splat(-87.0f));
  V n = vfloor(x * 1.44269504f + 0.5f);
  V r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * (V)((vint(n) + 127) << 23);
}

struct Layer {
  int inputs, outputs, split;  // of one half, if split
  const float* weight;         // [outputs, inputs], twice if split
  const float* bias;           // [outputs]
  float* weight_gradient;
  float* bias_gradient;
};

struct Batch {
  const float *actor_obs, *critic_obs, *actions, *means, *log_probs, *values, *advantages, *returns, *log_std;
  const long* order;  // indices of the samples
  long size;
  int actor_columns, critic_columns, num_actions, clip_value;
  float clip, value_coef;
  float* log_std_gradient;  // [A], without the entropy's
  double* sums;             // surrogate, squared value error, squared shift of the mean in standard deviations
};

// Weights of a layer, and one thread's activations and gradients.
struct Slot {
  int inputs = 0, outputs = 0, split = 0, in_pad = 0, out_pad = 0;
  std::vector<float> forward, backward, bias;  // [halves][inputs][out_pad], [halves][outputs][in_pad]
  std::vector<float> x, y;                     // [CHUNK][halves * in_pad]; [CHUNK][halves * out_pad], after ELU
  std::vector<float> dx, dy, gradient, bias_gradient;

  int halves() const { return split ? 2 : 1; }

  void prepare(const Layer& layer) {
    if (inputs != layer.inputs || outputs != layer.outputs || split != layer.split) {
      inputs = layer.inputs, outputs = layer.outputs, split = layer.split;
      in_pad = padded(inputs), out_pad = padded(outputs);
      forward.assign(halves() * inputs * out_pad, 0.0f);  // padding stays 0
      backward.assign(halves() * outputs * in_pad, 0.0f);
      bias.assign(out_pad, 0.0f);
      x.assign(CHUNK * halves() * in_pad, 0.0f), dx = x;
      y.assign(CHUNK * halves() * out_pad, 0.0f), dy = y;
    }
    for (int h = 0; h < halves(); ++h)
      for (int o = 0; o < outputs; ++o) {
        const float* row = layer.weight + (h * outputs + o) * inputs;
        std::memcpy(backward.data() + (h * outputs + o) * in_pad, row, 4 * inputs);
        float* column = forward.data() + h * inputs * out_pad + o;
        for (int i = 0; i < inputs; ++i) column[i * out_pad] = row[i];
      }
    std::copy(layer.bias, layer.bias + outputs, bias.begin());
  }

  void clear() {
    gradient.assign(halves() * outputs * in_pad, 0.0f);
    bias_gradient.assign(out_pad, 0.0f);
  }

  // y = x W^T + b, then ELU unless this is the last layer
  void run(int rows, bool last) {
    const long in_row = halves() * in_pad, out_row = halves() * out_pad;
    for (int h = 0; h < halves(); ++h)
      product(rows, out_pad, inputs, x.data() + h * in_pad, in_row, 1, forward.data() + h * inputs * out_pad, out_pad,
              y.data() + h * out_pad, out_row, false);
    for (int r = 0; r < rows; ++r)
      for (int j = 0; j < out_pad; j += LANES) {
        float* at = y.data() + r * out_row + j;
        const V b = load(bias.data() + j);
        if (split) {
          const V even = load(at) + b, odd = load(at + out_pad);
          store(at, elu(even + odd)), store(at + out_pad, elu(even - odd));
        } else {
          store(at, last ? load(at) + b : elu(load(at) + b));
        }
      }
  }

  static V elu(V v) { return vsel(v > splat(0.0f), v, vexp(v) - 1.0f); }

  // From dy, the gradient by y: that by the weights, and by x if wanted.
  void back(int rows, bool last, bool want_dx) {
    const long in_row = halves() * in_pad, out_row = halves() * out_pad;
    for (int j = 0; j < out_pad; j += LANES) {
      V sum = load(bias_gradient.data() + j);
      for (int r = 0; r < rows; ++r) {
        float* d = dy.data() + r * out_row + j;
        const float* out = y.data() + r * out_row + j;
        if (!last)
          for (int h = 0; h < halves(); ++h) {
            const V o = load(out + h * out_pad), g = load(d + h * out_pad);
            store(d + h * out_pad, vsel(o > splat(0.0f), g, g * (o + 1.0f)));
          }
        if (split) {
          const V a = load(d), b = load(d + out_pad);
          store(d, a + b), store(d + out_pad, a - b);
        }
        sum += load(d);
      }
      store(bias_gradient.data() + j, sum);
    }
    for (int h = 0; h < halves(); ++h) {
      product(outputs, in_pad, rows, dy.data() + h * out_pad, 1, out_row, x.data() + h * in_pad, in_row,
              gradient.data() + h * outputs * in_pad, in_pad, true);
      if (want_dx)
        product(rows, in_pad, outputs, dy.data() + h * out_pad, out_row, 1, backward.data() + h * outputs * in_pad, in_pad,
                dx.data() + h * in_pad, in_row, false);
    }
  }
};

struct Network {
  std::vector<Slot> slots;

  void prepare(const Layer* layers, int count) {
    slots.resize(count);
    for (int i = 0; i < count; ++i) slots[i].prepare(layers[i]);
  }

  // First layer's input from rows of observations (sum and difference part after one another, if split).
  void gather(const float* obs, int columns, const long* order, int rows) {
    Slot& s = slots[0];
    const long row = s.halves() * s.in_pad;
    for (int r = 0; r < rows; ++r)
      for (int h = 0; h < s.halves(); ++h)
        std::memcpy(s.x.data() + r * row + h * s.in_pad, obs + order[r] * columns + h * s.inputs, 4 * s.inputs);
  }

  void run(int rows) {
    for (size_t i = 0; i < slots.size(); ++i) {
      if (i) pass(slots[i - 1], slots[i], rows, false);
      slots[i].run(rows, i + 1 == slots.size());
    }
  }

  void back(int rows) {
    for (size_t i = slots.size(); i-- > 0;) {
      slots[i].back(rows, i + 1 == slots.size(), i > 0);
      if (i) pass(slots[i - 1], slots[i], rows, true);
    }
  }

  // Output of one layer to the input of the next, or the gradient back. A split layer gives halves p, q; the next
  // takes p + q and p - q, or, unsplit, p and q after one another.
  static void pass(Slot& from, Slot& to, int rows, bool back) {
    const long out_row = from.halves() * from.out_pad, in_row = to.halves() * to.in_pad;
    for (int r = 0; r < rows; ++r) {
      float* y = (back ? from.dy : from.y).data() + r * out_row;
      float* x = (back ? to.dx : to.x).data() + r * in_row;
      if (from.split && to.split) {
        for (int j = 0; j < from.out_pad; j += LANES) {
          float* source = (back ? x : y) + j;
          float* target = (back ? y : x) + j;
          const V a = load(source), b = load(source + from.out_pad);
          store(target, a + b), store(target + from.out_pad, a - b);
        }
      } else if (back) {
        for (int h = 0; h < from.halves(); ++h) std::memcpy(y + h * from.out_pad, x + h * from.outputs, 4 * from.outputs);
      } else {
        for (int h = 0; h < from.halves(); ++h) std::memcpy(x + h * from.outputs, y + h * from.out_pad, 4 * from.outputs);
      }
    }
  }
};

// What comes of a share of the samples; layers' gradients are padded as in their slots, the actor's first.
struct Share {
  std::vector<std::vector<float>> gradients, bias_gradients;
  std::vector<float> std_gradient;
  double sums[3];
};

struct Worker {
  Network actor, critic;
  std::vector<float> std_gradient, inverse_std;
  double sums[3];

  void work(const Batch& batch, long begin, long end, Share& share) {
    std_gradient.assign(batch.num_actions, 0.0f);
    sums[0] = sums[1] = sums[2] = 0.0;
    exchange(share);  // to use its memory
    for (Network* network : {&actor, &critic})
      for (Slot& slot : network->slots) slot.clear();
    for (long at = begin; at < end; at += CHUNK) {
      const int rows = (int)std::min<long>(CHUNK, end - at);
      actor.gather(batch.actor_obs, batch.actor_columns, batch.order + at, rows);
      critic.gather(batch.critic_obs, batch.critic_columns, batch.order + at, rows);
      actor.run(rows), critic.run(rows);
      Slot &mean = actor.slots.back(), &value = critic.slots.back();
      for (int r = 0; r < rows; ++r)
        loss(batch, batch.order[at + r], mean.y.data() + r * mean.out_pad, mean.dy.data() + r * mean.out_pad,
             value.y[r * value.out_pad], value.dy[r * value.out_pad]);
      actor.back(rows), critic.back(rows);
    }
    exchange(share);
    share.std_gradient = std_gradient;
    std::copy(sums, sums + 3, share.sums);
  }

  void exchange(Share& share) {
    const size_t layers = actor.slots.size() + critic.slots.size();
    share.gradients.resize(layers), share.bias_gradients.resize(layers);
    size_t i = 0;
    for (Network* network : {&actor, &critic})
      for (Slot& slot : network->slots) {
        slot.gradient.swap(share.gradients[i]);
        slot.bias_gradient.swap(share.bias_gradients[i++]);
      }
  }

  // PPO's loss of one sample and its gradient by the networks' outputs; see loss_gradients in ppo.py.
  void loss(const Batch& b, long sample, const float* mean, float* mean_gradient, float value, float& value_gradient) {
    const int n = b.num_actions;
    const float share = 1.0f / b.size;
    const float *action = b.actions + sample * n, *old_mean = b.means + sample * n;
    float square = 0.0f, log_norm = 0.5f * 1.8378770664f * n, shift = 0.0f;
    for (int j = 0; j < n; ++j) {
      const float inverse = inverse_std[j], z = (action[j] - mean[j]) * inverse, s = (old_mean[j] - mean[j]) * inverse;
      square += z * z, shift += s * s, log_norm += b.log_std[j];
    }
    const float ratio = std::exp(-0.5f * square - log_norm - b.log_probs[sample]);
    const float advantage = b.advantages[sample], gain = advantage * ratio;
    const float clipped = advantage * std::min(std::max(ratio, 1.0f - b.clip), 1.0f + b.clip);
    const float weight = gain <= clipped ? -gain * share : 0.0f;
    for (int j = 0; j < n; ++j) {
      const float z = (action[j] - mean[j]) * inverse_std[j];
      mean_gradient[j] = z * inverse_std[j] * weight;
      std_gradient[j] += weight * (z * z - 1.0f);
    }
    const float target = b.returns[sample], old = b.values[sample];
    float error = value - target, slope = error;
    if (b.clip_value) {
      const float change = value - old;
      const float other = old + std::min(std::max(change, -b.clip), b.clip) - target;
      if (other * other > error * error) slope = std::fabs(change) <= b.clip ? other : 0.0f, error = other;
    }
    value_gradient = slope * 2.0f * b.value_coef * share;
    // not min: it would hide a number that is not finite
    sums[0] -= gain <= clipped ? gain : clipped;
    sums[1] += error * error;
    sums[2] += shift;
  }
};

// One layer's gradients: those of all shares, in order. Each thread of a team calls it, for rows of its own.
static void add_up(const std::vector<Share>& shares, int layer, const Layer& to) {
  const int halves = to.split ? 2 : 1, in_pad = padded(to.inputs);
#ifdef _OPENMP
#pragma omp for schedule(static) nowait
#endif
  for (int r = 0; r < halves * to.outputs; ++r) {
    float* row = to.weight_gradient + r * to.inputs;
    std::fill(row, row + to.inputs, 0.0f);
    for (const Share& share : shares) {
      const float* part = share.gradients[layer].data() + r * in_pad;
      for (int j = 0; j < to.inputs; ++j) row[j] += part[j];
    }
    if (r >= to.outputs) continue;
    to.bias_gradient[r] = 0.0f;
    for (const Share& share : shares) to.bias_gradient[r] += share.bias_gradients[layer][r];
  }
}

extern "C" void ppo_gradients(const Layer* actor, const Layer* critic, int num_actor, int num_critic, const Batch* batch,
                              int num_threads) {
  static thread_local std::vector<Worker> workers;  // keep their memory between calls
  static thread_local std::vector<Share> parts;
  const int count = (int)std::min<long>(std::max<long>(batch->size / SHARE, 1), SHARES);
  workers.resize(num_threads), parts.resize(count);
  std::vector<Worker>& team = workers;  // the caller's, not each thread's own
  std::vector<Share>& shares = parts;
#ifdef _OPENMP
#pragma omp parallel num_threads(num_threads)
#endif
  {
#ifdef _OPENMP
    Worker& worker = team[omp_get_thread_num()];
#else
    Worker& worker = team[0];
#endif
    worker.actor.prepare(actor, num_actor);
    worker.critic.prepare(critic, num_critic);
    worker.inverse_std.resize(batch->num_actions);
    for (int j = 0; j < batch->num_actions; ++j) worker.inverse_std[j] = std::exp(-batch->log_std[j]);
#ifdef _OPENMP
#pragma omp for schedule(static)
#endif
    for (int i = 0; i < count; ++i)
      worker.work(*batch, batch->size * i / count, batch->size * (i + 1) / count, shares[i]);
    for (int i = 0; i < num_actor; ++i) add_up(shares, i, actor[i]);
    for (int i = 0; i < num_critic; ++i) add_up(shares, num_actor + i, critic[i]);
  }
  std::fill(batch->log_std_gradient, batch->log_std_gradient + batch->num_actions, 0.0f);
  std::fill(batch->sums, batch->sums + 3, 0.0);
  for (const Share& share : shares) {
    for (int j = 0; j < batch->num_actions; ++j) batch->log_std_gradient[j] += share.std_gradient[j];
    for (int k = 0; k < 3; ++k) batch->sums[k] += share.sums[k];
  }
}
