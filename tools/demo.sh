#!/usr/bin/env bash
# The main job on real data, as the commands a user would type; `make demo` runs it in .venv.
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

rm -rf runs/demo runs/demo-clip  # what an earlier demo left
accord compare emoji-web --seeds 5 --out runs/demo
accord train pack:emoji --config emoji-clip --out runs/demo-clip
accord search runs/demo-clip "a red fruit"
accord search runs/demo-clip "rain and thunder"
accord search runs/demo-clip "somebody is very happy"

cat <<END

Done in $((SECONDS / 60)) min $((SECONDS % 60)) s.
  runs/demo/report.html       the four methods compared, with the labels found wrong
  runs/demo-clip/report.html  the image-text model that answered the searches

Now your own folder of pictures, with captions in metadata.csv (columns file_name,text):
  .venv/bin/accord train path/to/folder --method clip --out runs/mine
  .venv/bin/accord search runs/mine "words" --open
END
