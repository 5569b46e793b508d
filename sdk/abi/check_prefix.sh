#!/usr/bin/env bash
# check_prefix.sh OLD.layout NEW.layout: whether the border has only grown. Constants keep their values; a struct that begins
# with struct_size keeps its fields, places and types, and may have more behind them; any other struct stays as it is.
set -euo pipefail
[ $# = 2 ] || { echo "usage: $0 OLD.layout NEW.layout" >&2; exit 2; }
awk '
  function fault(text) { print text; bad = 1 }
  FNR == 1 { file++; struct = "" }
  /^[a-z]/ { header = $1; struct = ""; next }              # "abi.h", "draft 1"
  /^  struct / {
    struct = $2; sub(/:$/, "", struct)
    n[file, struct] = 0; shape[file, struct] = $0
    if (file == 1) olds[++n_old] = struct
    next
  }
  /^    / && struct != "" { fields[file, struct, ++n[file, struct]] = $0; next }
  /^  [A-Z]/ { value[file, $1] = $0; if (file == 1) constants[++n_constants] = $1; struct = "" }
  END {
    if (file != 2) { print "two layouts that are not empty are needed"; exit 1 }
    for (i = 1; i <= n_constants; i++) {
      name = constants[i]
      if (name == "ESP_ABI_MINOR" || name == "ESP_REVISION") continue
      if (value[1, name] != value[2, name]) fault(name ": was \"" value[1, name] "\", is \"" value[2, name] "\"")
    }
    for (i = 1; i <= n_old; i++) {
      struct = olds[i]
      if (!((2, struct) in shape)) { fault("struct " struct " is gone"); continue }
      for (k = 1; k <= n[1, struct]; k++) {
        if (fields[1, struct, k] != fields[2, struct, k]) {
          fault("struct " struct ": was \"" fields[1, struct, k] "\", is \"" fields[2, struct, k] "\"")
        }
      }
      grows = fields[1, struct, 1] ~ /uint32_t struct_size/
      if (!grows && shape[1, struct] != shape[2, struct]) fault("struct " struct " is frozen, and changed its size")
    }
    exit bad
  }' "$1" "$2"
