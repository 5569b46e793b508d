/* Espalier plugin ABI, core: types, errors, options, components, the one exported symbol.
 *
 * Everything that crosses between the host and a plugin is declared in this folder's .h files: fixed-width integers,
 * pointers, UTF-8 C strings and tables of functions. No C++ type, no exception and no third-party type crosses.
 * The files compile alike as C11, C17, C++17 and C++20 and have no implicit padding.
 *
 * Growth: a sized struct begins with `struct_size` and only grows at its end; zero in a new field means the old
 * behaviour. A reader copies min(its size, mine) and takes a field only where ESP_HAS() says it is there. Structs
 * marked "frozen" never change. Flag words of 32 bits: the low 16 are hints (ignore what you do not know), the high 16
 * are critical (refuse what you do not know); words of 64 bits: 32 and 32.
 *
 * Ownership: strings and arrays passed to a call are borrowed until it returns. Descriptors, tables and strings that a
 * component returns live until its destroy (components and options: until the process ends; nothing is unloaded).
 * Memory is freed by the table that allocated it.
 *
 * Thread roles, written in brackets behind each function:
 *   [main]      the control thread of the run; may allocate, block, do I/O
 *   [compute]   never two at once for one instance, but maybe another thread each time: keep no thread-local state
 *   [worker]    a pool thread, concurrent with everything
 *   [any]       thread-safe
 *   & in-step, & !in-step   between begin_step and the last hook of a step, or not
 * A role names who calls; a function of the host may be called by a component in the role given with it.
 */
#ifndef ESPALIER_ABI_H
#define ESPALIER_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- version ---------------------------------------------------------------------------------------------------- */

#define ESP_ABI_MAJOR 1u
#define ESP_ABI_MINOR 0u

/* Revision of every table id. "0" until ABI 1.0 is frozen: then host and plugin must carry the same ESP_SDK_HASH. */
#define ESP_REVISION "0"

/* FNV-1a of sdk/abi/1.0.layout; the layout test computes it anew and names the right value when a table changes. */
#define ESP_SDK_HASH 0xde2f9b3d39b926deull

/* Size of T up to and including `last`: what a struct_size is compared with (sizeof would hide tail padding). */
#define ESP_UPTO(T, last) ((uint32_t)(offsetof(T, last) + sizeof(((T*)0)->last)))
/* Whether the sized struct *p (of type T) carries field f. */
#define ESP_HAS(T, p, f) ((p)->struct_size >= ESP_UPTO(T, f))

/* ---- status and errors ------------------------------------------------------------------------------------------ */

typedef int32_t esp_status; /* 0 = ok */
#define ESP_OK 0
#define ESP_E_INVALID 1       /* an argument or option is wrong */
#define ESP_E_UNSUPPORTED 2   /* understood, but not offered by this side */
#define ESP_E_HOST_MEMORY 3   /* host (or pinned) memory is exhausted */
#define ESP_E_DEVICE_MEMORY 4 /* device memory or its budget is exhausted */
#define ESP_E_DEVICE 5        /* the device reported a failure */
#define ESP_E_COMM 6          /* a collective failed or timed out */
#define ESP_E_STATE 7         /* called in the wrong order or role */
#define ESP_E_IO 8            /* a file could not be read or written */
#define ESP_E_ABI 9           /* versions or sizes do not fit */
#define ESP_E_CANCELLED 10    /* stopped on request */
#define ESP_E_DATA 11         /* input data or weights are damaged or do not fit */
#define ESP_E_INTERNAL 12     /* a bug on the side that returns it */

/* Owned by the caller, filled by the callee on failure; every `esp_error*` parameter may be NULL. */
typedef struct esp_error {
  uint32_t struct_size;
  esp_status code;
  uint32_t rule; /* number of the violated rule, 0 = none */
  uint32_t reserved;
  char where[48];    /* function or component, UTF-8, NUL-terminated */
  char message[464]; /* one line: what was wrong and what to do */
} esp_error;

/* ---- dtypes ----------------------------------------------------------------------------------------------------- */

typedef uint32_t esp_dtype; /* code | bits << 8 | lanes << 16: DLPack's bytes in one word */
#define ESP_DTYPE(code, bits) ((uint32_t)(code) | ((uint32_t)(bits) << 8) | (1u << 16))
#define ESP_I32 ESP_DTYPE(0, 32)
#define ESP_I64 ESP_DTYPE(0, 64)
#define ESP_U8 ESP_DTYPE(1, 8)
#define ESP_F16 ESP_DTYPE(2, 16)
#define ESP_F32 ESP_DTYPE(2, 32)
#define ESP_F64 ESP_DTYPE(2, 64)
#define ESP_BF16 ESP_DTYPE(4, 16)
#define ESP_DTYPE_BYTES(t) ((((t) >> 8) & 0xffu) / 8u)

/* ---- facts of the run ------------------------------------------------------------------------------------------- */

#define ESP_MODE_TRAIN 1u
#define ESP_MODE_INFER 2u /* no gradients, no optimizer */

#define ESP_CPU 1 /* device_kind */
#define ESP_CUDA 2

#define ESP_PRECISION_DEFAULT 0u /* the strategy's own choice, told by its plan */
#define ESP_PRECISION_FP32 1u
#define ESP_PRECISION_TF32 2u /* fp32 data, matrix products on TF32 units */
#define ESP_PRECISION_BF16 3u /* bf16 compute, fp32 masters */
#define ESP_PRECISION_FP16 4u /* fp16 compute, fp32 masters, loss scaling */

#define ESP_RUN_DETERMINISTIC 0x00010000u /* esp_run.flags: same inputs, same bits */

/* Fixed for the life of an instance. */
typedef struct esp_run {
  uint32_t struct_size;
  uint32_t mode;
  int32_t rank; /* in the world; the data-parallel group comes from esp.comm */
  int32_t world;
  int32_t device_kind;
  int32_t device_index;
  uint32_t n_micro;      /* micro-batches a rank runs per step */
  uint32_t n_passes_max; /* largest esp_plan.n_passes the host will run */
  uint32_t precision;
  uint32_t flags;
  uint64_t seed;
  uint64_t budget_device; /* bytes of ESP_DEVICE memory this instance may take; 0 = what is there */
  uint64_t budget_pinned; /* bytes of ESP_PINNED memory; 0 = what is there */
} esp_run;

/* ---- options ---------------------------------------------------------------------------------------------------- */

#define ESP_OPT_BOOL 1u     /* i: 0 or 1 */
#define ESP_OPT_I64 2u      /* i */
#define ESP_OPT_F64 3u      /* f */
#define ESP_OPT_STR 4u      /* s */
#define ESP_OPT_ENUM 5u     /* s: one of the choices */
#define ESP_OPT_BYTES 6u    /* u: a size; TOML takes 4096 or "25MiB" */
#define ESP_OPT_DURATION 7u /* f: seconds; TOML takes 2.5 or "90s", "5min" */
#define ESP_OPT_PATH 8u     /* s: made absolute by the host, from the TOML file's folder or (flags) the working one */
#define ESP_OPT_LIST_I64 9u
#define ESP_OPT_LIST_F64 10u
#define ESP_OPT_LIST_STR 11u

#define ESP_OPT_REQUIRED 0x1u /* no default: the user must give it */
#define ESP_OPT_SWEEPABLE 0x2u
#define ESP_OPT_ADVANCED 0x4u
#define ESP_OPT_DEPRECATED 0x8u
#define ESP_OPT_AFFECTS_STATE 0x10u /* recorded in checkpoints and compared on load */
#define ESP_OPT_OR_NAME 0x20u /* PATH: left as written where nothing is found: a name that the component looks up */

/* One value. `type` is an ESP_OPT_ number; 0 = absent (as a bound: unbounded). Frozen, 16 bytes. */
typedef struct esp_value {
  uint32_t type;
  uint32_t n; /* lists: number of elements */
  union {
    int64_t i;
    double f;
    uint64_t u;
    const char* s;
    const void* list; /* int64_t[n], double[n] or const char*[n] */
  } v;
} esp_value;

typedef struct esp_option {
  uint32_t struct_size;
  uint32_t type;
  uint32_t flags;
  uint32_t n_choices;
  const char* key;         /* [a-z][a-z0-9_]*, unique in the component */
  const char* doc;         /* one line */
  const char* since;       /* plugin version that brought it; NULL = the first */
  const char* replaced_by; /* with DEPRECATED: the key to use; else NULL */
  esp_value def;
  esp_value min; /* inclusive; numbers, sizes and durations */
  esp_value max;
  const char* const* choices; /* ENUM */
} esp_option;

/* What `create` is given. values[i] belongs to options[i], validated and complete; it lives until destroy. */
typedef struct esp_config {
  uint32_t struct_size;
  uint32_t n_values;
  const esp_value* values;
  const esp_run* run;
  const char* const* classes; /* models: names of the data's classes, label i is classes[i]; else NULL */
  uint32_t n_classes;
  uint32_t reserved;
} esp_config;

/* ---- services, components, entry -------------------------------------------------------------------------------- */

/* The host's tables by id (see host.h); NULL where the host has none of that id. Valid until destroy. `service` [main];
 * each table's functions take the `ctx` given here, which belongs to this one instance. */
typedef struct esp_host {
  uint32_t struct_size;
  uint32_t reserved;
  void* ctx;
  const void* (*service)(void* ctx, const char* id);
} esp_host;

#define ESP_STRATEGY 1u /* esp_component.kind */
#define ESP_MODEL 2u
#define ESP_DATASET 3u

/* esp_component.caps: possible; esp_plan.caps: used. Each declared one is tested by `host verify`. */
#define ESP_CAP_CPU (1ull << 0)          /* runs on a CPU device */
#define ESP_CAP_CUDA (1ull << 1)         /* runs on a CUDA device */
#define ESP_CAP_CAPTURE_STEP (1ull << 2) /* equal variant = same work and addresses: steps can be replayed */
#define ESP_CAP_ADAPTS (1ull << 3)       /* wants `adapt` after warm-up */
#define ESP_CAP_ALIAS_REBIND (1ull << 4) /* models: what was saved in forward follows a later bind */
#define ESP_CAP_DETERMINISTIC (1ull << 5)
#define ESP_CAP_INFER (1ull << 6) /* runs in ESP_MODE_INFER */

/* One strategy, model or dataset. Static storage. */
typedef struct esp_component {
  uint32_t struct_size;
  uint32_t kind;
  const char* id; /* [a-z][a-z0-9_-]*, unique in the library */
  const char* version;
  const char* summary; /* one line */
  uint64_t caps;
  const esp_option* const* options;
  uint32_t n_options;
  uint32_t reserved;
  /* [main] Succeeds, or leaves nothing behind. `host` and `config` live until destroy. Takes services, not memory:
   * sizes are known in prepare. */
  esp_status (*create)(const esp_host* host, const esp_config* config, void** self, esp_error*);
  /* [any] The function table of an id, e.g. ESP_STRATEGY_ID; NULL for ids that are not offered. Static storage. */
  const void* (*table)(const char* table_id);
} esp_component;

typedef struct esp_plugin {
  uint32_t struct_size;
  uint32_t abi_minor_built;
  uint32_t abi_minor_needed;
  uint32_t n_components;
  const esp_component* const* components;
  const char* id; /* reverse-domain name of the library, e.g. "org.example.localsgd" */
  const char* version;
} esp_plugin;

/* What the host says first. It honours minors [abi_minor_floor, abi_minor] of abi_major. */
typedef struct esp_hello {
  uint32_t struct_size;
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t abi_minor_floor;
  uint64_t sdk_hash;
  const char* host_version;
} esp_hello;

#if defined(__GNUC__) || defined(__clang__)
#define ESP_EXPORT __attribute__((visibility("default")))
#else
#define ESP_EXPORT
#endif

/* The only symbol a plugin exports. [main] May be called more than once; must not start threads, open files or touch a
 * device. Fills *out with static storage, or fails with ESP_E_ABI and a text. A future major is a second symbol. */
typedef esp_status (*esp_entry_fn)(const esp_hello* hello, const esp_plugin** out, esp_error*);
#define ESP_ENTRY_SYMBOL "esp_plugin_entry_v1"
ESP_EXPORT esp_status esp_plugin_entry_v1(const esp_hello* hello, const esp_plugin** out, esp_error*);

/* ---- the note in the file --------------------------------------------------------------------------------------- */

/* Read by the host without loading the library: an ELF note, section ".note.espalier", name "ESP", type 1. Frozen. */
#define ESP_NOTE_NAME "ESP"
#define ESP_NOTE_TYPE 1u
#define ESP_TORCH_NONE 0u   /* loads with any host 1.x */
#define ESP_TORCH_STABLE 1u /* uses PyTorch's stable ABI only */
#define ESP_TORCH_EXACT 2u  /* uses LibTorch's C++: loads with exactly the LibTorch named in torch_stamp */

typedef struct esp_note {
  uint32_t note_version; /* 1 */
  uint32_t abi_major;
  uint32_t abi_minor_built;
  uint32_t abi_minor_needed;
  uint64_t sdk_hash;
  uint32_t torch_tier;
  uint32_t reserved;
  char plugin_id[64]; /* all texts UTF-8, NUL-terminated */
  char plugin_version[32];
  char torch_stamp[64]; /* e.g. "2.11.0+cu130 cxx11"; empty for tier 0 */
  char cuda[64];        /* e.g. "13.0: sm_80 sm_90a +ptx"; empty without device code */
  char compiler[64];
  char components[192]; /* "strategy:ddp model:vit dataset:beans" */
} esp_note;

/* Header and description as they stand in the file. */
typedef struct esp_note_record {
  uint32_t name_size, desc_size, type;
  char name[4];
  esp_note desc;
} esp_note_record;

#if defined(__clang__)
#define ESP_COMPILER_TEXT __VERSION__
#else
#define ESP_COMPILER_TEXT "GCC " __VERSION__
#endif
#ifndef ESP_TORCH_TIER /* set by espalier_add_plugin(... TORCH exact) */
#define ESP_TORCH_TIER ESP_TORCH_NONE
#define ESP_TORCH_STAMP ""
#endif
#ifndef ESP_CUDA_TEXT /* set by espalier_add_plugin(... CUDA) */
#define ESP_CUDA_TEXT ""
#endif
#ifndef ESP_NOTE_MAJOR /* test fixtures pretend to be from elsewhere */
#define ESP_NOTE_MAJOR ESP_ABI_MAJOR
#define ESP_NOTE_MINOR_BUILT ESP_ABI_MINOR
#define ESP_NOTE_MINOR_NEEDED ESP_ABI_MINOR
#define ESP_NOTE_HASH ESP_SDK_HASH
#endif

/* Once per library, at file scope, outside extern "C++" namespaces: emits the note. `components` lists kind:id pairs.
 */
#define ESP_NOTE(plugin_id, plugin_version, components)                                                               \
  __attribute__((section(".note.espalier"), used, aligned(8))) static const esp_note_record esp_note_in_file = {      \
      sizeof(ESP_NOTE_NAME),                                                                                          \
      sizeof(esp_note),                                                                                               \
      ESP_NOTE_TYPE,                                                                                                  \
      ESP_NOTE_NAME,                                                                                                  \
      {1u, ESP_NOTE_MAJOR, ESP_NOTE_MINOR_BUILT, ESP_NOTE_MINOR_NEEDED, ESP_NOTE_HASH, ESP_TORCH_TIER, 0u, plugin_id, \
       plugin_version, ESP_TORCH_STAMP, ESP_CUDA_TEXT, ESP_COMPILER_TEXT, components}}

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* ESPALIER_ABI_H */
