// One call of the engine for a block of robots: a port of eager.py onto the traced stages.
// Comes after the header of the target (V, M, load, store, ...) and the traced code of the robot.
// A robot has LIMB_THREADS threads, which share its limbs and the spheres of its base; this is LIMB_THREAD. `reduce`
// sums over them, `meet` lets them wait for one another. What is not of a limb, all of them compute.
#define AT_LEAST_ONE(n) ((n) > 0 ? (n) : 1)

// Arrays [rows][stride]: row-major, robots along the rows.
struct Arrays {
  float* base;                 // 13: position, quaternion, linear (world) and angular (base) velocity
  float* joint_pos;            // A
  float* joint_vel;            // A
  float* base_acc;             // 6: warm start, world
  float* joint_acc;            // A
  const float* base_inputs;    // 13: mass, centre of mass, gravity, force, torque
  const float* joint_inputs;   // 7 x A: stiffness, damping, effort, joint damping, armature, loss, invweight
  const float* targets;        // A
  const float* previous;       // A, or null
  const float* switch_substep; // 1, or null
  const float* friction;       // one per sphere
  const float* weight;         // one per sphere
  float* torque;               // A
  float* sphere_force;         // 3 per contact group
  float* foot_pos;             // 3 per foot
  float* foot_vel;             // 3 per foot
  float* iterations;           // 1
  float* gradient;             // 1
  float* bad;                  // 1: set to 1 where a robot is not finite
  const float* heights;        // nx x ny vertices of a height field, or null
  const float* coarse;         // greatest height around each coarse cell
  const float* chosen;         // 1, or null: 2 for a robot that is put into a new state, 1 for one whose base gets
                               // another velocity, else 0
  const float* fresh;          // 13 + 2 A: base, joint positions and velocities to put there
  float* sphere_pos;           // 3 per sphere, of the robots put there; or null
  long stride;
  int num_joints, nx, ny, coarse_nx, coarse_ny;
  float x0, y0;                // of the first vertex
};

struct Solver {
  int substeps, iterations;
  float relative, noise, absolute;
};

template <class T> struct remove_ref { typedef T type; };
template <class T> struct remove_ref<T&> { typedef T type; };

template <class S> struct Touch {
  V contact[S::contact_size], residual[3], change[3];
  int sphere;
};

template <class S> struct Limb {
  typedef S Stages;
  V joints[2 * S::joints], acc[S::joints], own[8 * S::joints], change[S::joints];
  V limb[S::limb], system[S::system_size], factor[S::factor];
  int num_touches, index;
};

// Touches lie apart from the robot: a GPU can keep in registers only what is not indexed at run time.
#define LIMBS_OF(g, S) Limb<S> limbs##g[S::limbs / LIMB_THREADS];
#define TOUCHES_OF(g, S) Touch<S> limbs##g[S::limbs / LIMB_THREADS][AT_LEAST_ONE(S::spheres * SLOTS)];
#define VISIT(g, S) for (int i = 0; i < S::limbs / LIMB_THREADS; ++i) visit(robot.limbs##g[i], i);
#define VISIT_BOTH(g, S) for (int i = 0; i < S::limbs / LIMB_THREADS; ++i) visit(robot.limbs##g[i], touches.limbs##g[i]);

struct Robot {
  V base[13], inputs[13], rot[9], inertial[15], acc[6], step[6], system[27];
  EACH_GROUP(LIMBS_OF)
  int num_base_touches;
};

struct Touches {
  EACH_GROUP(TOUCHES_OF)
#if BASE_SPHERES
  Touch<BaseSpheres> base[(BaseSpheres::spheres + LIMB_THREADS - 1) / LIMB_THREADS * SLOTS];
#endif
};

#define STAGES_OF(limb) using S = typename remove_ref<decltype(limb)>::type::Stages

template <class F> INLINE void each_limb(Robot& robot, F visit) { EACH_GROUP(VISIT) }
template <class F> INLINE void each_limb(Robot& robot, Touches& touches, F visit) { EACH_GROUP(VISIT_BOTH) }

INLINE void zero(V* v, int n) { for (int i = 0; i < n; ++i) v[i] = splat(0.0f); }

#if HEIGHTFIELD
// First of `count` cells along an axis that a sphere reaches, all of them on the map.
INLINE V first_cell(V x, float radius, int count, int size) {
  V cell = vfloor((x - radius) * (1.0f / CELL));
  const V last = splat((float)(size - 1 - count));
  cell = vsel(cell < last, cell, last);
  return vsel(cell > splat(0.0f), cell, splat(0.0f));  // also where x is not a number
}

// Contact slots of a sphere, see surface.py. Returns how many there can be: 0 if no robot's sphere is low enough.
INLINE int surface(const Arrays& a, const V* centre, float radius, int count, V* dist, V (*frame)[9]) {
  const V x = centre[0] - a.x0, y = centre[1] - a.y0;
  const V ci = first_cell(x * (1.0f / COARSE), 0.0f, 0, a.coarse_nx),
          cj = first_cell(y * (1.0f / COARSE), 0.0f, 0, a.coarse_ny);
  if (!any(centre[2] - radius < gather(a.coarse, vint(ci) * a.coarse_ny + vint(cj)))) return 0;
  const V i0 = first_cell(x, radius, count, a.nx), j0 = first_cell(y, radius, count, a.ny);
  const I corner = vint(i0) * a.ny + vint(j0);
  V heights[2][MAX_CELLS + 1], corners[2][MAX_CELLS][4], p[3];  // of this row and the last
  V nearest[Surface::nearest], next[Surface::nearest];
  const auto take = [&] { for (int k = 0; k < Surface::nearest; ++k) nearest[k] = next[k]; };
  Surface::start(centre, nearest);
  for (int j = 0; j <= count; ++j) heights[0][j] = gather(a.heights, corner + j);
  for (int i = 0; i < count; ++i) {
    V* low = heights[i & 1];
    V* high = heights[(i + 1) & 1];
    for (int j = 0; j <= count; ++j) high[j] = gather(a.heights, corner + ((i + 1) * a.ny + j));
    for (int j = 0; j < count; ++j) {
      V* h = corners[i & 1][j];
      p[0] = x - (i0 + (float)i) * CELL;
      p[1] = y - (j0 + (float)j) * CELL;
      p[2] = centre[2];
      h[0] = low[j], h[1] = high[j], h[2] = low[j + 1], h[3] = high[j + 1];
#if WALLS
      V raw[4] = {h[0], h[1], h[2], h[3]};
      Surface::lower(raw, h);
      if (i > 0) Surface::border_x(p, corners[(i + 1) & 1][j], h, nearest, next), take();
      if (j > 0) Surface::border_y(p, corners[i & 1][j - 1], h, nearest, next), take();
#endif
      Surface::cell(p, h, nearest, next), take();
    }
  }
  V both[2], r = splat(radius);
  Surface::slots(nearest, &r, both, frame[0]);
  dist[0] = both[0], dist[1] = both[1];
  return 2;
}
#endif

// Contacts of one carrier of spheres: a limb (its links in `chain`) or the base (`chain` is its rotation). Returns
// their number.
template <class S>
INLINE int find_contacts(const Arrays& a, long n, const Robot& r, const V* chain, const V* joints, const V* acc,
                         Touch<S>* touches, int first, int begin, int end, int by) {
  int found = 0;
  for (int s = begin; s < end; s += by) {
    const int sphere = first + s;
    const V* link = S::joints ? chain + S::sphere_link(sphere)[0] * S::link : chain;
    const float* k = S::sphere_constants(sphere);
    V dist[SLOTS], own[2];
#if HEIGHTFIELD
    V centre[3], frame[SLOTS][9];
    S::centre(r.base, link, k, centre);
    const int slots = surface(a, centre, S::sphere_radius(sphere)[0], S::sphere_cells(sphere)[0], dist, frame);
#else
    const int slots = 1;
    S::centre(r.base, link, k, dist);
#endif
    for (int slot = 0; slot < slots; ++slot) {
      if (!any(dist[slot] < splat(0.0f))) continue;
      auto& touch = touches[found++];
      touch.sphere = sphere;
      own[0] = load(a.friction + (S::first_sphere + sphere) * a.stride + n);
      own[1] = load(a.weight + (S::first_sphere + sphere) * a.stride + n);
#if HEIGHTFIELD
      S::contact(r.base, chain, link, joints, k, dist + slot, frame[slot], own, touch.contact);
#else
      S::contact(r.base, chain, link, joints, k, dist + slot, own, touch.contact);
#endif
      S::residual(touch.contact, r.acc, acc, touch.residual);
    }
  }
  return found;
}

// Everything of a substep that does not change while Newton's method runs.
INLINE void prepare(const Arrays& a, long n, int substep, Robot& r, Touches& t) {
  BaseStages::rotation(r.base, r.rot);
  zero(r.inertial, 15);
  each_limb(r, t, [&](auto& limb, auto* touches) {
    STAGES_OF(limb);
    const int* row = S::joint_rows(limb.index);
    for (int j = 0; j < S::joints; ++j) {
      V target = load(a.targets + row[j] * a.stride + n);
      if (a.previous) {
        M switched = load(a.switch_substep + n) < splat(substep + 0.5f);
        target = vsel(switched, target, load(a.previous + row[j] * a.stride + n));
      }
      limb.own[j] = target;
    }
    const float* k = S::link_constants(limb.index);
    V chain[S::chain];
    S::links(r.rot, limb.joints, k, chain);
    S::dynamics(k, r.base, r.inputs, chain, limb.joints, limb.own, limb.limb, r.inertial);
    const int first = limb.index * S::spheres;
    limb.num_touches = find_contacts<S>(a, n, r, chain, limb.joints, limb.acc, touches, first, 0, S::spheres, 1);
  });
  reduce(r.inertial, 15);
  BaseStages::inertial(r.base, r.rot, r.inputs, r.inertial);
#if BASE_SPHERES
  r.num_base_touches = find_contacts<BaseSpheres>(a, n, r, r.rot, r.rot, r.acc, t.base, 0, LIMB_THREAD,
                                                  BaseSpheres::spheres, LIMB_THREADS);
#endif
}

template <class T> INLINE void follow(T& touch, V length) {
  for (int i = 0; i < 3; ++i) touch.residual[i] += length * touch.change[i];
}

template <class S> INLINE void add_slope(const Touch<S>& touch, V at, V* slope) {
  V change[3];
  for (int i = 0; i < 3; ++i) change[i] = at * touch.change[i];
  S::slope(touch.contact, touch.residual, change, slope);
}

// Where along the step the slope is 0: Newton's method from `at`, kept in bounds by bisection. A tangent alone is not
// enough where rows change sides within the step, as that of a joint that dry friction stops: it may point behind
// the start, and Newton's method may go in circles.
STAGE V search(Robot& r, Touches& t, V start, V bend, M beyond, V at) {
  V low = vsel(beyond, splat(1.0f), splat(0.0f)), high = vsel(beyond, splat(4.0f), splat(1.0f));
  for (int k = 0; k < 4; ++k) {
    V slope[2];  // of a step that is `at` times as long: `at` times the slope, `at` squared times the curvature
    zero(slope, 2);
    each_limb(r, t, [&](auto& limb, auto* touches) {
      STAGES_OF(limb);
#if JOINT_ROWS
      V change[S::joints];
      for (int j = 0; j < S::joints; ++j) change[j] = at * limb.change[j];
      S::rows_slope(limb.limb, limb.acc, change, slope);
#endif
      for (int i = 0; i < limb.num_touches; ++i) add_slope(touches[i], at, slope);
    });
#if BASE_SPHERES
    for (int i = 0; i < r.num_base_touches; ++i) add_slope(t.base[i], at, slope);
#endif
    reduce(slope, 2);
    const V square = at * at, left = at * start + square * bend + slope[0], curvature = square * bend + slope[1];
    low = vsel(left < splat(0.0f), at, low);
    high = vsel(left < splat(0.0f), high, at);
    const V tangent = at * (1.0f - left * vrecip(curvature));
    const M outside = (tangent < low) | (tangent > high) | !(tangent > splat(0.0f));  // at 0 there is no tangent
    at = vsel(outside, 0.5f * (low + high), tangent);
  }
  return at;
}

// Newton's method from the accelerations of the step before.
INLINE void solve(const Solver& solver, Robot& r, Touches& t, V& iterations, V& gradient) {
  M going = r.base[0] == r.base[0];
  iterations = gradient = splat(0.0f);
  for (int it = 0; it < solver.iterations; ++it) {
    zero(r.system, 27);
    each_limb(r, t, [&](auto& limb, auto* touches) {
      STAGES_OF(limb);
      S::system(limb.limb, r.acc, limb.acc, limb.system, r.system);
      for (int i = 0; i < limb.num_touches; ++i)
        S::add(touches[i].contact, touches[i].residual, limb.system, r.system);
      S::eliminate(limb.system, limb.factor, r.system);
    });
#if BASE_SPHERES
    for (int i = 0; i < r.num_base_touches; ++i) {
      auto& touch = t.base[i];
      BaseSpheres::add(touch.contact, touch.residual, r.step, r.system);
    }
#endif
    reduce(r.system, 27);
    V whole[2], slope[4];  // slope and curvature: of the base; of limbs; of constraint rows, at the step's end
    BaseStages::solve(r.inertial, r.inputs, r.acc, r.system, r.step, whole);
    zero(slope, 4);
    each_limb(r, t, [&](auto& limb, auto* touches) {
      STAGES_OF(limb);
      S::back(limb.limb, r.acc, limb.acc, limb.factor, r.step, limb.change, slope);
#if JOINT_ROWS
      S::rows_slope(limb.limb, limb.acc, limb.change, slope + 2);
#endif
      for (int i = 0; i < limb.num_touches; ++i) {
        auto& touch = touches[i];
        S::rows(touch.contact, r.step, limb.change, touch.change);
        S::slope(touch.contact, touch.residual, touch.change, slope + 2);
      }
    });
#if BASE_SPHERES
    for (int i = 0; i < r.num_base_touches; ++i) {
      auto& touch = t.base[i];
      BaseSpheres::rows(touch.contact, r.step, r.step, touch.change);
      BaseSpheres::slope(touch.contact, touch.residual, touch.change, slope + 2);
    }
#endif
    reduce(slope, 4);
    const V start = whole[0] + slope[0], bend = whole[1] + slope[1];
    const V left = (start + bend) + slope[2], curvature = bend + slope[3];

    // one Newton step of the line search
    V length = 1.0f - left * vrecip(vsel(curvature > splat(1e-10f), curvature, splat(1e-10f)));
    length = vsel(length < splat(0.0f), splat(0.0f), vsel(length > splat(4.0f), splat(4.0f), length));
    const V bound = solver.relative * curvature + solver.noise * vabs(start) + solver.absolute;
    const M still = going & (vabs(left) > bound);  // a robot that is not finite stops
    const M behind = (left > splat(0.0f)) & (length < splat(0.02f));
    const M unsure = it < 5 ? still & behind : still;
    if (any(unsure)) {
      const V first = vsel(behind, splat(0.5f), length);
      length = vsel(unsure, search(r, t, start, bend, left < splat(0.0f), first), length);
    }
    length = vsel(going, length, splat(0.0f));
    for (int i = 0; i < 6; ++i) r.acc[i] += length * r.step[i];
    each_limb(r, t, [&](auto& limb, auto* touches) {
      STAGES_OF(limb);
      for (int j = 0; j < S::joints; ++j) limb.acc[j] += length * limb.change[j];
      for (int i = 0; i < limb.num_touches; ++i) follow(touches[i], length);
    });
#if BASE_SPHERES
    for (int i = 0; i < r.num_base_touches; ++i) follow(t.base[i], length);
#endif
    iterations += vsel(going, splat(1.0f), splat(0.0f));
    gradient = vsel(going, vabs(left), gradient);
    going = still;
    if (!any(going)) break;
  }
}

// The implicit solve and the move to the next state.
INLINE void advance(Robot& r) {
  zero(r.system, 27);
  each_limb(r, [&](auto& limb, int) {
    STAGES_OF(limb);
    S::implicit(limb.limb, limb.acc, limb.factor, r.system);
  });
  reduce(r.system, 27);
  BaseStages::implicit(r.inertial, r.inputs, r.system, r.step);
  each_limb(r, [&](auto& limb, int) {
    STAGES_OF(limb);
    V next[2 * S::joints];
    S::move(limb.joints, limb.acc, limb.factor, r.step, next);
    for (int j = 0; j < 2 * S::joints; ++j) limb.joints[j] = next[j];
  });
  V next[13];
  BaseStages::move(r.base, r.acc, r.step, next);
  for (int i = 0; i < 13; ++i) r.base[i] = next[i];
}

// Adds contact forces to those of the groups, [GROUPS][3].
template <class S> INLINE void add_forces(const Touch<S>* touches, int num_touches, V* groups) {
  for (int t = 0; t < num_touches; ++t) {
    const int group = S::sphere_group(touches[t].sphere)[0];
    if (group < 0) continue;
    V force[3];
    zero(force, 3);
    S::force(touches[t].contact, touches[t].residual, force);
    for (int i = 0; i < 3; ++i) groups[3 * group + i] += force[i];  // an exact zero where a robot has no contact
  }
}

// Torques and contact forces of the last substep.
INLINE void report(const Arrays& a, long n, Robot& r, Touches& t, V iterations, V gradient) {
  V groups[AT_LEAST_ONE(3 * GROUPS)];  // limbs share groups, so each thread sums its own first
  zero(groups, 3 * GROUPS);
  each_limb(r, t, [&](auto& limb, auto* touches) {
    STAGES_OF(limb);
    V torque[S::joints];
    S::torque(limb.limb, torque);
    const int* row = S::joint_rows(limb.index);
    for (int j = 0; j < S::joints; ++j) store(a.torque + row[j] * a.stride + n, torque[j]);
    add_forces(touches, limb.num_touches, groups);
  });
#if BASE_SPHERES
  add_forces(t.base, r.num_base_touches, groups);
#endif
  reduce(groups, 3 * GROUPS);
  if (LIMB_THREAD != 0) return;
  for (int i = 0; i < 3 * GROUPS; ++i) store(a.sphere_force + i * a.stride + n, groups[i]);
  store(a.iterations + n, iterations);
  store(a.gradient + n, gradient);
}

INLINE void read(const Arrays& a, long n, Robot& r) {
  for (int i = 0; i < 13; ++i) r.base[i] = load(a.base + i * a.stride + n);
  for (int i = 0; i < 13; ++i) r.inputs[i] = load(a.base_inputs + i * a.stride + n);
  for (int i = 0; i < 6; ++i) r.acc[i] = load(a.base_acc + i * a.stride + n);
  BaseStages::rotation(r.base, r.rot);
  V world[3];
  BaseStages::to_world(r.rot, r.base + 10, world);
  for (int i = 0; i < 3; ++i) r.base[10 + i] = world[i];
  each_limb(r, [&](auto& limb, int i) {
    STAGES_OF(limb);
    limb.index = i * LIMB_THREADS + LIMB_THREAD;
    const int* row = S::joint_rows(limb.index);
    for (int j = 0; j < S::joints; ++j) {
      const long at = row[j] * a.stride + n;
      limb.joints[j] = load(a.joint_pos + at);
      limb.joints[S::joints + j] = load(a.joint_vel + at);
      limb.acc[j] = load(a.joint_acc + at);
      for (int p = 0; p < 7; ++p)
        limb.own[(p + 1) * S::joints + j] = load(a.joint_inputs + p * a.num_joints * a.stride + at);
    }
  });
}

INLINE V lost(V x) { return vsel(vabs(x) < splat(INFINITY), splat(0.0f), splat(1.0f)); }

// The state, unless the robots did not move; and the feet.
INLINE void write(const Arrays& a, long n, Robot& r, bool moved) {
  BaseStages::rotation(r.base, r.rot);
  V body[3];
  if (moved) {  // and back: the feet follow from what is stored, to the bit
    BaseStages::to_base(r.rot, r.base + 10, body);
    BaseStages::to_world(r.rot, body, r.base + 10);
  }
  V bad = splat(0.0f);  // how many numbers are not finite
  const bool placed = !moved && a.sphere_pos;
  each_limb(r, [&](auto& limb, int) {
    STAGES_OF(limb);
    const int* row = S::joint_rows(limb.index);
    for (int j = 0; j < S::joints; ++j) {
      const long at = row[j] * a.stride + n;
      store(a.joint_pos + at, limb.joints[j]);
      store(a.joint_vel + at, limb.joints[S::joints + j]);
      store(a.joint_acc + at, limb.acc[j]);
      bad += lost(limb.joints[j]) + lost(limb.joints[S::joints + j]);
    }
    V chain[S::chain];
    S::links(r.rot, limb.joints, S::link_constants(limb.index), chain);
    for (int s = 0; s < S::spheres; ++s) {
      const int sphere = limb.index * S::spheres + s, foot = S::sphere_foot(sphere)[0];
      if (foot < 0 && !placed) continue;
      V pos[3], vel[3];
      const V* link = chain + S::sphere_link(sphere)[0] * S::link;
      S::motion(r.base, chain, link, limb.joints, S::sphere_constants(sphere), pos, vel);
      for (int i = 0; i < 3; ++i) {
        if (placed) store(a.sphere_pos + (3 * (S::first_sphere + sphere) + i) * a.stride + n, pos[i]);
        if (foot < 0) continue;
        store(a.foot_pos + (3 * foot + i) * a.stride + n, pos[i]);
        store(a.foot_vel + (3 * foot + i) * a.stride + n, vel[i]);
      }
    }
  });
#if BASE_SPHERES
  for (int s = LIMB_THREAD; s < BaseSpheres::spheres; s += LIMB_THREADS) {
    const int foot = BaseSpheres::sphere_foot(s)[0];
    if (foot < 0 && !placed) continue;
    V pos[3], vel[3];
    BaseSpheres::motion(r.base, r.rot, r.rot, r.rot, BaseSpheres::sphere_constants(s), pos, vel);
    for (int i = 0; i < 3; ++i) {
      if (placed) store(a.sphere_pos + (3 * (BaseSpheres::first_sphere + s) + i) * a.stride + n, pos[i]);
      if (foot < 0) continue;
      store(a.foot_pos + (3 * foot + i) * a.stride + n, pos[i]);
      store(a.foot_vel + (3 * foot + i) * a.stride + n, vel[i]);
    }
  }
#endif
  if (!moved) return;
  for (int i = 0; i < 3; ++i) r.base[10 + i] = body[i];
  reduce(&bad, 1);
  for (int i = 0; i < 13; ++i) bad += lost(r.base[i]);
  meet();  // all have read the base
  if (LIMB_THREAD != 0) return;
  for (int i = 0; i < 13; ++i) store(a.base + i * a.stride + n, r.base[i]);
  for (int i = 0; i < 6; ++i) store(a.base_acc + i * a.stride + n, r.acc[i]);
  if (any(bad > splat(0.0f))) store(a.bad + n, vsel(bad > splat(0.0f), splat(1.0f), load(a.bad + n)));
}

// Puts the chosen robots where they are told to be, and forgets what they did. Returns whether there are any.
INLINE bool place(const Arrays& a, long n, Robot& r) {
  const V chosen = load(a.chosen + n);
  const M moved = chosen > splat(0.5f), all = chosen > splat(1.5f);
  if (!any(moved)) return false;
  const auto put = [&](float* to, const float* from, M where) {
    store(to + n, vsel(where, load(from + n), load(to + n)));
  };
  const auto clear = [&](float* rows, int count) {
    for (int i = 0; i < count; ++i)
      store(rows + i * a.stride + n, vsel(all, splat(0.0f), load(rows + i * a.stride + n)));
  };
  each_limb(r, [&](auto& limb, int i) {
    STAGES_OF(limb);
    const int* row = S::joint_rows(i * LIMB_THREADS + LIMB_THREAD);
    for (int j = 0; j < S::joints; ++j) {
      const long at = row[j] * a.stride;
      put(a.joint_pos + at, a.fresh + 13 * a.stride + at, all);
      put(a.joint_vel + at, a.fresh + (13 + a.num_joints) * a.stride + at, all);
      clear(a.joint_acc + at, 1);
      clear(a.torque + at, 1);
    }
  });
  if (LIMB_THREAD == 0) {
    for (int i = 0; i < 13; ++i) put(a.base + i * a.stride, a.fresh + i * a.stride, i < 7 ? all : moved);
    clear(a.base_acc, 6);
    clear(a.sphere_force, 3 * GROUPS);
    clear(a.iterations, 1);
    clear(a.gradient, 1);
    clear(a.bad, 1);
  }
  meet();
  return true;
}

// New states for the chosen robots, all others as they are; or, where nobody is asked to choose, feet alone.
INLINE void place_block(const Arrays& a, long n) {
  Robot r;
  if (a.chosen && !place(a, n, r)) return;
  read(a, n, r);
  write(a, n, r, false);
}

INLINE void step_block(const Arrays& a, const Solver& solver, long n) {
  Robot r;
  Touches t;
  read(a, n, r);
  for (int substep = 0; substep < solver.substeps; ++substep) {
    V iterations, gradient;
    prepare(a, n, substep, r, t);
    solve(solver, r, t, iterations, gradient);
    if (substep == solver.substeps - 1) report(a, n, r, t, iterations, gradient);
    advance(r);
  }
  write(a, n, r, true);
}
