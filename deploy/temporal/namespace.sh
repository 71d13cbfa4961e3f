#!/bin/sh
# Makes the namespace and its search attributes. Safe to run again.
# The connection comes from TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE.
set -eu

# Temporal answers a little later than its port opens, and knows a new namespace a little later than it made it.
patiently() {
  tries=60
  until output=$("$@" 2>&1); do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
      echo "$output" >&2
      exit 1
    fi
    sleep 2
  done
  echo "$output"
}

patiently temporal operator cluster health

if ! temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
  temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "${TEMPORAL_RETENTION:-72h}"
fi

patiently temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" \
  --name OrderStatus --type Keyword \
  --name CustomerId --type Keyword
