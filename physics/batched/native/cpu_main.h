// Entry point of the CPU build: threads over blocks of LANES robots.
extern "C" int lanes() { return LANES; }

extern "C" void step(const Arrays* arrays, const Solver* solver, long num_blocks, int num_threads) {
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 4) num_threads(num_threads)
#endif
  for (long block = 0; block < num_blocks; ++block)
    if (solver->substeps > 0)
      step_block(*arrays, *solver, block * LANES);
    else
      place_block(*arrays, block * LANES);
}
