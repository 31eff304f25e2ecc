-- What a shop's program asks all day long.

-- name: P01 a customer's newest orders
-- calls: 20000
SELECT id, placed, total FROM shop_order WHERE customer_id = 4711 ORDER BY placed DESC LIMIT 20;

-- name: P02 sign in
-- calls: 5000
SELECT id, name FROM shop_customer WHERE lower(email) = 'mail77@example.org';

-- name: P03 what is to be packed
-- calls: 600
SELECT id, placed FROM shop_order WHERE state = 'paid' ORDER BY placed LIMIT 100;

-- name: P04 the basket's lines
-- calls: 20000
SELECT product_id, quantity FROM shop_line WHERE order_id = 12345;

-- name: P05 search by a part of the name
-- calls: 12000
SELECT id, name FROM shop_product WHERE name ILIKE '%tower 42%';

-- name: P06 products with a tag
-- calls: 15000
SELECT id, name FROM shop_product WHERE tags @> '["t77"]';

-- name: P07 customers who wrote and wait
-- calls: 12000
SELECT id, customer_id FROM shop_ticket WHERE answered IS NULL ORDER BY written;

-- name: P08 sales of a product this month
-- calls: 50
SELECT sum(quantity) FROM shop_line WHERE product_id = 77;

-- name: P09 visits of an hour
-- calls: 50
SELECT count(*) FROM shop_visit WHERE seen >= '2026-02-03 10:00Z' AND seen < '2026-02-03 11:00Z';

-- name: P10 an order is placed
-- calls: 4000
INSERT INTO shop_order (customer_id, state, placed, total) VALUES (1, 'new', now(), 3);

-- name: P11 an order is paid
-- calls: 4000
UPDATE shop_order SET state = 'paid' WHERE id = 12345;

-- name: P12 stock is counted down
-- calls: 40000
UPDATE shop_product SET stock = stock - 1 WHERE id = 77;

-- name: P13 visits are written
-- calls: 100000
INSERT INTO shop_visit (customer_id, page, seen) VALUES (1, 2, now());
