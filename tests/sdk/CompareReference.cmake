# cmake -D HOST=.. -D FOLDER=docs/reference -P CompareReference.cmake: each page is what `host plugins reference` prints.
foreach(library ddp ddp_fp16 zero gemini vit)
  execute_process(COMMAND ${HOST} plugins reference lib${library}.so OUTPUT_VARIABLE printed COMMAND_ERROR_IS_FATAL ANY)
  file(READ ${FOLDER}/${library}.md page)
  if(NOT printed STREQUAL page)
    message(SEND_ERROR "${FOLDER}/${library}.md is out of date; write it anew: "
      "host plugins reference lib${library}.so > docs/reference/${library}.md")
  endif()
endforeach()
