#!/usr/bin/env bash
# curl against a gateway, as people type it: curl.sh BASE_URL MODEL. Exits 0 when everything holds.
set -euo pipefail
url=$1 model=$2
die() { echo "curl: $*"; exit 1; }
body='{"model": "'$model'", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]'

# Without a content type curl says that it sends a form.
answer=$(curl -sS --fail "$url/chat/completions" -d "$body}")
[[ $answer == *'"object":"chat.completion"'* && $answer == *'"finish_reason"'* ]] || die "an answer: $answer"
stream=$(curl -sS --fail -N "$url/chat/completions" -H 'content-type: application/json' -d "$body, \"stream\": true}")
[[ $stream == 'data: {'* && $(tail -n 1 <<<"$stream") == 'data: [DONE]' ]] || die "a stream: $stream"
[[ $(curl -sS "$url/models") == *"\"id\":\"$model\""* ]] || die "the models"
[[ $(curl -sS -o /dev/null -w '%{http_code}' -I "$url/models") == 200 ]] || die "HEAD"
code=$(curl -sS -o /dev/null -w '%{http_code}' "$url/chat/completions" -d '{')
[[ $code == 400 ]] || die "half a body: $code"
# Above a megabyte curl asks first (Expect: 100-continue); above the bound it is told at once.
large=$(mktemp)
trap 'rm -f "$large"' EXIT
head -c 1500000 /dev/zero | tr '\0' ' ' >"$large"
printf '%s}' "$body" >>"$large"
code=$(curl -sS -o /dev/null -w '%{http_code}' "$url/chat/completions" --data-binary "@$large")
[[ $code == 200 ]] || die "a body of 1.5 MB: $code"
head -c 8000000 /dev/zero | tr '\0' ' ' >"$large"
code=$(curl -sS -o /dev/null -w '%{http_code}' "$url/chat/completions" --data-binary "@$large" || true)
[[ $code == 413 ]] || die "a body of 8 MB: $code"
echo "curl: ok"
