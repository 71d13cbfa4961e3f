# One image for every process of Holdfast: the command picks which.
#   API      node dist/api/main.js      (the default)
#   worker   node dist/workers/main.js
#   migrate  node dist/db/migrate.js
#   seed     node dist/db/seed.js
#   rotate   node dist/db/rotate-signing-key.js

# Temporal's native core needs glibc, so Debian rather than Alpine.
ARG NODE_IMAGE=node:22.22.3-bookworm-slim

# No dependency needs its install script on Linux.
FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json tsconfig.sdk.json ./
COPY config config
COPY domain domain
COPY db db
COPY providers providers
COPY activities activities
COPY client client
COPY workflows workflows
COPY api api
COPY sdk sdk
COPY workers workers
RUN npm run build
# What the compiler leaves behind: files the code reads as they are.
COPY db/migrations dist/db/migrations
COPY providers/messages/templates dist/providers/messages/templates

FROM ${NODE_IMAGE} AS production-dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The core is shipped for five platforms in one package, and its sources too; an image needs one binary.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
    && cd node_modules/@temporalio/core-bridge \
    && find releases -mindepth 1 -maxdepth 1 ! -name "$(uname -m)-unknown-linux-gnu" -exec rm -r {} + \
    && rm -rf sdk-core

FROM ${NODE_IMAGE} AS runtime
# The core verifies TLS connections to Temporal against the system's certificates; slim images have none.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=production-dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json ./
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=3000 \
    WORKFLOW_BUNDLE=/app/dist/workflow-bundle.js
USER node
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/livez`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "dist/api/main.js"]
