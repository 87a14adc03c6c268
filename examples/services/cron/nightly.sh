#!/usr/bin/env bash
# Predicts for the rows of a day, by a job: as many as there are, bad ones apart with their reason.
#
#   17 2 * * *  TRAIND_URL=grpc://127.0.0.1:8081 TRAIND_TOKEN_FILE=/etc/traind/nightly.token /srv/nightly.sh species /srv/rows /srv/predicted
#
# May run twice for the same day: the same rows are the same data set, and a job that was sent twice is taken once.
set -euo pipefail
model=${1:?usage: nightly.sh MODEL FOLDER_OF_ROWS FOLDER_OF_PREDICTIONS [DAY]}
rows=${2:?the folder in which DAY.csv is}
predicted=${3:?the folder for DAY.csv with the predictions}
day=${4:-$(date -u +%F)}

dataset=$(traind data push "$rows/$day.csv" --name "rows-$day" --quiet)
key=$(python3 -c 'import sys, uuid; print(uuid.uuid5(uuid.NAMESPACE_URL, " ".join(sys.argv[1:])))' "$model" "$dataset")
job=$(traind batch "$model" "$dataset" --output-id "predicted-$day" --key "$key" --quiet)
# Into place at once: who reads the folder sees a whole file or none.
traind data download "predicted-$day" "$predicted/.$day.csv" --force --quiet > /dev/null
mv "$predicted/.$day.csv" "$predicted/$day.csv"
echo "$day: $job"
