// Entry points of the CUDA build: LIMB_THREADS threads a robot, BLOCK (whole warps) of them a block.
extern "C" __global__ void __launch_bounds__(BLOCK)
    step(const __grid_constant__ Arrays arrays, const __grid_constant__ Solver solver) {
  const long robot = ((long)blockIdx.x * BLOCK + threadIdx.x) / LIMB_THREADS;
  if (robot < arrays.stride) step_block(arrays, solver, robot);
}

extern "C" __global__ void __launch_bounds__(BLOCK) place(const __grid_constant__ Arrays arrays) {
  const long robot = ((long)blockIdx.x * BLOCK + threadIdx.x) / LIMB_THREADS;
  if (robot < arrays.stride) place_block(arrays, robot);
}
