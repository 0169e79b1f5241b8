// A plain convolution and its gradients, float32, NHWC: matrix products of what the kernel's taps see. That is gathered
// for some rows of the result at a time, so that it stays in the cache.

#include "products.h"

namespace {

thread_local Workspace shared_memory, own_memory;

constexpr int64_t kAtOnce = 640;  // if taps see so many values at most, these are gathered at once, or else row by row

struct Convolution {
  int64_t batch, height, width, channels;  // of the images
  int64_t down, across, out;               // of the result
  int64_t rows, columns;                   // of the kernel
  int64_t stride_down, stride_across, above, left;  // zeros above and left of the images
  int64_t padded_out = in_vectors(out);
  int64_t rows_at_once = std::max<int64_t>(1, kPixels / across);
  int64_t taken = rows * columns * channels <= kAtOnce ? rows : 1;  // rows of the kernel at a time
  int64_t seen = taken * columns * channels;                        // values that they see
  int64_t step = apart(in_vectors(seen));

  int64_t result_rows() const { return batch * down; }

  // Whether a tap of some pixel of the result sees what lies outside the images, on any of their four sides.
  bool padded() const {
    const auto beyond = [](int64_t results, int64_t stride, int64_t taps, int64_t before, int64_t size) {
      return before > 0 || (results - 1) * stride - before + taps > size;
    };
    return beyond(down, stride_down, rows, above, height) || beyond(across, stride_across, columns, left, width);
  }

  // For `taken` rows of the kernel from `row` on, and every pixel of the result's rows from `first` to `last`, calls
  // visit(where among patches, where in the images, how many) with the values that they see. What lies outside is left
  // out.
  template <typename Visit>
  void each(int64_t row, int64_t first, int64_t last, const Visit& visit) const {
    for (int64_t y = first; y < last; ++y) {
      for (int64_t r = 0; r < taken; ++r) {
        const int64_t inside = y % down * stride_down + row + r - above;
        if (inside < 0 || inside >= height) continue;
        const int64_t start = (y / down * height + inside) * width;
        for (int64_t x = 0; x < across; ++x) {
          const int64_t from = x * stride_across - left;
          const int64_t begin = std::max<int64_t>(0, from), end = std::min(width, from + columns);
          if (begin < end)
            visit(((y - first) * across + x) * step + (r * columns + begin - from) * channels,
                  (start + begin) * channels, (end - begin) * channels);
        }
      }
    }
  }

  // What those rows of the kernel see, [pixels, seen]; what lies outside is zero.
  void gather(const float* images, int64_t row, int64_t first, int64_t last, float* patches) const {
    if (padded() || seen % kLanes) std::fill_n(patches, (last - first) * across * step, 0.0f);
    each(row, first, last, [&](int64_t patch, int64_t image, int64_t count) {
      for (int64_t i = 0; i < count; ++i) patches[patch + i] = images[image + i];
    });
  }

  // The transpose of that: adds the patches to the images they are of.
  void scatter(const float* patches, int64_t row, int64_t first, int64_t last, float* images) const {
    each(row, first, last, [&](int64_t patch, int64_t image, int64_t count) {
      for (int64_t i = 0; i < count; ++i) images[image + i] += patches[patch + i];
    });
  }
};

// From the images, the result and the kernel, each [rows, columns, in, out] or [B, H, W, C].
Convolution of(ffi::Span<const int64_t> images, ffi::Span<const int64_t> result, ffi::Span<const int64_t> kernel,
               int64_t stride_down, int64_t stride_across, int64_t above, int64_t left) {
  return Convolution{images[0], images[1],   images[2],     images[3], result[1], result[2], kernel[3],
                     kernel[0], kernel[1], stride_down, stride_across, above,     left};
}

ffi::Error forward(ffi::ThreadPool threads, Array x, Array kernel, Result result, int64_t stride_down,
                   int64_t stride_across, int64_t above, int64_t left) {
  const Convolution conv = of(x.dimensions(), result->dimensions(), kernel.dimensions(), stride_down, stride_across,
                              above, left);
  const int64_t groups = conv.rows / conv.taken, panels_size = conv.seen * conv.padded_out;
  float* panels = shared_memory.of({groups * panels_size})[0];
  const int64_t panels_each = panels_of(conv.padded_out);
  in_parallel(threads, groups * panels_each, [&](int64_t i) {
    const int64_t group = i / panels_each;
    const float* rows = kernel.typed_data() + group * conv.seen * conv.out;
    fill_panel(conv.seen, conv.padded_out, conv.out, i % panels_each * kPanel,
               [&](int64_t seen) { return rows + seen * conv.out; }, panels + group * panels_size);
  });
  const int64_t strips = times(conv.result_rows(), conv.rows_at_once);
  in_parallel(threads, strips, [&](int64_t strip) {
    const int64_t first = strip * conv.rows_at_once, last = std::min(conv.result_rows(), first + conv.rows_at_once);
    const int64_t most = conv.rows_at_once * conv.across, pixels = (last - first) * conv.across;
    const auto own = own_memory.of({most * conv.step, most * conv.padded_out, conv.padded_out});
    float* place = result->typed_data() + first * conv.across * conv.out;
    const bool whole = conv.out == conv.padded_out;
    float* sums = whole ? place : own[1];
    std::fill_n(own[2], conv.padded_out, 0.0f);
    for (int64_t i = 0; i < groups; ++i) {
      conv.gather(x.typed_data(), i * conv.taken, first, last, own[0]);
      product(pixels, conv.seen, conv.padded_out, own[0], conv.step, panels + i * panels_size, i ? sums : own[2],
              i ? conv.padded_out : 0, sums, conv.padded_out);
    }
    if (!whole) copy_columns(pixels, conv.out, sums, conv.padded_out, place, conv.out);
  });
  return ffi::Error::Success();
}

ffi::Error by_image(ffi::ThreadPool threads, Array gradient, Array kernel, Result result, int64_t stride_down,
                    int64_t stride_across, int64_t above, int64_t left) {
  const Convolution conv = of(result->dimensions(), gradient.dimensions(), kernel.dimensions(), stride_down,
                              stride_across, above, left);
  const int64_t groups = conv.rows / conv.taken, padded_seen = in_vectors(conv.seen);
  const int64_t panels_size = conv.out * padded_seen, panels_each = panels_of(padded_seen);
  float* panels = shared_memory.of({groups * panels_size})[0];
  in_parallel(threads, groups * panels_each, [&](int64_t i) {
    const int64_t group = i / panels_each;
    const float* rows = kernel.typed_data() + group * conv.seen * conv.out;
    fill_transposed_panel(conv.out, padded_seen, i % panels_each * kPanel,
                          [&](int64_t seen) { return seen < conv.seen ? rows + seen * conv.out : nullptr; },
                          panels + group * panels_size);
  });
  const int64_t at_once = std::max<int64_t>(1, kPixels / (conv.down * conv.across));  // images
  in_parallel(threads, times(conv.batch, at_once), [&](int64_t i) {
    const int64_t size = conv.height * conv.width * conv.channels, most = conv.rows_at_once * conv.across;
    const int64_t first_image = i * at_once, last_image = std::min(conv.batch, first_image + at_once);
    const auto own = own_memory.of({most * conv.step, padded_seen});
    float *patches = own[0], *zeros = own[1];
    std::fill_n(zeros, padded_seen, 0.0f);
    std::fill_n(result->typed_data() + first_image * size, (last_image - first_image) * size, 0.0f);
    const int64_t end = last_image * conv.down;
    for (int64_t first = first_image * conv.down; first < end; first += conv.rows_at_once) {
      const int64_t last = std::min(end, first + conv.rows_at_once), pixels = (last - first) * conv.across;
      for (int64_t group = 0; group < groups; ++group) {
        product(pixels, conv.out, padded_seen, gradient.typed_data() + first * conv.across * conv.out, conv.out,
                panels + group * panels_size, zeros, 0, patches, conv.step);
        conv.scatter(patches, group * conv.taken, first, last, result->typed_data());
      }
    }
  });
  return ffi::Error::Success();
}

ffi::Error by_kernel(ffi::ThreadPool threads, Array x, Array gradient, Result result, int64_t stride_down,
                     int64_t stride_across, int64_t above, int64_t left) {
  const Convolution conv = of(x.dimensions(), gradient.dimensions(), result->dimensions(), stride_down, stride_across,
                              above, left);
  const int64_t groups = conv.rows / conv.taken, sums_size = conv.seen * conv.padded_out;
  const int64_t strips = times(conv.result_rows(), conv.rows_at_once);
  const int64_t parts = parts_of(threads, strips);
  float* all = shared_memory.of({parts * groups * sums_size})[0];
  in_parts(threads, parts, strips, [&](int64_t part, int64_t from, int64_t to) {
    const int64_t most = conv.rows_at_once * conv.across, gradient_step = apart(conv.padded_out);
    const auto own = own_memory.of({most * conv.step, most * gradient_step});
    float* sums = all + part * groups * sums_size;
    std::fill_n(sums, groups * sums_size, 0.0f);
    std::fill_n(own[1], most * gradient_step, 0.0f);
    for (int64_t strip = from; strip < to; ++strip) {
      const int64_t first = strip * conv.rows_at_once, last = std::min(conv.result_rows(), first + conv.rows_at_once);
      const int64_t pixels = (last - first) * conv.across;
      copy_columns(pixels, conv.out, gradient.typed_data() + first * conv.across * conv.out, conv.out, own[1],
                   gradient_step);
      for (int64_t i = 0; i < groups; ++i) {
        conv.gather(x.typed_data(), i * conv.taken, first, last, own[0]);
        add_transposed_product(conv.seen, pixels, conv.padded_out, own[0], conv.step, own[1], gradient_step,
                               sums + i * sums_size);
      }
    }
  });
  in_parallel(threads, groups * conv.seen, [&](int64_t row) {
    const float* first = all + row / conv.seen * sums_size;
    for (int64_t o = 0; o < conv.out; ++o) {
      const float* at = first + in_panels(row % conv.seen, o, conv.seen, conv.padded_out);
      float sum = 0.0f;
      for (int64_t part = 0; part < parts; ++part) sum += at[part * groups * sums_size];
      result->typed_data()[row * conv.out + o] = sum;
    }
  });
  return ffi::Error::Success();
}

}  // namespace

#define PLACES INTEGER("stride_down") INTEGER("stride_across") INTEGER("above") INTEGER("left")

// Images [B, H, W, C], kernel [R, S, C, O] -> result [B, H', W', O].
CONVOLUTION_KERNEL(sagan_conv, forward, PLACES);
// Gradient by the result, kernel -> gradient by the images.
CONVOLUTION_KERNEL(sagan_conv_by_image, by_image, PLACES);
// Images, gradient by the result -> gradient by the kernel.
CONVOLUTION_KERNEL(sagan_conv_by_kernel, by_kernel, PLACES);
