import { MessageRefused } from '../message-refused.ts';
import type { Sms, SmsGateway } from './sms.ts';

/** What it sent; a message of the same id counts once. */
export interface SmsBooks {
  keep(message: Sms): Promise<void>;
}

/** The end of the numbers that nobody has, and of those whose network is always busy: for tries of one's own. */
const NOBODY = '0000000';
const BUSY = '0000001';

/** A gateway that is not there and keeps what it would have sent. */
export const mockSms = (books: SmsBooks): SmsGateway => ({
  concurrency: 8,
  async send(message) {
    if (message.to.endsWith(NOBODY)) throw new MessageRefused('Nobody has this number.');
    if (message.to.endsWith(BUSY)) throw new Error('The network is busy.');
    await books.keep(message);
  },
});
