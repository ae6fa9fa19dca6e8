#!/bin/sh
# Score the parts of a day, have each judged, and hand the answers on only if the model was trusted all the time.
#
#     nightly.sh FOLDER      a folder with *.csv, scored in the order of their names
#
# Exit codes: 0 the answers are in FOLDER/answers, 4 the state was DEGRADED and nothing is handed on, others as of the
# command that failed. After a failure the same command goes on where it stopped.
set -eu
day=$1
config=${STILLSAFE_CONFIG:-service/stillsafe.toml}
degraded=no

mkdir -p "$day/scored"
for part in "$day"/*.csv; do
    answers="$day/scored/$(basename "$part")"
    if [ ! -e "$answers" ]; then
        stillsafe score "$part" --out "$answers" --config "$config"
    fi
    code=0
    stillsafe monitor --exit-code --config "$config" || code=$?
    case $code in
        0 | 3) ;; # NORMAL, or WARNING: somebody should look, and the answers are the model's
        4) degraded=yes ;; # goes on: the state recovers on rows that are calm again
        *) exit "$code" ;;
    esac
done
if [ $degraded = yes ]; then
    rm -r "$day/scored"
    echo "$day: not handed on, the state was DEGRADED; see stillsafe explain" >&2
    exit 4
fi
mv "$day/scored" "$day/answers"
