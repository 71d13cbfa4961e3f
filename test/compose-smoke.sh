#!/usr/bin/env bash
# Against a running platform: log in as a demo customer, place an order, cancel it, and find the stock as it was.
set -euo pipefail

api=${API_URL:-http://127.0.0.1:3000}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# request <expected status> <method> <path> [curl arguments]; leaves the body in $answer.
request() {
  local expected=$1 method=$2 path=$3
  shift 3
  local status
  status=$(curl --silent --show-error --max-time 60 --output "$answer" --write-out '%{http_code}' \
    --request "$method" "$@" "$api$path")
  echo "$method $path -> $status"
  if [ "$status" != "$expected" ]; then
    echo "expected $expected, got:"
    cat "$answer"
    exit 1
  fi
}

expect() {
  local actual
  actual=$(jq --raw-output "$1" "$answer")
  if [ "$actual" != "$2" ]; then
    echo "expected $1 to be $2, got $actual in:"
    cat "$answer"
    exit 1
  fi
}

login() {
  request 200 POST /v1/auth/login --header 'Content-Type: application/json' \
    --data "{\"email\": \"$1\", \"password\": \"demo-password\"}"
  token=$(jq --raw-output .accessToken "$answer")
}

request 200 GET /readyz

login staff@example.com
staff=$token
login john.smith@example.com
customer=$token

request 200 GET /v1/inventory/MOUSE-WL --header "Authorization: Bearer $staff"
available=$(jq .available "$answer")

request 201 POST /v1/orders --header "Authorization: Bearer $customer" \
  --header 'Content-Type: application/json' --header "Idempotency-Key: smoke-$RANDOM-$$" --header 'Prefer: wait=30' \
  --data '{
    "lines": [{"sku": "MOUSE-WL", "quantity": 2}],
    "shippingAddress": {
      "name": "John Smith", "line1": "1 Main St", "city": "Springfield", "postalCode": "62701", "country": "US"
    },
    "payment": {"method": "card", "token": "tok_ok"}
  }'
expect .status confirmed
order=$(jq --raw-output .id "$answer")

request 200 GET /v1/inventory/MOUSE-WL --header "Authorization: Bearer $staff"
expect .available $((available - 2))

request 200 POST "/v1/orders/$order/cancel" --header "Authorization: Bearer $customer" \
  --header 'Content-Type: application/json' --data '{"reason": "smoke test"}'
expect .status cancelled

request 200 GET "/v1/orders/$order" --header "Authorization: Bearer $customer"
expect .status cancelled

request 200 GET /v1/inventory/MOUSE-WL --header "Authorization: Bearer $staff"
expect .available "$available"

echo "The order was placed and cancelled, and the stock is back."
