/** The password of every demo login. */
export const DEMO_PASSWORD = 'demo-password';

const person = (id: string, name: string, email: string, role: 'customer' | 'staff' | 'admin') => ({
  id,
  name,
  email,
  role,
});

export const demoUsers = [
  person('550e8400-e29b-41d4-a716-446655440100', 'Ada Admin', 'admin@example.com', 'admin'),
  person('550e8400-e29b-41d4-a716-446655440101', 'Sam Staff', 'staff@example.com', 'staff'),
  person('550e8400-e29b-41d4-a716-446655440000', 'John Smith', 'john.smith@example.com', 'customer'),
  person('550e8400-e29b-41d4-a716-446655440001', 'Jane Doe', 'jane.doe@example.com', 'customer'),
  person('550e8400-e29b-41d4-a716-446655440002', 'Robert Johnson', 'robert.johnson@example.com', 'customer'),
  person('550e8400-e29b-41d4-a716-446655440003', 'Emily Davis', 'emily.davis@example.com', 'customer'),
  person('550e8400-e29b-41d4-a716-446655440004', 'Michael Wilson', 'michael.wilson@example.com', 'customer'),
];

const product = (
  sku: string,
  name: string,
  category: string,
  price: number,
  description: string,
  onHand = 100,
) => ({
  sku,
  name,
  category,
  price,
  currency: 'USD',
  description,
  onHand,
});

export const demoProducts = [
  product('LAPTOP-15', 'Laptop 15"', 'computers', 129900, 'A 15 inch laptop with 16 GB of memory.'),
  product('LAPTOP-13', 'Laptop 13"', 'computers', 99900, 'A light 13 inch laptop.'),
  product('TABLET-11', 'Tablet 11"', 'computers', 59900, 'An 11 inch tablet with a pen.'),
  product('MONITOR-27', 'Monitor 27"', 'displays', 34900, 'A 27 inch monitor, 2560 by 1440.'),
  product('MONITOR-34', 'Ultrawide monitor 34"', 'displays', 64900, 'A curved 34 inch monitor.'),
  product('MOUSE-WL', 'Wireless mouse', 'accessories', 2999, 'A quiet wireless mouse.'),
  product(
    'KEYBOARD-MX',
    'Mechanical keyboard',
    'accessories',
    8999,
    'A mechanical keyboard with brown switches.',
  ),
  product('DOCK-USBC', 'USB-C dock', 'accessories', 15900, 'Two displays, three USB ports, one cable.'),
  product('WEBCAM-4K', 'Webcam 4K', 'accessories', 12900, 'A 4K webcam with a privacy shutter.'),
  product('HEADSET-NC', 'Noise cancelling headset', 'audio', 19900, 'A headset that keeps the office out.'),
  product('SPEAKER-BT', 'Bluetooth speaker', 'audio', 7900, 'A small speaker with twelve hours of battery.'),
  product('PHONE-6', 'Phone 6"', 'phones', 79900, 'A 6 inch phone, 256 GB.'),
  product('CHARGER-65', 'Charger 65 W', 'accessories', 3900, 'Charges a laptop and a phone at once.'),
  product(
    'CONSOLE-LE',
    'Game console, limited edition',
    'gaming',
    49900,
    'The limited edition. There are two.',
    2,
  ),
];
