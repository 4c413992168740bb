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

/* For each block of the thread's rows and each 16 channels: `o` is the offset of the first value and
   `n` the number of rows. */
#define FOR_EACH_TILE(thread)                                                                      \
  int64_t begin_ = rows * (thread) / threads, end_ = rows * ((thread) + 1) / threads;             \
  for (int64_t row_ = begin_, n; n = at_most(end_ - row_, BLOCK), row_ < end_; row_ += BLOCK)      \
    for (int64_t c = 0, o = row_ * channels; c < channels; c += LANES, o = row_ * channels + c)

/* Sums of x - x0 and of its square, where x0 is the first row: so nothing large cancels. */
static void sums_of(const float *x, double *sums, double *squares, int64_t rows, int64_t channels,
                    int threads, int thread) {
  FOR_EACH_TILE(thread) {
    Vector x0 = load(x + c);
    Vector s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, q0 = {0}, q1 = {0}, q2 = {0}, q3 = {0};
    const float *p = x + o;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4, p += 4 * channels) {
      Vector a = load(p) - x0, b = load(p + channels) - x0, d = load(p + 2 * channels) - x0,
             e = load(p + 3 * channels) - x0;
      s0 += a, s1 += b, s2 += d, s3 += e;
      q0 += a * a, q1 += b * b, q2 += d * d, q3 += e * e;
    }
    for (; i < n; i++, p += channels) {
      Vector a = load(p) - x0;
      s0 += a, q0 += a * a;
    }
    add_to(sums + c, (s0 + s1) + (s2 + s3));
    add_to(squares + c, (q0 + q1) + (q2 + q3));
  }
}

/* What is normalized is (x - mean) scale + beta, here and, to the bit, in the backward pass. */
#define FACTORS                                                                                    \
  Vector scale = load(kept + c), beta = load(kept + channels + c);                                 \
  Vector mean = load(kept + 2 * channels + c)

static void normalize(const float *x, const float *added, const float *kept, float *y,
                      int64_t rows, int64_t channels, int threads, int thread) {
  FOR_EACH_TILE(thread) {
    FACTORS;
    if (added)
      for (int64_t i = 0; i < n; i++, o += channels) {
        Vector v = (load(x + o) - mean) * scale + beta + load(added + o);
        store(y + o, where_positive(v, v));
      }
    else
      for (int64_t i = 0; i < n; i++, o += channels) {
        Vector v = (load(x + o) - mean) * scale + beta;
        store(y + o, where_positive(v, v));
      }
  }
}

/* Sums of g and of g (x - mean), where g is the gradient that the ReLU lets through; written, if
   `passed`. */
static void gradient_sums_of(const float *grad, const float *x, const float *y, const float *kept,
                             float *passed, double *sums, double *products, int64_t rows,
                             int64_t channels, int threads, int thread) {
  FOR_EACH_TILE(thread) {
    FACTORS;
    Vector s0 = {0}, s1 = {0}, q0 = {0}, q1 = {0};
    int64_t i = 0;
    if (passed)
      for (; i + 2 <= n; i += 2, o += 2 * channels) {
        int64_t o1 = o + channels;
        Vector g0 = where_positive(load(grad + o), load(y + o));
        Vector g1 = where_positive(load(grad + o1), load(y + o1));
        store(passed + o, g0), store(passed + o1, g1);
        s0 += g0, s1 += g1, q0 += g0 * (load(x + o) - mean), q1 += g1 * (load(x + o1) - mean);
      }
    else
      for (; i + 2 <= n; i += 2, o += 2 * channels) {
        Vector x0 = load(x + o) - mean, x1 = load(x + o + channels) - mean;
        Vector g0 = where_positive(load(grad + o), x0 * scale + beta);
        Vector g1 = where_positive(load(grad + o + channels), x1 * scale + beta);
        s0 += g0, s1 += g1, q0 += g0 * x0, q1 += g1 * x1;
      }
    for (; i < n; i++, o += channels) {
      Vector x0 = load(x + o) - mean;
      Vector g0 = where_positive(load(grad + o), passed ? load(y + o) : x0 * scale + beta);
      if (passed) store(passed + o, g0);
      s0 += g0, q0 += g0 * x0;
    }
    add_to(sums + c, s0 + s1);
    add_to(products + c, q0 + q1);
  }
}

/* grad_x = of_g g + of_x (x - mean) + constant; g is `grad`, or what the ReLU lets through of it.
   `factors` (3, channels) are these. */
static void gradient(const float *grad, const float *x, int through_relu, const float *kept,
                     const float *factors, float *grad_x, int64_t rows, int64_t channels,
                     int threads, int thread) {
  FOR_EACH_TILE(thread) {
    FACTORS;
    Vector of_g = load(factors + c), of_x = load(factors + channels + c);
    Vector constant = load(factors + 2 * channels + c);
    if (through_relu)
      for (int64_t i = 0; i < n; i++, o += channels) {
        Vector v = load(x + o) - mean;
        Vector g = where_positive(load(grad + o), v * scale + beta);
        store(grad_x + o, g * of_g + (v * of_x + constant));
      }
    else
      for (int64_t i = 0; i < n; i++, o += channels)
        store(grad_x + o, load(grad + o) * of_g + ((load(x + o) - mean) * of_x + constant));
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
    sums_of(x, mine, mine + channels, rows, channels, threads, t);
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
    normalize(x, added, kept, y, rows, channels, threads, t);
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
    gradient_sums_of(grad, x, y, kept, passed, mine, mine + channels, rows, channels, threads, t);
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
    gradient(passed ? passed : grad, x, !passed, kept, factors, grad_x, rows, channels, threads, t);
  free(sums), free(factors);
  return 0;
}
