#!/usr/bin/env bash
# Asks a model in traind with nothing but curl, in traind's own words and in those of the Open Inference Protocol.
#
#   TRAIND_HTTP=http://127.0.0.1:8080 TRAIND_TOKEN_FILE=token ./predict.sh kim.species
set -euo pipefail
model=${1:?usage: predict.sh OWNER.MODEL}
server=${TRAIND_HTTP:-http://127.0.0.1:8080}
# The token goes in by a file, so that no list of processes shows it.
authorization=$(mktemp)
trap 'rm -f "$authorization"' EXIT
printf 'header = "authorization: Bearer %s"\n' "$(cat "${TRAIND_TOKEN_FILE:?the file with the token}")" > "$authorization"
ask() {
  # Five tries where the server is just not there; what it refuses is shown with its reason.
  curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused --max-time 10 --config "$authorization" \
    --header 'content-type: application/json' --data-binary @- "$1"
  echo
}

ask "$server/v1/models/$model:predict" <<'JSON'
{"columns": [
  {"name": "island", "strings": ["Biscoe", "Torgersen"]},
  {"name": "bill_length_mm", "numbers": [46.1, 39.1]},
  {"name": "bill_depth_mm", "numbers": [13.2, 18.7]},
  {"name": "flipper_length_mm", "numbers": [211, 181]},
  {"name": "body_mass_g", "numbers": [4500, 3750]},
  {"name": "sex", "strings": ["female", "male"]}
]}
JSON

ask "$server/v2/models/$model/infer" <<'JSON'
{"inputs": [
  {"name": "island", "datatype": "BYTES", "shape": [2], "data": ["Biscoe", "Torgersen"]},
  {"name": "bill_length_mm", "datatype": "FP64", "shape": [2], "data": [46.1, 39.1]},
  {"name": "bill_depth_mm", "datatype": "FP64", "shape": [2], "data": [13.2, 18.7]},
  {"name": "flipper_length_mm", "datatype": "INT64", "shape": [2], "data": [211, 181]},
  {"name": "body_mass_g", "datatype": "INT64", "shape": [2], "data": [4500, 3750]},
  {"name": "sex", "datatype": "BYTES", "shape": [2], "data": ["female", "male"]}
], "outputs": [{"name": "label"}]}
JSON
