export { order } from './order.ts';
export { orderReturn as return } from './return.ts';
export { refund } from './refund.ts';
export { notification } from './notification.ts';
export { importFile as import } from './import.ts';
export { reconcile } from './reconcile.ts';
export { carts } from './carts.ts';
export { webhook } from './webhook-delivery.ts';
