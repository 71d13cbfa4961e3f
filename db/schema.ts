import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { ImportFormat, ImportStatus, ImportType, RowError } from '../domain/imports.ts';
import type { Role } from '../domain/roles.ts';
import type {
  Address,
  Cancellation,
  LineUnits,
  PlacedOrder,
  Rejection,
  Shipment,
  ShipmentStatus,
} from '../domain/order.ts';
import type { Payment, PaymentStatus } from '../domain/payments.ts';
import type { ReturnStatus } from '../domain/returns.ts';
import type { OrderStatus } from '../domain/states.ts';
import type { DeliveryAttempt, DeliveryStatus, DisabledReason } from '../domain/webhooks.ts';

type Defaulted<T> = Generated<T>;
type Timestamp = ColumnType<Date, Date | string | undefined, Date | string>;
type Json<T extends object> = JSONColumnType<T, string, string>;

interface Users {
  id: string;
  email: string | null;
  name: string;
  role: Role;
  password_hash: string | null;
  language: Defaulted<string>;
  version: Defaulted<number>;
  created_at: Timestamp;
  updated_at: Timestamp;
  deleted_at: ColumnType<Date | null, undefined, Date>;
  erase_at: ColumnType<Date | null, undefined, Date | null>;
}

interface CustomerAddresses {
  id: string;
  customer_id: string;
  address: Json<Address>;
  created_at: Timestamp;
  updated_at: Timestamp;
}

interface ApiKeys {
  id: string;
  name: string;
  role: Exclude<Role, 'customer'>;
  key_hash: string;
  created_by: string;
  created_at: Timestamp;
  expires_at: ColumnType<Date | null, Date | null, never>;
  last_used_at: ColumnType<Date | null, undefined, Date>;
  revoked_at: ColumnType<Date | null, undefined, Date>;
}

interface RefreshTokens {
  token_hash: string;
  family: string;
  user_id: string;
  expires_at: ColumnType<Date, Date, Date>;
  used_at: ColumnType<Date | null, Date | undefined, Date | null>;
}

interface SigningKeys {
  kid: string;
  secret: string;
  created_at: Timestamp;
  retired_at: ColumnType<Date | null, undefined, Date>;
}

interface IdempotencyKeys {
  caller: string;
  route: string;
  key: string;
  request_hash: string;
  created_at: Timestamp;
}

interface Products {
  sku: string;
  name: string;
  description: Defaulted<string>;
  category: Defaulted<string>;
  price: number;
  currency: string;
  image_url: string | null;
  active: Defaulted<boolean>;
  version: Defaulted<number>;
  created_at: Timestamp;
  updated_at: Timestamp;
}

interface Words {
  word: string;
}

interface ProductWords {
  word: string;
  sku: string;
}

interface Stock {
  sku: string;
  on_hand: number;
  reserved: Defaulted<number>;
  low_stock_threshold: Defaulted<number>;
  version: Defaulted<number>;
  updated_at: Timestamp;
}

export type MovementType = 'adjustment' | 'reservation' | 'release' | 'shipment' | 'return';

interface Movements {
  id: Generated<number>;
  sku: string;
  type: MovementType;
  quantity: number;
  order_id: string | null;
  reason: string | null;
  on_hand_after: number;
  reserved_after: number;
  at: Timestamp;
}

interface StockManager {
  only_one: Defaulted<boolean>;
  email: string;
}

interface Chunks {
  upload_id: string;
  number: number;
  content: Buffer;
  created_at: Timestamp;
}

interface Imports {
  id: string;
  upload_id: string;
  type: ImportType;
  format: ImportFormat;
  status: Defaulted<ImportStatus>;
  processed: Defaulted<number>;
  failed: Defaulted<number>;
  errors: JSONColumnType<RowError[], string | undefined, string>;
  created_at: Timestamp;
  updated_at: Timestamp;
}

interface Orders {
  id: string;
  number: string;
  customer_id: string;
  placed_by: string;
  request_hash: string;
  status: OrderStatus;
  payment_status: Defaulted<PaymentStatus>;
  payment_method: 'card';
  payment_token: string;
  currency: string;
  total: number;
  shipping_address: Json<Address>;
  note: string | null;
  rejection: JSONColumnType<Rejection, string | null, string> | null;
  cancellation: JSONColumnType<Cancellation, string | null, string> | null;
  version: Defaulted<number>;
  step: Defaulted<number>;
  payment_provider: Defaulted<string>;
  pay_by: ColumnType<Date | null, Date | undefined, Date | null>;
  ship_by: ColumnType<Date | null, Date | undefined, Date | null>;
  last_event_seq: number;
  created_at: Timestamp;
  updated_at: Timestamp;
}

interface OrderLines {
  order_id: string;
  created_at: Timestamp;
  position: number;
  id: string;
  sku: string;
  name: string;
  quantity: number;
  unit_price: number;
  cancelled_quantity: Defaulted<number>;
  shipped_quantity: Defaulted<number>;
  returned_quantity: Defaulted<number>;
  reserved_quantity: Defaulted<number>;
}

interface OrderEvents {
  order_id: string;
  seq: number;
  type: string;
  at: Timestamp;
  actor: string;
  data: Json<Record<string, unknown>>;
  command_id: string | null;
  xid: Defaulted<string>;
  position: Defaulted<number>;
}

interface Payments {
  id: string;
  order_id: string;
  ordinal: number;
  type: Payment['type'];
  status: Payment['status'];
  amount: number;
  currency: string;
  provider: string;
  reference: string | null;
  authorization_id: string | null;
  multicapture: Defaulted<boolean>;
  awaiting: Defaulted<boolean>;
  final: Defaulted<boolean>;
  reason: string | null;
  return_id: string | null;
  created_at: Timestamp;
  updated_at: Timestamp;
}

interface Shipments {
  id: string;
  order_id: string;
  ordinal: number;
  carrier: string;
  tracking_number: string | null;
  status: ShipmentStatus;
  lines: Json<LineUnits[]>;
  events: Json<Shipment['events']>;
  created_at: Timestamp;
}

interface Returns {
  id: string;
  order_id: string;
  ordinal: number;
  status: ReturnStatus;
  lines: Json<LineUnits[]>;
  reason: string;
  waived: Defaulted<number>;
  created_at: Timestamp;
  updated_at: Timestamp;
}

interface Notifications {
  id: string;
  channel: 'email' | 'sms' | 'push';
  recipient: string;
  template: string;
  variables: Json<Record<string, unknown>>;
  language: Defaulted<string>;
  subject: string | null;
  body: string | null;
  status: Defaulted<'queued' | 'sent' | 'dead_letter'>;
  claimed_until: ColumnType<Date | null, Date | undefined, Date | null>;
  attempts: Json<{ at: string; error?: string }[]>;
  customer_id: string | null;
  order_id: string | null;
  event_type: string | null;
  created_at: Timestamp;
  due_at: ColumnType<Date | null, Date | null | undefined, Date | null>;
  past_attempts: Defaulted<number>;
  template_version: string | null;
  sent_xid: string | null;
  sent_position: number | null;
}

interface Preferences {
  customer_id: string;
  email: boolean;
  sms: boolean;
  push: boolean;
  phone: string | null;
  quiet_start: string | null;
  quiet_end: string | null;
  time_zone: string | null;
  updated_at: Timestamp;
}

interface PushMessages {
  id: string;
  recipient: string;
  title: string;
  body: string;
  at: Timestamp;
}

interface SmsMessages {
  id: string;
  recipient: string;
  body: string;
  at: Timestamp;
}

interface WebhookCursor {
  only_one: Defaulted<boolean>;
  xid: string;
  position: number;
}

interface WebhookEndpoints {
  id: string;
  url: string;
  event_types: Defaulted<string[]>;
  description: Defaulted<string>;
  enabled: Defaulted<boolean>;
  disabled_reason: DisabledReason | null;
  secret: string;
  previous_secret: string | null;
  previous_secret_until: ColumnType<Date | null, Date | undefined, Date | null>;
  /** Replaced before the previous one, and within its day. */
  older_secrets: ColumnType<{ secret: string; until: string }[], string | undefined, string>;
  failing_since: ColumnType<Date | null, Date | undefined, Date | null>;
  deleted_at: ColumnType<Date | null, Date | undefined, Date | null>;
  created_at: Timestamp;
  updated_at: Timestamp;
}

interface WebhookDeliveries {
  id: string;
  endpoint_id: string;
  event_type: string;
  order_id: string | null;
  payload: string;
  status: Defaulted<DeliveryStatus>;
  attempts: JSONColumnType<DeliveryAttempt[], string | undefined, string>;
  round: Defaulted<number>;
  failures: Defaulted<number>;
  next_attempt_at: ColumnType<Date | null, Date | undefined, Date | null>;
  tell_at: ColumnType<Date | null, Date | null | undefined, Date | null>;
  in_line: Defaulted<boolean>;
  created_at: Timestamp;
}

interface Outbox {
  order_id: string;
  accepted: Json<PlacedOrder>;
  created_at: Timestamp;
  claimed_until: ColumnType<Date | null, Date | undefined, Date | null>;
}

interface Carts {
  id: string;
  customer_id: string | null;
  currency: string | null;
  order_id: string | null;
  locked_at: ColumnType<Date | null, Date | undefined, Date | null>;
  checkouts: Defaulted<number>;
  expires_at: ColumnType<Date, Date, Date>;
  remind_at: ColumnType<Date | null, Date | undefined, Date | null>;
}

interface CartItems {
  cart_id: string;
  sku: string;
  position: Generated<number>;
  quantity: number;
  price: number;
  available: number | null;
}

/** The tables as Kysely sees them: one Postgres schema an area, the SQL is in migrations/. */
export interface Schema {
  'identity.users': Users;
  'identity.refresh_tokens': RefreshTokens;
  'identity.customer_addresses': CustomerAddresses;
  'identity.api_keys': ApiKeys;
  'identity.signing_keys': SigningKeys;
  'identity.idempotency_keys': IdempotencyKeys;
  'catalogue.products': Products;
  'catalogue.words': Words;
  'catalogue.product_words': ProductWords;
  'inventory.stock': Stock;
  'inventory.movements': Movements;
  'inventory.stock_manager': StockManager;
  'importing.chunks': Chunks;
  'importing.imports': Imports;
  'ordering.orders': Orders;
  'ordering.order_lines': OrderLines;
  'ordering.order_events': OrderEvents;
  'ordering.payments': Payments;
  'ordering.shipments': Shipments;
  'ordering.returns': Returns;
  'ordering.outbox': Outbox;
  'messaging.notifications': Notifications;
  'shopping.carts': Carts;
  'shopping.cart_items': CartItems;
  'messaging.preferences': Preferences;
  'messaging.push_messages': PushMessages;
  'mock_company.sms_messages': SmsMessages;
  'messaging.webhook_cursor': WebhookCursor;
  'messaging.webhook_endpoints': WebhookEndpoints;
  'messaging.webhook_deliveries': WebhookDeliveries;
}
