/** A webhook that is not signed as it should be, is too old, or cannot be read. */
export class WebhookRefused extends Error {
  readonly code: 'bad_signature' | 'unreadable';

  constructor(code: WebhookRefused['code'], message: string) {
    super(message);
    this.name = 'WebhookRefused';
    this.code = code;
  }
}
