export { order } from './order.ts';
export { notification } from './notification.ts';
