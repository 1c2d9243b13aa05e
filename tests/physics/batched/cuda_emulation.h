// Runs CUDA source on the host. The 32 threads of a warp are fibers, which change places where CUDA's threads meet:
// in shuffles and __syncwarp. What CUDA leaves undefined ends in a message: a thread that is not in its own mask,
// threads that meet with different masks or in different operations, one that waits for a thread that has ended,
// and two threads that use the same memory without having met in between.
#include <ucontext.h>

#include <cmath>
#include <functional>
#include <unordered_map>

#define __device__
#define __global__ __attribute__((visibility("hidden")))  // libc has a step() of its own
#define __constant__ const
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(threads)

struct Place { unsigned x; };
static Place threadIdx, blockIdx;

namespace emulation {

struct Meeting { unsigned mask; int kind; float value; };

struct Fiber {
  ucontext_t context;
  char stack[1 << 18];
  bool done;
  unsigned meetings, synced;  // how often this thread met others; how often in __syncwarp
  Meeting posted[2];          // a thread is at most one meeting ahead
};

struct Use { long robot; unsigned synced, readers, writers; };

static Fiber fibers[32];
static ucontext_t scheduler;
static unsigned lane, warp;
static const char* failure;
static std::function<void()> kernel;
static std::unordered_map<const void*, Use> memory;

static void wait() { swapcontext(&fibers[lane].context, &scheduler); }

static void require(bool fine, const char* message) {
  if (fine) return;
  failure = message;
  wait();  // for ever
}

static float meet(unsigned mask, int kind, float value) {
  Fiber& me = fibers[lane];
  const unsigned turn = me.meetings++;
  me.posted[turn % 2] = {mask, kind, value};
  require(mask >> lane & 1, "a thread is not in its own mask");
  for (unsigned other = 0; other < 32; ++other) {
    if (!(mask >> other & 1)) continue;
    while (fibers[other].meetings <= turn) {
      require(!fibers[other].done, "a thread waits for one that has ended");
      wait();
    }
    const Meeting& at = fibers[other].posted[turn % 2];
    require(at.mask == mask && at.kind == kind, "threads meet in different operations");
  }
  return fibers[lane ^ kind].posted[turn % 2].value;
}

// A use of memory that belongs to one robot, by one of its threads.
static void use(const void* p, bool writes) {
  const long robot = ((long)blockIdx.x * BLOCK + threadIdx.x) / LIMB_THREADS;
  const unsigned me = 1u << lane, synced = fibers[lane].synced;
  Use& last = memory.try_emplace(p, Use{robot, synced, 0, 0}).first->second;
  require(last.robot == robot, "two robots use the same memory");
  if (last.synced != synced) last = {robot, synced, 0, 0};
  require(!((last.writers | (writes ? last.readers : 0)) & ~me), "threads of a robot race");
  (writes ? last.writers : last.readers) |= me;
}

static void run_thread() {
  kernel();
  fibers[lane].done = true;
  wait();
}

static void run_warp(int order) {
  for (Fiber& fiber : fibers) {
    fiber.done = false;
    fiber.meetings = fiber.synced = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = sizeof fiber.stack;
    makecontext(&fiber.context, run_thread, 0);
  }
  unsigned before = ~0u, random = 1;
  while (!failure) {
    unsigned progress = 0, running = 0;
    for (const Fiber& fiber : fibers) progress += fiber.meetings + fiber.done, running += !fiber.done;
    if (!running) return;
    if (progress == before) failure = "all threads wait";
    before = progress;
    // order 0: up, 1: down, 2: from another lane in every round
    random = random * 1664525u + 1013904223u;
    for (unsigned i = 0; i < 32 && !failure; ++i) {
      lane = order == 0 ? i : order == 1 ? 31 - i : (i * 13 + random / 65536) % 32;
      threadIdx.x = 32 * warp + lane;
      if (!fibers[lane].done) swapcontext(&scheduler, &fibers[lane].context);
    }
  }
}

// Runs a kernel; returns null, or what went wrong.
static const char* run(unsigned blocks, unsigned threads, int order, std::function<void()> call) {
  kernel = call;
  failure = nullptr;
  memory.clear();
  for (blockIdx.x = 0; blockIdx.x < blocks && !failure; ++blockIdx.x)
    for (warp = 0; warp < threads / 32 && !failure; ++warp) run_warp(order);
  return failure;
}

}  // namespace emulation

static float __shfl_xor_sync(unsigned mask, float value, int far) { return emulation::meet(mask, far, value); }
static void __syncwarp(unsigned mask) {
  emulation::meet(mask, 0, 0.0f);
  ++emulation::fibers[emulation::lane].synced;
}
__attribute__((noinline)) static float __fadd_rn(float a, float b) { return a + b; }
static float __fdividef(float a, float b) { return a / b; }
static float __ldg(const float* p) { return *p; }
static float rsqrtf(float x) { return 1.0f / sqrtf(x); }
