# cmake -DHOST=... -DPAGE=... -P: fails when the page differs from what `host help configuration` prints.
execute_process(COMMAND ${HOST} help configuration OUTPUT_VARIABLE printed RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${HOST} help configuration ended with ${failed}")
endif()
file(READ ${PAGE} page)
if(NOT printed STREQUAL page)
  message(FATAL_ERROR "${PAGE} is out of date; write it anew: ${HOST} help configuration > ${PAGE}")
endif()
