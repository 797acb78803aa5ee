#!/bin/sh
# A folder, a number of phases and of calls, and curl's options for one call come in; one line of JSON a call goes out.
# usage: client.sh FOLDER PHASES COUNT BODY URL OPTION...
# All calls are made by one curl process on one connection. A second phase waits for a line on standard input: its
# first call reads its body from a named pipe, which curl opens when that call begins.
set -eu

folder=$1 phases=$2 count=$3 body=$4 url=$5
shift 5
options=$#

# The positional parameters become the arguments of curl; the options of one call stay in front until the end.
# The lines go to standard error, which curl does not buffer.
number=0
while [ "$number" -lt "$((phases * count))" ]; do
    line="%{stderr}{\"status\":\"%{http_code}\",\"exit\":%{exitcode},\"protocol\":\"%{http_version}\",\"file\":\"$folder/answer.$number\"}\\n"
    if [ "$phases" -gt 1 ] && [ "$number" -eq "$((count - 1))" ]; then
        line="${line}ready\\n"
    fi
    if [ "$phases" -gt 1 ] && [ "$number" -eq "$count" ]; then
        source="--upload-file $folder/gate --request POST"
    else
        source="--data-binary @$body"
    fi
    [ "$number" -eq 0 ] || set -- "$@" --next
    place=0
    for option in "$@"; do
        place=$((place + 1))
        [ "$place" -le "$options" ] || break
        set -- "$@" "$option"
    done
    # shellcheck disable=SC2086 # two words on purpose; the folder's name holds no space
    set -- "$@" $source --output "$folder/answer.$number" --write-out "$line" "$url"
    number=$((number + 1))
done
shift "$options"

if [ "$phases" -gt 1 ]; then
    mkfifo "$folder/gate"
    # A background job has no standard input of its own: the line is read by the shell.
    curl "$@" </dev/null 2>&1 &
    read -r _ || true
    cat "$body" >"$folder/gate"
    wait $! || true
else
    curl "$@" </dev/null 2>&1 || true
fi
echo '{"calls":"above"}'
