// Heights of the ground at points that move with robots, see terrains/scan.py.

struct Map {
    const float* heights;  // [nx, ny], m
    int nx, ny;
    float x, y;      // of the first vertex, m
    float per_cell;  // cells per metre
    float max_rise;  // of two corners that differ by more the higher is lowered to the other, m
    int reach;       // no point is further than so many cells from its robot
};

static inline void lower(float& a, float& b, float max_rise) {
    const float rise = b - a;
    const float low = rise < 0.0f ? b : a;
    const bool steep = rise > max_rise || rise < -max_rise;
    a = steep ? low : a;
    b = steep ? low : b;
}

static inline int within(int value, int high) { return value < 0 ? 0 : value > high ? high : value; }

// The comparisons' order takes what is not a number to the border.
static inline float clip(float value, float high) {
    value = value > 0.0f ? value : 0.0f;
    return value < high ? value : high;
}

// A robot's surroundings are on their way from memory while the one before it is looked up.
static void fetch(const Map* map, const float* pose) {
    const int i = (int)clip((pose[0] - map->x) * map->per_cell, map->nx - 1);
    const int j = (int)clip((pose[1] - map->y) * map->per_cell, map->ny - 1);
    const int first = within(i - map->reach, map->nx - 1), last = within(i + map->reach + 1, map->nx - 1);
    const int left = within(j - map->reach, map->ny - 1), right = within(j + map->reach + 1, map->ny - 1);
    for (int row = first; row <= last; row++)
        for (int column = left; column <= right + 15; column += 16)
            __builtin_prefetch(map->heights + (long)row * map->ny + (column < right ? column : right));
}

// pose: x, y, cos(yaw), sin(yaw) of each robot, [robots, 4]; points: x and y of all points, [2, count];
// rows with mask 0 are left alone.
extern "C" void scan_heights(const Map* map, const float* pose, const float* points, const unsigned char* mask,
                             float* out, long robots, int count, int bilinear, int threads) {
    const float* h = map->heights;
    const int ny = map->ny, last_i = map->nx - 2, last_j = map->ny - 2;
    const float limit_x = map->nx - 1, limit_y = map->ny - 1, k = map->per_cell;
#pragma omp parallel for num_threads(threads) schedule(static) if (robots > 64)
    for (long robot = 0; robot < robots; robot++) {
        if (robot + 1 < robots && mask[robot + 1]) fetch(map, pose + 4 * (robot + 1));
        if (!mask[robot]) continue;
        const float *p = pose + 4 * robot, *px = points, *py = points + count;
        const float c = p[2] * k, s = p[3] * k, x = (p[0] - map->x) * k, y = (p[1] - map->y) * k;
        float* row = out + robot * count;
        if (bilinear) {
#pragma omp simd
            for (int n = 0; n < count; n++) {
                const float u = clip(x + c * px[n] - s * py[n], limit_x);
                const float v = clip(y + s * px[n] + c * py[n], limit_y);
                const int i = within((int)u, last_i), j = within((int)v, last_j), at = i * ny + j;
                float h00 = h[at], h10 = h[at + ny], h01 = h[at + 1], h11 = h[at + ny + 1];
                lower(h00, h10, map->max_rise), lower(h01, h11, map->max_rise);
                lower(h00, h01, map->max_rise), lower(h10, h11, map->max_rise);
                const float r = u - i, t = v - j;
                row[n] = (h00 + r * (h10 - h00)) * (1.0f - t) + (h01 + r * (h11 - h01)) * t;
            }
        } else {
#pragma omp simd
            for (int n = 0; n < count; n++) {
                const int i = (int)clip(x + c * px[n] - s * py[n], limit_x);
                const int j = (int)clip(y + s * px[n] + c * py[n], limit_y);
                row[n] = h[i * ny + j];
            }
        }
    }
}
