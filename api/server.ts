import { randomUUID } from 'node:crypto';
import { IncomingMessage, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { Socket } from 'node:net';
import { dirname } from 'node:path';
import express, { type Express, type RequestHandler, Router } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import type { Callers } from './callers.ts';
import { type Endpoint, mount } from './endpoint.ts';
import { describeApi } from './openapi.ts';
import { answerOptions, answerOtherMethods, noSuchRoute, problemHandler } from './problems.ts';
import type { Caller } from './tokens.ts';

export interface ServerOptions {
  endpoints: Endpoint[];
  callers: Callers;
  /** Limits how often somebody may call. */
  limit: RequestHandler;
  /** Measures every request. */
  measure: RequestHandler;
  logger: Logger;
  /** Express's `trust proxy`: how many proxies are in front, or their addresses. */
  trustProxy: string | number | undefined;
}

/** The HTTP application: every endpoint, its description at /openapi.json, and pages to read it at /docs. */
export function createServer(options: ServerOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.enable('strict routing');
  app.set('etag', false);
  app.set('query parser', 'simple');
  if (options.trustProxy !== undefined) app.set('trust proxy', options.trustProxy);

  const security = securityHeaders();
  app.use((request, response, next) => {
    const given = request.headers['x-request-id'];
    const requestId = typeof given === 'string' && /^[\x21-\x7e]{1,200}$/.test(given) ? given : randomUUID();
    response.locals.requestId = requestId;
    response.setHeaders(security).setHeader('X-Request-Id', requestId);
    next();
  });
  app.use(logRequests(options.logger), options.measure);

  const methodsOf = methodsByPath([...options.endpoints, ...PAGES]);
  app.options('/*path', answerOptions(methodsOf));
  app.use(answerOtherMethods(methodsByName(options.endpoints)));
  const router = Router({ caseSensitive: true, strict: true });
  for (const definition of options.endpoints) mount(router, options.callers, options.limit, definition);
  app.use(router);

  let description: ReturnType<typeof describeApi> | undefined;
  app.get('/openapi.json', (_request, response) => {
    response.json((description ??= describeApi(options.endpoints)));
  });
  app.get('/docs', (_request, response) => response.redirect(301, '/docs/'));
  app.get('/docs/swagger-initializer.js', (_request, response) => {
    response
      .type('text/javascript')
      .send(
        "window.ui = SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true });\n",
      );
  });
  app.use('/docs', express.static(swaggerFolder, { redirect: false }));

  app.use(answerOtherMethods(methodsOf), noSuchRoute);
  app.use(problemHandler(options.logger));
  return app;
}

/** The headers that helmet sets, which are the same for every answer. */
function securityHeaders(): Map<string, string> {
  const answer = new ServerResponse(new IncomingMessage(new Socket()));
  helmet({
    strictTransportSecurity: false,
    contentSecurityPolicy: { directives: { upgradeInsecureRequests: null } },
  })(answer.req, answer, () => undefined);
  return new Map(Object.entries(answer.getHeaders()).map(([name, value]) => [name, String(value)]));
}

const swaggerFolder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist'));

const PAGES = ['/openapi.json', '/docs', '/docs/'].map((path) => ({ method: 'get' as const, path }));

type Route = Pick<Endpoint, 'method' | 'path'>;

/** Which methods the endpoints have at a path that is named as it is. */
function methodsByName(endpoints: Route[]): (path: string) => string[] {
  const methods = new Map<string, string[]>();
  for (const { method, path } of endpoints) methods.set(path, [...(methods.get(path) ?? []), method]);
  return (path) => methods.get(path) ?? [];
}

/** Which methods the endpoints have at a path; a path that is named as it is means no parameter. */
function methodsByPath(endpoints: Route[]): (path: string) => string[] {
  const methodsNamed = methodsByName(endpoints);
  const patterns = endpoints.map(({ method, path }) => ({
    method,
    pattern: new RegExp(`^${path.replaceAll(/:\w+/g, '[^/]+')}$`),
  }));
  return (path) => {
    const named = methodsNamed(path);
    if (named.length > 0) return named;
    return patterns.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method);
  };
}

const logRequests =
  (logger: Logger): RequestHandler =>
  (request, response, next) => {
    const began = performance.now();
    response.once('close', () => {
      logger.info(
        {
          requestId: response.locals.requestId as string,
          method: request.method,
          path: request.path,
          status: response.statusCode,
          ms: Math.round(performance.now() - began),
          caller: (response.locals.caller as Caller | undefined)?.id,
        },
        'request',
      );
    });
    next();
  };
