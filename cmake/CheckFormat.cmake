# Fails when a source file is not as clang-format (14, Debian 12's) leaves it.  cmake -DSOURCE=<folder> -P CheckFormat.cmake
find_program(CLANG_FORMAT NAMES clang-format-14 clang-format REQUIRED)
file(GLOB_RECURSE files ${SOURCE}/host/*.[ch]pp ${SOURCE}/plugins/*.[ch]pp ${SOURCE}/models/*.[ch]pp ${SOURCE}/sdk/*.[ch]pp
  ${SOURCE}/tests/*.[ch]pp ${SOURCE}/sdk/include/*.h ${SOURCE}/sdk/*.c ${SOURCE}/tests/*.c)
execute_process(COMMAND ${CLANG_FORMAT} --dry-run --Werror ${files} RESULT_VARIABLE failed ERROR_VARIABLE report)
if(failed)
  string(REGEX MATCHALL "[^\n]*error: code should be clang-formatted" lines "${report}")
  list(TRANSFORM lines REPLACE ":[0-9]+:[0-9]+: error.*" "")
  list(REMOVE_DUPLICATES lines)
  list(JOIN lines "\n  " lines)
  message(FATAL_ERROR "Not formatted (run clang-format -i on them):\n  ${lines}\n${report}")
endif()
