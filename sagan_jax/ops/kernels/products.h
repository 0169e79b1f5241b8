// What the kernels share: vectors, matrix products of blocks that stay in registers, work spread over XLA's threads.
//
// Matrices are row by row. A "row" is the distance from one row to the next, in floats.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

// A block of a product is kTall rows of kWide vectors: it and what it is made of at a time fill the registers.
#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
constexpr int kTall = 6, kWide = 4;
#elif defined(__AVX__)
constexpr int64_t kLanes = 8;
constexpr int kTall = 6, kWide = 2;
#elif defined(__aarch64__)
constexpr int64_t kLanes = 4;
constexpr int kTall = 6, kWide = 4;
#else
constexpr int64_t kLanes = 4;
constexpr int kTall = 6, kWide = 2;
#endif

constexpr int64_t kPanel = kWide * kLanes;  // columns of a block
constexpr int64_t kDepth = 512;             // so many rows of a panel stay in the second cache
constexpr int64_t kPixels = 128;            // at least so many rows have the products that are made at a time

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef Vector AnywhereVector __attribute__((aligned(4), may_alias));  // in memory, wherever a float may lie

inline Vector load(const float* from) { return *reinterpret_cast<const AnywhereVector*>(from); }
inline void store(float* to, Vector vector) { *reinterpret_cast<AnywhereVector*>(to) = vector; }

// How many times `some` it takes to have `count`.
inline int64_t times(int64_t count, int64_t some) { return (count + some - 1) / some; }

// The least multiple of a vector's lanes that holds `count`.
inline int64_t in_vectors(int64_t count) { return times(count, kLanes) * kLanes; }

// Rows of a power of two lie in the same few places of a cache; so many floats more, and they do not.
inline int64_t apart(int64_t columns) { return columns + 16; }

// Columns of a matrix to a matrix with room for as many.
inline void copy_columns(int64_t rows, int64_t columns, const float* from, int64_t from_row, float* to,
                         int64_t to_row) {
  for (int64_t i = 0; i < rows; ++i) std::copy_n(from + i * from_row, columns, to + i * to_row);
}

// c[M, N vectors] = start + a[M, depth] b[depth, N vectors]; a step along the depth is `a_step` in a, `b_step` in b.
// `start` may be c itself, or one row for all, its `start_row` zero.
template <int M, int N>
inline void block(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step, int64_t depth,
                  const float* start, int64_t start_row, float* c, int64_t c_row) {
  Vector sums[M][N];
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) sums[i][j] = load(start + i * start_row + j * kLanes);
  for (int64_t k = 0; k < depth; ++k, a += a_step, b += b_step) {
    Vector right[N];
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) right[j] = load(b + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) {
      const float left = a[i * a_row];
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) sums[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) store(c + i * c_row + j * kLanes, sums[i][j]);
}

template <int N, int M = kTall>
inline void blocks(int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step,
                   int64_t depth, const float* start, int64_t start_row, float* c, int64_t c_row) {
  for (; rows >= M; rows -= M, a += M * a_row, start += M * start_row, c += M * c_row)
    block<M, N>(a, a_row, a_step, b, b_step, depth, start, start_row, c, c_row);
  if constexpr (M > 1) {
    if (rows) blocks<N, M - 1>(rows, a, a_row, a_step, b, b_step, depth, start, start_row, c, c_row);
  }
}

// The same of as many columns as there are, at most a panel's, and a multiple of a vector's.
template <int N = kWide>
inline void panel(int64_t columns, int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b,
                  int64_t b_step, int64_t depth, const float* start, int64_t start_row, float* c, int64_t c_row) {
  if (columns == N * kLanes)
    return blocks<N>(rows, a, a_row, a_step, b, b_step, depth, start, start_row, c, c_row);
  if constexpr (N > 1) panel<N - 1>(columns, rows, a, a_row, a_step, b, b_step, depth, start, start_row, c, c_row);
}

// c[rows, columns] = start + a[rows, depth] times a matrix [depth, columns], cut into panels of kPanel columns, each
// whole and row by row, the last one narrower. `columns` is a multiple of a vector's lanes.
inline void product(int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t a_row, const float* panels,
                    const float* start, int64_t start_row, float* c, int64_t c_row) {
  for (int64_t from = 0; from < depth; from += kDepth, start = c, start_row = c_row) {
    const int64_t some = std::min(kDepth, depth - from);
    for (int64_t column = 0; column < columns; column += kPanel) {
      const int64_t wide = std::min(kPanel, columns - column);
      panel(wide, rows, a + from, a_row, 1, panels + column * depth + from * wide, wide, some, start + column,
            start_row, c + column, c_row);
    }
  }
}

// panels[rows, columns] += a[depth, rows] transposed, times b[depth, columns].
inline void add_transposed_product(int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t a_row,
                                   const float* b, int64_t b_row, float* panels) {
  for (int64_t column = 0; column < columns; column += kPanel) {
    const int64_t wide = std::min(kPanel, columns - column);
    float* c = panels + column * rows;
    panel(wide, rows, a, 1, a_row, b + column, b_row, depth, c, wide, c, wide);
  }
}

// Where a row of such panels has a column.
inline int64_t in_panels(int64_t row, int64_t column, int64_t rows, int64_t columns) {
  const int64_t first = column / kPanel * kPanel;
  return first * rows + row * std::min(kPanel, columns - first) + column - first;
}

// One panel of a matrix [depth, columns], the one that begins at `column`. `row(i)` tells where the matrix's row i is,
// its first `count` columns; null is a row of zeros.
template <typename Row>
inline void fill_panel(int64_t depth, int64_t columns, int64_t count, int64_t column, const Row& row, float* panels) {
  const int64_t wide = std::min(kPanel, columns - column), there = std::min(wide, count - column);
  float* to = panels + column * depth;
  for (int64_t i = 0; i < depth; ++i, to += wide) {
    const float* from = row(i);
    const int64_t taken = from ? there : 0;
    std::fill_n(std::copy_n(from + column, taken, to), wide - taken, 0.0f);
  }
}

// One panel of the transpose of a matrix: here `row(i)` becomes column i, and the depth is a row's length.
template <typename Row>
inline void fill_transposed_panel(int64_t depth, int64_t columns, int64_t column, const Row& row, float* panels) {
  const int64_t wide = std::min(kPanel, columns - column);
  float* panel = panels + column * depth;
  for (int64_t first = 0; first < depth; first += kLanes) {  // a few at a time, so that their lines stay near
    const int64_t last = std::min(depth, first + kLanes);
    for (int64_t j = 0; j < wide; ++j) {
      const float* from = row(column + j);
      for (int64_t i = first; i < last; ++i) panel[i * wide + j] = from ? from[i] : 0.0f;
    }
  }
}

// How many panels such a matrix has.
inline int64_t panels_of(int64_t columns) { return times(columns, kPanel); }

// Memory that a thread keeps from one call to the next, so that it need not be had from the system anew.
class Workspace {
 public:
  // So many floats, where a cache's line begins; what was in it is undefined. One call for all that is needed.
  std::vector<float*> of(const std::vector<int64_t>& sizes) {
    int64_t total = kLine;
    for (int64_t size : sizes) total += times(size, kLine) * kLine;
    if (static_cast<int64_t>(memory_.size()) < total) memory_.resize(total);
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    float* next = memory_.data() + (64 - address % 64) % 64 / sizeof(float);
    std::vector<float*> parts;
    for (int64_t size : sizes) {
      parts.push_back(next);
      next += times(size, kLine) * kLine;
    }
    return parts;
  }

 private:
  static constexpr int64_t kLine = 16;
  std::vector<float> memory_;
};

// work(i) for every i below count, on XLA's threads and on this one; returns when all is done. The thread that calls
// takes part, so it waits for work begun, never for a thread to come free.
template <typename Work>
void in_parallel(ffi::ThreadPool& threads, int64_t count, const Work& work) {
  struct Progress {
    std::atomic<int64_t> next{0}, done{0};
  };
  const auto progress = std::make_shared<Progress>();
  const auto take = [progress, count, &work] {  // `work` is gone when a late thread comes, but so is what to do
#if defined(__SSE__)
    const unsigned int state = _mm_getcsr();
    _mm_setcsr(state | 0x8040);  // denormals are zero, as in XLA's own kernels
#endif
    for (int64_t i; (i = progress->next.fetch_add(1)) < count;) {
      work(i);
      if (progress->done.fetch_add(1) + 1 == count) progress->done.notify_all();
    }
#if defined(__SSE__)
    _mm_setcsr(state);
#endif
  };
  for (int64_t i = std::min<int64_t>(threads.num_threads(), count); i > 1; --i)
    threads.Schedule(std::function<void()>(take));
  take();
  for (int64_t done; (done = progress->done.load()) < count;) progress->done.wait(done);
}

// work(part, first, last) for parts of `count` things, each those from `first` to `last`.
template <typename Work>
void in_parts(ffi::ThreadPool& threads, int64_t parts, int64_t count, const Work& work) {
  in_parallel(threads, parts, [&](int64_t part) { work(part, part * count / parts, (part + 1) * count / parts); });
}

// How many parts at most things are cut into that each thread sums over.
inline int64_t parts_of(const ffi::ThreadPool& threads, int64_t count) {
  return std::max<int64_t>(1, std::min(threads.num_threads(), count));
}

// A kernel from two arrays to one, by the name that XLA knows it by; the integers that it takes follow.
#define CONVOLUTION_KERNEL(name, function, ...) \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(                \
      name, function, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Ret<Array>() __VA_ARGS__)
#define INTEGER(name) .Attr<int64_t>(name)
