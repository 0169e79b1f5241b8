// The depthwise-separable convolution and its gradients, float32, NHWC: depthwise 3x3 with padding 1 and bias, then
// pointwise 1x1 with bias. Some rows of the maps are taken at a time, and what lies between the two convolutions
// stays in the cache.

#include "depthwise_rows.h"
#include "products.h"

namespace {

thread_local Workspace shared_memory, own_memory;

// Sizes, and the parameters as the kernels take them: `copies` results of the depthwise convolution for each channel,
// copy by copy, each copy's channels filled up with zeros to whole vectors.
struct Convolution {
  int64_t batch, height, width, channels, copies, out;
  int64_t padded_channels = in_vectors(channels), padded_out = in_vectors(out);
  int64_t between = copies * padded_channels;  // depthwise results of a pixel
  int64_t rows_at_once = std::max<int64_t>(1, kPixels / width);
  const float *taps = nullptr, *bias = nullptr;  // [9, between], [between]

  // Fills `taps` and `bias` from kernels [3, 3, copies, channels] and biases [copies, channels].
  void take(const float* kernel, const float* biases, float* memory) {
    std::memset(memory, 0, 10 * between * sizeof(float));
    const auto place = [&](const float* from, float* to) {
      copy_columns(copies, channels, from, channels, to, padded_channels);
    };
    for (int64_t tap = 0; tap < 9; ++tap) place(kernel + tap * copies * channels, memory + tap * between);
    place(biases, memory + 9 * between);
    taps = memory, bias = memory + 9 * between;
  }

  // The pointwise kernel's row for a depthwise result; null for what fills up vectors.
  const float* pointwise(const float* kernel, int64_t result) const {
    const int64_t copy = result / padded_channels, channel = result % padded_channels;
    return channel < channels ? kernel + (copy * channels + channel) * out : nullptr;
  }
};

// The images' rows, one image's after the other's, from one before `first` to one after `last`; channels in whole
// vectors, in `memory` if they have to be copied for that.
class ImageRows {
 public:
  ImageRows(const Convolution& conv, const float* images, int64_t first, int64_t last, float* memory,
            const float* zeros)
      : conv_(conv), zeros_(zeros), map_(images) {
    if (conv.channels == conv.padded_channels) return;
    first_ = std::max<int64_t>(0, first - 1);
    const int64_t end = std::min(conv.batch * conv.height, last + 1), pixels = (end - first_) * conv.width;
    std::memset(memory, 0, pixels * conv.padded_channels * sizeof(float));
    copy_columns(pixels, conv.channels, images + first_ * conv.width * conv.channels, conv.channels, memory,
                 conv.padded_channels);
    map_ = memory;
  }

  // Has rows brought near that will be needed soon.
  void fetch(int64_t first, int64_t last) const {
    if (conv_.channels != conv_.padded_channels) return;
    const float* end = map_ + std::min(last, conv_.batch * conv_.height) * row_size();
    for (const float* line = map_ + first * row_size(); line < end; line += 16) __builtin_prefetch(line, 0, 2);
  }

  Rows around(int64_t row) const {
    return Rows(row, conv_.height, map_, first_, row_size(), conv_.padded_channels, zeros_);
  }

 private:
  int64_t row_size() const { return conv_.width * conv_.padded_channels; }

  const Convolution& conv_;
  const float *zeros_, *map_;
  int64_t first_ = 0;  // the row that `map_` begins with
};

// The depthwise results of rows `first` to `last`, [pixels, between].
void depthwise(const Convolution& conv, const ImageRows& images, int64_t first, int64_t last, float* results,
               int64_t result_step) {
  for (int64_t row = first; row < last; ++row) {
    const Rows rows = images.around(row);
    by_twos(conv.copies, [&]<int copies>(int64_t j) {
      const int64_t at = j * conv.padded_channels;
      correlate_row<copies>(rows, conv.width, conv.padded_channels, conv.taps + at, conv.between, conv.bias + at,
                            results + (row - first) * conv.width * result_step + at, result_step);
    });
  }
  images.fetch(last + 1, last + 1 + conv.rows_at_once);  // while the products are made
}

ffi::Error forward(ffi::ThreadPool threads, Array x, Array depthwise_kernel, Array depthwise_bias,
                   Array pointwise_kernel, Array pointwise_bias, Result result) {
  const auto size = x.dimensions();
  const auto kernel = pointwise_kernel.dimensions();
  Convolution conv{size[0], size[1], size[2], size[3], kernel[0], kernel[2]};
  const auto memory = shared_memory.of({10 * conv.between, conv.between * conv.padded_out, conv.padded_out});
  float *panels = memory[1], *bias = memory[2];
  conv.take(depthwise_kernel.typed_data(), depthwise_bias.typed_data(), memory[0]);
  std::fill_n(std::copy_n(pointwise_bias.typed_data(), conv.out, bias), conv.padded_out - conv.out, 0.0f);
  const auto kernel_row = [&](int64_t i) { return conv.pointwise(pointwise_kernel.typed_data(), i); };
  in_parallel(threads, panels_of(conv.padded_out), [&](int64_t i) {
    fill_panel(conv.between, conv.padded_out, conv.out, i * kPanel, kernel_row, panels);
  });

  const int64_t rows = conv.batch * conv.height, strips = times(rows, conv.rows_at_once);
  const int64_t step = apart(conv.between), most = conv.rows_at_once * conv.width;
  const auto strip = [&](int64_t first) {
    const int64_t last = std::min(rows, first + conv.rows_at_once), pixels = (last - first) * conv.width;
    const auto own = own_memory.of({(most + 2 * conv.width) * conv.padded_channels, conv.padded_channels, most * step,
                                    most * conv.padded_out});
    float *zeros = own[1], *between = own[2];
    std::fill_n(zeros, conv.padded_channels, 0.0f);
    depthwise(conv, ImageRows(conv, x.typed_data(), first, last, own[0], zeros), first, last, between, step);
    float* place = result->typed_data() + first * conv.width * conv.out;
    const bool whole = conv.out == conv.padded_out;
    float* sums = whole ? place : own[3];
    product(pixels, conv.between, conv.padded_out, between, step, panels, bias, 0, sums, conv.padded_out);
    if (!whole) copy_columns(pixels, conv.out, sums, conv.padded_out, place, conv.out);
  };
  // Parts of several strips, each brought near while the one before it is computed.
  in_parts(threads, std::min(strips, 8 * parts_of(threads, strips)), strips, [&](int64_t, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) strip(i * conv.rows_at_once);
  });
  return ffi::Error::Success();
}

// The gradients of one part of the batch, some rows at a time. Those by the depthwise results are held for two rows
// more, for the gradient by an image's row takes the rows above and below.
class Backward {
 public:
  Backward(const Convolution& conv, const float* gradient, const float* x, const float* panels, float* by_x)
      : conv_(conv), gradient_(gradient), x_(x), panels_(panels), by_x_(by_x) {}

  // Adds to `by_depthwise` [9, between], `by_pointwise` [between, padded out] and `by_bias` [padded out].
  void run(int64_t first_image, int64_t last_image, float* by_depthwise, float* by_pointwise, float* by_bias) {
    const int64_t width = conv_.width, most = conv_.rows_at_once * width;
    const int64_t end = last_image * conv_.height, out_step = apart(conv_.padded_out), step = apart(conv_.between);
    const auto own = own_memory.of({(most + 2 * width) * conv_.padded_channels, conv_.between, most * step,
                                    most * out_step, (most + 2 * width) * step, width * conv_.padded_channels});
    float *zeros = own[1], *results = own[2], *gradient = own[3], *by_results = own[4];
    std::fill_n(zeros, conv_.between, 0.0f);
    std::fill_n(gradient, most * out_step, 0.0f);
    next_ = first_image * conv_.height;
    for (int64_t first = next_; first < end; first += conv_.rows_at_once) {
      const int64_t last = std::min(end, first + conv_.rows_at_once), pixels = (last - first) * width;
      const ImageRows images(conv_, x_, first, last, own[0], zeros);
      copy_columns(pixels, conv_.out, gradient_ + first * width * conv_.out, conv_.out, gradient, out_step);
      for (int64_t i = 0; i < pixels; ++i)
        for (int64_t c = 0; c < conv_.padded_out; c += kLanes)
          store(by_bias + c, load(by_bias + c) + load(gradient + i * out_step + c));
      depthwise(conv_, images, first, last, results, step);
      add_transposed_product(conv_.between, pixels, conv_.padded_out, results, step, gradient, out_step, by_pointwise);
      float* by_these = by_results + 2 * width * step;  // after the two rows before them
      product(pixels, conv_.out, conv_.between, gradient, out_step, panels_, zeros, 0, by_these, step);
      for (int64_t row = first; row < last; ++row) {
        const Rows rows = images.around(row);
        by_twos(conv_.copies, [&]<int copies>(int64_t j) {
          const int64_t at = j * conv_.padded_channels;
          add_kernel_gradient<copies>(rows, width, conv_.padded_channels,
                                      by_these + (row - first) * width * step + at, step, by_depthwise + at,
                                      conv_.between);
        });
      }
      while (next_ < last && (next_ + 1 < last || (next_ + 1) % conv_.height == 0))
        image_row(by_results, first - 2, step, zeros, own[5]);
      std::memmove(by_results, by_results + pixels * step, 2 * width * step * sizeof(float));
    }
  }

 private:
  // The gradient by the next row of the images: the depthwise convolution's, by the kernel from last to first.
  void image_row(const float* by_results, int64_t first, int64_t step, const float* zeros, float* memory) {
    const int64_t row = next_++;
    const bool whole = conv_.channels == conv_.padded_channels;
    float* place = by_x_ + row * conv_.width * conv_.channels;
    float* sums = whole ? place : memory;
    by_twos(conv_.copies, [&]<int copies>(int64_t j) {
      const int64_t at = j * conv_.padded_channels;
      const Rows rows(row, conv_.height, by_results + at, first, conv_.width * step, step, zeros);
      const float* last_tap = conv_.taps + 8 * conv_.between + at;
      correlate_back_row<copies>(rows, conv_.width, conv_.padded_channels, last_tap, -conv_.between, j > 0, sums);
    });
    if (!whole) copy_columns(conv_.width, conv_.channels, sums, conv_.padded_channels, place, conv_.channels);
  }

  const Convolution& conv_;
  const float *gradient_, *x_, *panels_;
  float* by_x_;
  int64_t next_ = 0;
};

ffi::Error backward(ffi::ThreadPool threads, Array gradient, Array x, Array depthwise_kernel, Array depthwise_bias,
                    Array pointwise_kernel, Result by_x, Result by_depthwise, Result by_pointwise, Result by_bias) {
  const auto size = x.dimensions();
  const auto kernel = pointwise_kernel.dimensions();
  Convolution conv{size[0], size[1], size[2], size[3], kernel[0], kernel[2]};
  const int64_t parts = parts_of(threads, conv.batch);
  const int64_t sums = 9 * conv.between + (conv.between + 1) * conv.padded_out;  // of each part
  const auto memory = shared_memory.of({10 * conv.between, conv.between * conv.out, parts * sums});
  float *panels = memory[1], *all = memory[2];
  conv.take(depthwise_kernel.typed_data(), depthwise_bias.typed_data(), memory[0]);
  const auto kernel_row = [&](int64_t i) { return conv.pointwise(pointwise_kernel.typed_data(), i); };
  in_parallel(threads, panels_of(conv.between), [&](int64_t i) {
    fill_transposed_panel(conv.out, conv.between, i * kPanel, kernel_row, panels);
  });
  Backward pass(conv, gradient.typed_data(), x.typed_data(), panels, by_x->typed_data());
  in_parts(threads, parts, conv.batch, [&](int64_t part, int64_t first, int64_t last) {
    float* by = all + part * sums;
    std::fill_n(by, sums, 0.0f);
    float* by_pointwise = by + 9 * conv.between;
    Backward(pass).run(first, last, by, by_pointwise, by_pointwise + conv.between * conv.padded_out);
  });
  // A sum over the parts, in their order, and without what fills up vectors.
  const auto total = [&](int64_t at) {
    float sum = 0.0f;
    for (int64_t part = 0; part < parts; ++part) sum += all[part * sums + at];
    return sum;
  };
  for (int64_t tap = 0; tap < 9; ++tap)
    for (int64_t j = 0; j < conv.copies; ++j)
      for (int64_t c = 0; c < conv.channels; ++c)
        by_depthwise->typed_data()[(tap * conv.copies + j) * conv.channels + c] =
            total(tap * conv.between + j * conv.padded_channels + c);
  in_parallel(threads, conv.copies * conv.channels, [&](int64_t i) {
    const int64_t row = i / conv.channels * conv.padded_channels + i % conv.channels;
    for (int64_t o = 0; o < conv.out; ++o)
      by_pointwise->typed_data()[i * conv.out + o] =
          total(9 * conv.between + in_panels(row, o, conv.between, conv.padded_out));
  });
  for (int64_t o = 0; o < conv.out; ++o)
    by_bias->typed_data()[o] = total(9 * conv.between + conv.between * conv.padded_out + o);
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(sagan_depthwise_forward, forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()   // x [B, H, W, C]
                                  .Arg<Array>()   // depthwise kernel [3, 3, k, C]
                                  .Arg<Array>()   // depthwise bias [k, C]
                                  .Arg<Array>()   // pointwise kernel [k, C, O]
                                  .Arg<Array>()   // pointwise bias [O]
                                  .Ret<Array>());  // [B, H, W, O]

XLA_FFI_DEFINE_HANDLER_SYMBOL(sagan_depthwise_backward, backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()   // gradient by the result [B, H, W, O]
                                  .Arg<Array>()   // x [B, H, W, C]
                                  .Arg<Array>()   // depthwise kernel [3, 3, k, C]
                                  .Arg<Array>()   // depthwise bias [k, C]
                                  .Arg<Array>()   // pointwise kernel [k, C, O]
                                  .Ret<Array>()   // gradient by x
                                  .Ret<Array>()   // by the depthwise kernel
                                  .Ret<Array>()   // by the pointwise kernel
                                  .Ret<Array>());  // by the pointwise bias
