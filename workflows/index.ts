export { order } from './order.ts';
export { orderReturn as return } from './return.ts';
export { refund } from './refund.ts';
export { notification } from './notification.ts';
export { reconcile } from './reconcile.ts';
export { webhook } from './webhook-delivery.ts';
