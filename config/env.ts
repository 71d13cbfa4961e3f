import { z } from 'zod';

const port = z.coerce.number().int().min(1).max(65535);
const flag = z.enum(['true', 'false']).transform((value) => value === 'true');
const count = z.coerce.number().int().min(1);

/** As printed in .env.example: it signs nothing but the webhooks of companies that are not there. */
export const EXAMPLE_WEBHOOK_SECRET = 'whsec_aG9sZGZhc3QtbW9jay13ZWJob29rLXNlY3JldCEh';

const shared = z.object({
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }),
  DATABASE_POOL_SIZE: count.default(12),
  SMTP_URL: z.url({ protocol: /^smtps?$/ }),
  MAIL_FROM: z.string().default('Holdfast <orders@holdfast.example>'),
  STOCK_MANAGER_EMAIL: z.email().default('stock@example.com'),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  WORKFLOW_BUNDLE: z.string().optional(),
  MAX_CACHED_WORKFLOWS: count.default(300),
  WORKER_DEPLOYMENT_NAME: z
    .string()
    .regex(/^(?!__)[^.:]+$/, 'Temporal takes no ".", no ":" and no "__" at the start')
    .default('holdfast'),
  WORKER_BUILD_ID: z.string().optional(),
  NOTIFICATION_MAX_ATTEMPTS: count.default(20),
  PAYMENT_PROVIDER: z.enum(['mock', 'stripe']).default('mock'),
  STRIPE_API_KEY: z.string().optional(),
  STRIPE_WEBHOOK_SECRET: z.string().optional(),
  MOCK_WEBHOOK_SECRET: z.string().startsWith('whsec_').default(EXAMPLE_WEBHOOK_SECRET),
  WEBHOOK_ALLOW_PRIVATE: flag.default(false),
  WEBHOOK_RETRY_SECONDS: z
    .string()
    .regex(/^\d{1,6}(\.\d{1,3})?(,\d{1,6}(\.\d{1,3})?){0,49}$/, 'numbers with commas between them')
    .default('5,300,1800,7200,18000,36000,50400,72000,86400')
    .transform((list) => list.split(',').map(Number)),
  WEBHOOK_TIMEOUT_SECONDS: z.coerce.number().positive().max(30).default(15),
  WEBHOOK_DISABLE_AFTER_HOURS: z.coerce.number().min(0).default(120),
  PAYMENT_TIMEOUT_SECONDS: z.coerce.number().positive().default(1800),
  RECONCILE_INTERVAL_SECONDS: count.default(60),
  CART_INTERVAL_SECONDS: count.default(300),
});

/** Who pays through Stripe has to say with which account. */
const withStripe = (environment: z.infer<typeof shared>, context: z.RefinementCtx): void => {
  for (const name of ['STRIPE_API_KEY', 'STRIPE_WEBHOOK_SECRET'] as const) {
    if (environment.PAYMENT_PROVIDER !== 'stripe' || environment[name] !== undefined) continue;
    context.addIssue({ code: 'custom', path: [name], message: 'needed with PAYMENT_PROVIDER=stripe' });
  }
  if (
    environment.PAYMENT_PROVIDER === 'stripe' &&
    environment.MOCK_WEBHOOK_SECRET === EXAMPLE_WEBHOOK_SECRET
  ) {
    const message =
      'the published example signs the carrier webhook: with PAYMENT_PROVIDER=stripe set one of your own';
    context.addIssue({ code: 'custom', path: ['MOCK_WEBHOOK_SECRET'], message });
  }
};

const api = shared.extend({
  HOST: z.string().default('127.0.0.1'),
  PORT: port.default(3000),
  SHIP_WITHIN_HOURS: z.coerce.number().positive().default(48),
  CART_EXPIRY_DAYS: z.coerce.number().positive().max(3650).default(30),
  CART_REMINDER_HOURS: z.coerce.number().positive().max(87_600).default(24),
  JWT_SECRET: z.string().min(32).optional(),
  JWT_ACCEPTED_SECRETS: z
    .string()
    .transform((secrets) => secrets.split(/\s+/).filter(Boolean))
    .default([]),
  API_WORKER: flag.default(true),
  WORKFLOW_LANE_LIMIT: count.default(32),
  RATE_LIMIT_PER_MINUTE: count.default(3000),
  LOGIN_LIMIT_PER_MINUTE: count.default(10),
  EVENTS_HEARTBEAT_SECONDS: count.default(15),
  TRUST_PROXY: z
    .string()
    .transform((value) => (/^\d+$/.test(value) ? Number(value) : value))
    .optional(),
});

const worker = shared.extend({
  HOST: z.string().default('127.0.0.1'),
  WORKER_HTTP_PORT: port.optional(),
});

const database = shared.pick({ DATABASE_URL: true, LOG_LEVEL: true });

export type ApiEnvironment = z.infer<typeof api>;
export type WorkerEnvironment = z.infer<typeof worker>;

/** The settings of an API process. Throws one readable error that names every bad or missing variable. */
export const apiEnvironment = (): ApiEnvironment => parse(api.superRefine(withStripe));

/** The settings of a worker process. Throws one readable error that names every bad or missing variable. */
export const workerEnvironment = (): WorkerEnvironment => parse(worker.superRefine(withStripe));

/** The settings of the migrate and seed commands. */
export const databaseEnvironment = () => parse(database);

function parse<T extends z.ZodType>(schema: T): z.infer<T> {
  const given = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ''));
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const name = issue.path.join('.');
    return given[name] === undefined ? `${name} is not set` : `${name}: ${issue.message}`;
  });
  throw new Error(`The environment is not usable: ${problems.join('; ')}`);
}
