#!/bin/sh
# Starts Redis or Valkey for traind: one user with a password, who may do what a Celery worker does and no more.
#
#   TRAIND_BROKER_PASSWORD   the password of the user `traind`; letters and digits, 12 or more (openssl rand -hex 24)
#   BROKER_FOLDER            where the list of users is written; /tmp unless given
#   further arguments        options of the server, such as --port 6379
#
# The password goes to the server as its SHA-256, in a file of mode 0600, and never into an argument. The right to run
# scripts by their hash stays, for Celery's lock is one; EVAL, CONFIG and FLUSHALL do not. Nothing is stored on disk:
# tickets are hints, and the sweep of any traind process sends lost ones again.
set -eu
umask 077

: "${TRAIND_BROKER_PASSWORD:?set it to the password that stands in TRAIND_BROKER_URL}"
if [ "${#TRAIND_BROKER_PASSWORD}" -lt 12 ]; then
  echo "TRAIND_BROKER_PASSWORD has ${#TRAIND_BROKER_PASSWORD} characters, 12 is the least: openssl rand -hex 24" >&2
  exit 2
fi

server=$(command -v valkey-server || command -v redis-server) || {
  echo "neither valkey-server nor redis-server is on PATH: install one" >&2
  exit 2
}
hash=$(printf %s "$TRAIND_BROKER_PASSWORD" | sha256sum | cut -d ' ' -f 1)
users="${BROKER_FOLDER:-/tmp}/users.acl"
here=$(dirname "$0")
sed "s/PASSWORD_SHA256/$hash/" "$here/users.acl" > "$users"
unset TRAIND_BROKER_PASSWORD

exec "$server" --aclfile "$users" --save "" --appendonly no --maxmemory-policy noeviction --loglevel warning \
  --dir "${BROKER_FOLDER:-/tmp}" "$@"
