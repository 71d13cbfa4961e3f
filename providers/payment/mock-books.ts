/**
 * What the mock payment company keeps, for all processes at once. Its intents have our payment's id (a UUID); amounts
 * are integers in minor units. Every call is one step that happens once or not at all.
 */
export interface PaymentBooks {
  /** Enters an intent; the second time for an id it changes nothing but the number of calls. One round trip. */
  enter(intent: NewIntent): Promise<EnteredIntent>;
  /** Takes `amount`; a `final` one, or any on a card without multicapture, gives the rest free. */
  capture(movement: Movement & { amount: number; final: boolean }): Promise<MovementAnswer>;
  /** Gives free what is not captured, or ends an intent that is still processing; otherwise does nothing. */
  void(movement: Movement): Promise<MovementAnswer>;
  refund(movement: Movement & { amount: number }): Promise<MovementAnswer>;
  /**
   * Decides on an intent that is processing, or authorizes one that failed, because customers try again; on no other.
   * Tells what is known of it, undefined where nothing is.
   */
  decide(
    paymentId: string,
    status: 'authorized' | 'failed',
  ): Promise<Pick<NewIntent, 'multicapture'> | undefined>;
  /** The ids of the intents since `since` that are authorized or processing, oldest first. */
  listOpen(since: Date, limit: number): Promise<string[]>;
}

/** The same key gives the answer of the first time, and nothing happens again. */
export type MovementAnswer = 'done' | 'authorization_expired' | 'not_possible';

export interface Movement {
  key: string;
  paymentId: string;
}

export interface NewIntent {
  paymentId: string;
  amount: number;
  currency: string;
  token: string;
  status: 'authorized' | 'processing' | 'declined';
  multicapture: boolean;
  /** Its first capture will find that it has expired. */
  expires: boolean;
}

export interface EnteredIntent {
  /** It is the intent that was asked for, and not another one under the same id. */
  same: boolean;
  /** How often it was asked for, this time included. */
  calls: number;
  ageMs: number;
}
