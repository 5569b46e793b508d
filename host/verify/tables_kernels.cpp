// esp.kernels.
#include <cmath>
#include <cstring>
#include <sstream>

#include "runtime/device/scalar_op.hpp"
#include "verify/element.hpp"
#include "verify/rank_host.hpp"

namespace esp::verify {
struct KernelTable {
  static RankHost& of(void* ctx) { return called_host(ctx); }
  static bool may_enqueue(RankHost& host, esp_stream stream) {
    if (host.role == Role::kPlan) host.found("HOOK-04", "a kernel");
    return host.own(stream);
  }

  static esp_status copy(void* ctx, void* dst, const void* src, uint64_t bytes, esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    if (!may_enqueue(host, stream)) return refuse(error, ESP_E_INVALID, "a foreign stream");
    std::ostringstream name;
    name << "copy of " << bytes << " bytes from " << src << " to " << dst;
    const size_t op = host.enqueue(name.str(), stream, [=] {
      if (bytes > 0) std::memmove(dst, src, bytes);
    });
    host.reads(op, src, bytes, stream, true);
    host.writes(op, dst, bytes, stream, true);
    return ESP_OK;
  }
  static esp_status zero(void* ctx, void* dst, uint64_t bytes, esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    if (!may_enqueue(host, stream)) return refuse(error, ESP_E_INVALID, "a foreign stream");
    std::ostringstream name;
    name << "zero of " << bytes << " bytes at " << dst;
    const size_t op = host.enqueue(name.str(), stream, [=] {
      if (bytes > 0) std::memset(dst, 0, bytes);
    });
    host.writes(op, dst, bytes, stream);
    return ESP_OK;
  }
  static esp_status convert(void* ctx, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n,
                            esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    if (!may_enqueue(host, stream) || !is_float(dst_t) || !is_float(src_t)) {
      return refuse(error, ESP_E_INVALID, "convert takes float dtypes and own streams");
    }
    std::ostringstream name;
    name << "convert of " << n << " elements from " << src << " (" << src_t << ") to " << dst << " (" << dst_t << ")";
    const size_t op = host.enqueue(name.str(), stream, [=] {
      for (uint64_t i = 0; i < n; ++i) store(dst, i, dst_t, load(src, i, src_t));
    });
    host.reads(op, src, n * ESP_DTYPE_BYTES(src_t), stream);
    host.writes(op, dst, n * ESP_DTYPE_BYTES(dst_t), stream);
    return ESP_OK;
  }
  static esp_status axpby(void* ctx, uint64_t n, float a, const float* pa, const void* x, esp_dtype x_t, float b,
                          const float* pb, void* y, esp_dtype y_t, esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    if (!may_enqueue(host, stream) || !is_float(x_t) || !is_float(y_t)) {
      return refuse(error, ESP_E_INVALID, "axpby takes float dtypes and own streams");
    }
    std::ostringstream name;
    name << "axpby of " << n << " elements, " << a << " x at " << x << " (" << x_t << "), " << b << " y at " << y
         << " (" << y_t << "), scalars " << pa << " " << pb;
    const bool wide = x_t == ESP_F64 || y_t == ESP_F64;
    const size_t op = host.enqueue(name.str(), stream, [=] {
      const double fa = a * (pa == nullptr ? 1.0 : *pa), fb = b == 0 ? 0 : b * (pb == nullptr ? 1.0 : *pb);
      for (uint64_t i = 0; i < n; ++i) {
        const double value = fa * load(x, i, x_t) + (b == 0 ? 0 : fb * load(y, i, y_t));
        store(y, i, y_t, wide ? value : static_cast<float>(value));
      }
    });
    host.reads(op, x, n * ESP_DTYPE_BYTES(x_t), stream);
    for (const float* scalar : {pa, pb}) {
      if (scalar != nullptr) host.reads(op, scalar, sizeof *scalar, stream);
    }
    if (b != 0) host.reads(op, y, n * ESP_DTYPE_BYTES(y_t), stream);
    host.writes(op, y, n * ESP_DTYPE_BYTES(y_t), stream);
    return ESP_OK;
  }
  static esp_status sum_sq(void* ctx, const void* x, uint64_t n, esp_dtype dtype, float* add_to, esp_stream stream,
                           esp_error* error) {
    RankHost& host = of(ctx);
    if (!may_enqueue(host, stream) || !is_float(dtype)) {
      return refuse(error, ESP_E_INVALID, "sum_sq takes float dtypes and own streams");
    }
    std::ostringstream name;
    name << "sum_sq of " << n << " elements at " << x << " to " << static_cast<const void*>(add_to);
    const size_t op = host.enqueue(name.str(), stream, [=] {
      double sum = 0;
      for (uint64_t i = 0; i < n; ++i) sum += load(x, i, dtype) * load(x, i, dtype);
      *add_to += static_cast<float>(sum);
    });
    host.reads(op, x, n * ESP_DTYPE_BYTES(dtype), stream);
    host.writes(op, add_to, sizeof *add_to, stream);
    return ESP_OK;
  }
  static esp_status scalars(void* ctx, const esp_sop* sops, uint32_t n, float* const* regs, uint32_t n_regs,
                            esp_stream stream, esp_error* error) {
    RankHost& host = of(ctx);
    const std::vector<esp_sop> list(sops, sops + n);
    const std::vector<float*> registers(regs, regs + n_regs);
    const auto known = [&](uint8_t number) { return number < n_regs; };
    bool fine = may_enqueue(host, stream) && n <= 32 && n_regs <= 250;
    for (const esp_sop& sop : list) {
      fine = fine && sop.op >= ESP_SOP_SET && sop.op <= ESP_SOP_FINITE && known(sop.dst) && known(sop.a) &&
             (known(sop.b) || sop.b == ESP_SOP_IMM);
    }
    if (!fine) return refuse(error, ESP_E_INVALID, "scalars: operations or registers out of range");
    std::ostringstream name;
    name << "scalars";
    for (const esp_sop& sop : list)
      name << ' ' << int(sop.op) << ',' << int(sop.dst) << ',' << int(sop.a) << ',' << int(sop.b) << ',' << sop.imm;
    for (const float* reg : registers) name << ' ' << reg;
    const size_t op = host.enqueue(name.str(), stream, [=] {
      for (const esp_sop& sop : list) {
        float& dst = *registers[sop.dst];
        dst = runtime::scalar_op(sop, dst, *registers[sop.a], sop.b == ESP_SOP_IMM ? sop.imm : *registers[sop.b]);
      }
    });
    for (const esp_sop& sop : list) host.writes(op, registers[sop.dst], sizeof(float), stream);
    for (const float* reg : registers) host.reads(op, reg, sizeof(float), stream);
    return ESP_OK;
  }
};

const esp_kernels_v1& kernel_table() {
  using T = KernelTable;
  static const esp_kernels_v1 table = {sizeof table, 0, T::copy, T::zero, T::convert, T::axpby, T::sum_sq, T::scalars};
  return table;
}

}  // namespace esp::verify
