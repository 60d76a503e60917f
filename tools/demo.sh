#!/usr/bin/env bash
# The main job on real data, as the commands a user would type; `make demo` runs it in .venv.
# What an earlier demo finished is not done again: a demo that was stopped goes on.
set -euo pipefail
cd "$(dirname "$0")/.."

accord() {
    printf '\n$ accord'
    for word; do
        case "$word" in
            *" "*) printf ' "%s"' "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    .venv/bin/python -m accord "$@"
}

again() { if [ -e "$1" ]; then echo --resume; fi; }  # $1: what is there once there is something to go on with

# shellcheck disable=SC2046  # one word or none
accord compare emoji-web --seeds 5 --out runs/comparison $(again runs/comparison/measured)
# shellcheck disable=SC2046
accord train pack:emoji --config emoji-clip --out runs/words $(again runs/words/splits.json)
accord search runs/words "a red fruit"
accord search runs/words "rain and thunder"
accord search runs/words "somebody is very happy"

cat <<END

Done in $((SECONDS / 60)) min $((SECONDS % 60)) s.
  runs/comparison/report.html  the four arms compared, with the labels found wrong
  runs/words/report.html       the image-text model that answered the searches

Now your own folder of pictures, with captions in metadata.csv (columns file_name,text):
  .venv/bin/accord train path/to/folder --method clip --out runs/mine
  .venv/bin/accord search runs/mine "words" --open

Look at all of it in a browser: runs, search, papers, doubts to decide on.
  .venv/bin/accord serve --open
END
