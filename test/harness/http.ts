import { randomUUID } from 'node:crypto';
import type { Order } from '../../domain/order.ts';

// oxlint-disable-next-line typescript/no-explicit-any -- tests look into bodies of every shape
type Body = any;

export interface Answer<T = Body> {
  status: number;
  headers: Headers;
  body: T;
}

export interface RequestOptions {
  token?: string | undefined;
  body?: unknown;
  /** Sent as it is, instead of `body`. */
  raw?: string | Buffer;
  headers?: Record<string, string>;
}

export const address = {
  name: 'John Smith',
  line1: '1 Main Street',
  city: 'Springfield',
  postalCode: '12345',
  country: 'US',
};

/** What an order costs nothing to say: one laptop, unless told otherwise. */
export const orderOf = (lines: { sku: string; quantity: number }[], more: Record<string, unknown> = {}) => ({
  lines,
  shippingAddress: address,
  payment: { method: 'card', token: 'tok_ok' },
  ...more,
});

/** A caller of one API process. */
export class Api {
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  async request<T = Body>(method: string, path: string, options: RequestOptions = {}): Promise<Answer<T>> {
    const { token, body, raw, headers } = options;
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...((body !== undefined || raw !== undefined) && { 'content-type': 'application/json' }),
        ...headers,
      },
      body: (raw ?? (body === undefined ? null : JSON.stringify(body))) as string,
    });
    const text = await response.text();
    const isJson = /\bjson\b/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      headers: response.headers,
      body: (isJson && text !== '' ? JSON.parse(text) : text) as T,
    };
  }

  async login(email: string): Promise<string> {
    const { body } = await this.request<{ accessToken: string }>('POST', '/v1/auth/login', {
      body: { email, password: 'demo-password' },
    });
    return body.accessToken;
  }

  place(token: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer<Order>> {
    return this.request('POST', '/v1/orders', {
      token,
      body,
      headers: { 'idempotency-key': randomUUID(), ...headers },
    });
  }
}
