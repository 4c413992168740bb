/* Batch normalization, the addition of a shortcut and the ReLU, in two sweeps over memory each way.

   Maps are float32, channels last: `rows` (images times positions) by `channels`, a multiple of 16.
   Sums are kept in single precision over 64 rows and in double precision beyond. With OpenMP, every
   thread takes one stretch of rows, so results depend on the number of threads by rounding only. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define LANES 16
#define BLOCK 64

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Mask __attribute__((vector_size(4 * LANES)));

static inline Vector load(const float *from) { return *(const Vector *)from; }
static inline void store(float *to, Vector v) { *(Vector *)to = v; }

/* v where test is positive, zero elsewhere; what is not a number counts as positive, to be seen */
static inline Vector where_positive(Vector v, Vector test) {
  Mask mask = ~(test <= 0);
  return (Vector)((Mask)v & mask);
}

static inline void add_to(double *sums, Vector v) {
  for (int lane = 0; lane < LANES; lane++) sums[lane] += v[lane];
}

static inline int64_t at_most(int64_t n, int64_t most) { return n < most ? n : most; }

/* For each block of the thread's rows and each `width` times 16 channels: `o` is the offset of the
   first value and `n` the number of rows. Channels that lie beside each other are read together, as
   far as there are registers: memory is fastest when it is read in order. */
#define FOR_EACH_TILE(thread, width)                                                               \
  int64_t begin_ = rows * (thread) / threads, end_ = rows * ((thread) + 1) / threads;             \
  for (int64_t row_ = begin_, n; n = at_most(end_ - row_, BLOCK), row_ < end_; row_ += BLOCK)      \
    for (int64_t c = 0, o = row_ * channels; c < channels;                                         \
         c += (width) * LANES, o = row_ * channels + c)

#define UNROLLED(i, count) _Pragma("GCC unroll 4") for (int i = 0; i < (count); i++)

/* A function with a last argument `width`, which is known when it is compiled, for the widest tiles
   of at most `most` that the channels can be cut into. */
#define WIDEST(function, most, ...)                                                                \
  do {                                                                                             \
    if ((most) == 4 && channels % (4 * LANES) == 0) function(__VA_ARGS__, 4);                      \
    else if (channels % (2 * LANES) == 0) function(__VA_ARGS__, 2);                                \
    else function(__VA_ARGS__, 1);                                                                 \
  } while (0)

#define INLINED static inline __attribute__((always_inline)) void

/* Sums of x - x0 and of its square, where x0 is the first row: so nothing large cancels. */
INLINED sums_of(const float *x, double *sums, double *squares, int64_t rows, int64_t channels,
                int threads, int thread, const int width) {
  FOR_EACH_TILE(thread, width) {
    Vector s[4][2] = {0}, q[4][2] = {0};
    const float *p = x + o;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4, p += 4 * channels)
      UNROLLED(r, 4) UNROLLED(w, width) {
        Vector a = load(p + r * channels + w * LANES) - load(x + c + w * LANES);
        s[r][w] += a, q[r][w] += a * a;
      }
    for (; i < n; i++, p += channels)
      UNROLLED(w, width) {
        Vector a = load(p + w * LANES) - load(x + c + w * LANES);
        s[0][w] += a, q[0][w] += a * a;
      }
    UNROLLED(w, width) {
      add_to(sums + c + w * LANES, (s[0][w] + s[1][w]) + (s[2][w] + s[3][w]));
      add_to(squares + c + w * LANES, (q[0][w] + q[1][w]) + (q[2][w] + q[3][w]));
    }
  }
}

/* What is normalized is (x - mean) scale + beta, here and, to the bit, in the backward pass. */
#define FACTORS(c)                                                                                 \
  Vector scale = load(kept + (c)), beta = load(kept + channels + (c));                             \
  Vector mean = load(kept + 2 * channels + (c))

INLINED normalize(const float *x, const float *added, const float *kept, float *y, int64_t rows,
                  int64_t channels, int threads, int thread, const int width) {
  FOR_EACH_TILE(thread, width) {
    for (int64_t i = 0; i < n; i++, o += channels)
      UNROLLED(w, width) {
        FACTORS(c + w * LANES);
        int64_t at = o + w * LANES;
        Vector v = (load(x + at) - mean) * scale + beta;
        if (added) v += load(added + at);
        store(y + at, where_positive(v, v));
      }
  }
}

/* Sums of g and of g (x - mean), where g is the gradient that the ReLU lets through; written, if
   `passed`. */
INLINED gradient_sums_of(const float *grad, const float *x, const float *y, const float *kept,
                         float *passed, double *sums, double *products, int64_t rows,
                         int64_t channels, int threads, int thread, const int width) {
  FOR_EACH_TILE(thread, width) {
    Vector s[2][4] = {0}, q[2][4] = {0};
    for (int64_t i = 0; i < n; i += 2, o += 2 * channels)
      UNROLLED(r, 2) {
        if (i + r >= n) break;
        UNROLLED(w, width) {
          FACTORS(c + w * LANES);
          int64_t at = o + r * channels + w * LANES;
          Vector v = load(x + at) - mean;
          Vector g = where_positive(load(grad + at), passed ? load(y + at) : v * scale + beta);
          if (passed) store(passed + at, g);
          s[r][w] += g, q[r][w] += g * v;
        }
      }
    UNROLLED(w, width) {
      add_to(sums + c + w * LANES, s[0][w] + s[1][w]);
      add_to(products + c + w * LANES, q[0][w] + q[1][w]);
    }
  }
}

/* grad_x = of_g g + of_x (x - mean) + constant; g is `grad`, or what the ReLU lets through of it.
   `factors` (3, channels) are these. */
INLINED gradient(const float *grad, const float *x, int through_relu, const float *kept,
                 const float *factors, float *grad_x, int64_t rows, int64_t channels, int threads,
                 int thread, const int width) {
  FOR_EACH_TILE(thread, width) {
    for (int64_t i = 0; i < n; i++, o += channels)
      UNROLLED(w, width) {
        FACTORS(c + w * LANES);
        const float *f = factors + c + w * LANES;
        Vector of_g = load(f), of_x = load(f + channels), constant = load(f + 2 * channels);
        int64_t at = o + w * LANES;
        Vector v = load(x + at) - mean, g = load(grad + at);
        if (through_relu) g = where_positive(g, v * scale + beta);
        store(grad_x + at, g * of_g + (v * of_x + constant));
      }
  }
}

/* Adds up what the threads summed into the first thread's part. */
static void add_up(double *sums, int64_t channels, int threads) {
  for (int t = 1; t < threads; t++)
    for (int64_t i = 0; i < 2 * channels; i++) sums[i] += sums[2 * channels * t + i];
}

/* y = ReLU(batch_norm(x) + added). `kept` (4, channels) is for the backward pass: scale, beta, mean
   and 1 / standard deviation. Returns 0, or 1 if there is no memory. */
int forward(const float *x, const float *added, const float *gamma, const float *beta,
            float *running_mean, float *running_var, double momentum, double eps, float *y,
            float *kept, int64_t rows, int64_t channels, int threads) {
  double *sums = calloc((size_t)(2 * channels * threads), sizeof(double));
  if (!sums) return 1;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int t = 0; t < threads; t++) {
    double *mine = sums + 2 * channels * t;
    WIDEST(sums_of, 2, x, mine, mine + channels, rows, channels, threads, t);
  }
  add_up(sums, channels, threads);
  for (int64_t c = 0; c < channels; c++) {
    double off = sums[c] / rows, var = sums[channels + c] / rows - off * off, mean = x[c] + off;
    if (var < 0) var = 0;
    double inverse = 1 / sqrt(var + eps);
    kept[c] = gamma[c] * inverse;
    kept[channels + c] = beta[c];
    kept[2 * channels + c] = mean;
    kept[3 * channels + c] = inverse;
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean;
    running_var[c] = (1 - momentum) * running_var[c] + momentum * var * rows / (rows - 1);
  }
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int t = 0; t < threads; t++)
    if (added) WIDEST(normalize, 4, x, added, kept, y, rows, channels, threads, t);
    else WIDEST(normalize, 4, x, NULL, kept, y, rows, channels, threads, t);
  free(sums);
  return 0;
}

/* Gradients of x, gamma, beta and, if `passed` is given, of what was added (then y is needed). */
int backward(const float *grad, const float *x, const float *y, const float *gamma,
             const float *kept, float *passed, float *grad_x, float *grad_gamma,
             float *grad_beta, int64_t rows, int64_t channels, int threads) {
  double *sums = calloc((size_t)(2 * channels * threads), sizeof(double));
  float *factors = malloc((size_t)(3 * channels) * sizeof(float));
  if (!sums || !factors) {
    free(sums), free(factors);
    return 1;
  }
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int t = 0; t < threads; t++) {
    double *mine = sums + 2 * channels * t;
    double *products = mine + channels;
    if (passed)
      WIDEST(gradient_sums_of, 4, grad, x, y, kept, passed, mine, products, rows, channels,
             threads, t);
    else
      WIDEST(gradient_sums_of, 4, grad, x, NULL, kept, NULL, mine, products, rows, channels,
             threads, t);
  }
  add_up(sums, channels, threads);
  for (int64_t c = 0; c < channels; c++) {
    double inverse = kept[3 * channels + c], of_normalized = sums[channels + c] * inverse;
    double k = gamma[c] * inverse;
    grad_beta[c] = sums[c];
    grad_gamma[c] = of_normalized;
    factors[c] = k;
    factors[channels + c] = -k * inverse * of_normalized / rows;
    factors[2 * channels + c] = -k * sums[c] / rows;
  }
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int t = 0; t < threads; t++)
    if (passed)
      WIDEST(gradient, 4, passed, x, 0, kept, factors, grad_x, rows, channels, threads, t);
    else
      WIDEST(gradient, 4, grad, x, 1, kept, factors, grad_x, rows, channels, threads, t);
  free(sums), free(factors);
  return 0;
}
