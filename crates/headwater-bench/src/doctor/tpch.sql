-- Questions of a trading company over the tables of TPC-H: of our own writing, in its spirit. None takes forever without an index, which
-- would make every other one not count.

-- name: T01 revenue of one quarter by return flag
SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice * (1 - l_discount)), count(*)
FROM lineitem WHERE l_shipdate >= date '1997-01-01' AND l_shipdate < date '1997-02-01'
GROUP BY l_returnflag, l_linestatus;

-- name: T02 cheapest suppliers of a kind of part
SELECT s_acctbal, s_name, p_partkey, ps_supplycost
FROM part JOIN partsupp ON ps_partkey = p_partkey JOIN supplier ON s_suppkey = ps_suppkey
WHERE p_size = 23 AND p_type LIKE '%STEEL'
  AND ps_supplycost = (SELECT min(ps_supplycost) FROM partsupp WHERE ps_partkey = p_partkey)
ORDER BY s_acctbal DESC, p_partkey LIMIT 50;

-- name: T03 largest open orders of a segment
SELECT o_orderkey, o_orderdate, sum(l_extendedprice * (1 - l_discount)) AS revenue
FROM customer JOIN orders ON o_custkey = c_custkey JOIN lineitem ON l_orderkey = o_orderkey
WHERE c_mktsegment = 'MACHINERY' AND o_orderdate >= date '1995-03-01' AND o_orderdate < date '1995-03-15'
  AND l_shipdate > date '1995-03-15'
GROUP BY o_orderkey, o_orderdate ORDER BY revenue DESC LIMIT 10;

-- name: T04 late lines of one month by priority
SELECT o_orderpriority, count(*) FROM orders
WHERE o_orderdate >= date '1996-05-01' AND o_orderdate < date '1996-06-01'
  AND EXISTS (SELECT * FROM lineitem WHERE l_orderkey = o_orderkey AND l_commitdate < l_receiptdate)
GROUP BY o_orderpriority ORDER BY o_orderpriority;

-- name: T05 what nations of a region sell to each other
SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
FROM region JOIN nation ON n_regionkey = r_regionkey JOIN customer ON c_nationkey = n_nationkey
JOIN orders ON o_custkey = c_custkey JOIN lineitem ON l_orderkey = o_orderkey
JOIN supplier ON s_suppkey = l_suppkey AND s_nationkey = c_nationkey
WHERE r_name = 'ASIA' AND o_orderdate >= date '1996-01-01' AND o_orderdate < date '1996-04-01'
GROUP BY n_name ORDER BY revenue DESC;

-- name: T06 what a change of discounts would bring
SELECT sum(l_extendedprice * l_discount) FROM lineitem
WHERE l_shipdate >= date '1995-01-01' AND l_shipdate < date '1995-07-01'
  AND l_discount BETWEEN 0.05 AND 0.06 AND l_quantity < 10;

-- name: T07 all lines of one part
SELECT l_orderkey, l_shipdate, l_quantity, l_extendedprice FROM lineitem WHERE l_partkey = 112233 ORDER BY l_shipdate DESC;

-- name: T08 share of a supplier in one kind of part
SELECT extract(year FROM o_orderdate) AS year, sum(l_extendedprice * (1 - l_discount))
FROM part JOIN lineitem ON l_partkey = p_partkey JOIN orders ON o_orderkey = l_orderkey
WHERE p_type = 'ECONOMY ANODIZED STEEL' AND p_size = 15 GROUP BY 1 ORDER BY 1;

-- name: T09 profit by nation for parts of a colour
SELECT n_name, sum(l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity) AS profit
FROM part JOIN lineitem ON l_partkey = p_partkey
JOIN partsupp ON ps_partkey = l_partkey AND ps_suppkey = l_suppkey
JOIN supplier ON s_suppkey = l_suppkey JOIN nation ON n_nationkey = s_nationkey
WHERE p_brand = 'Brand#34' AND p_container = 'MED PKG' GROUP BY n_name ORDER BY n_name;

-- name: T10 customers who returned most in a month
SELECT c_custkey, c_name, sum(l_extendedprice * (1 - l_discount)) AS lost
FROM orders JOIN lineitem ON l_orderkey = o_orderkey JOIN customer ON c_custkey = o_custkey
WHERE o_orderdate >= date '1994-02-01' AND o_orderdate < date '1994-03-01' AND l_returnflag = 'R'
GROUP BY c_custkey, c_name ORDER BY lost DESC LIMIT 20;

-- name: T11 stock of a nation's suppliers
SELECT ps_partkey, sum(ps_supplycost * ps_availqty) AS worth
FROM partsupp JOIN supplier ON s_suppkey = ps_suppkey JOIN nation ON n_nationkey = s_nationkey
WHERE n_name = 'KENYA' GROUP BY ps_partkey ORDER BY worth DESC LIMIT 100;

-- name: T12 lines that came late by rail
SELECT l_shipmode, count(*) FROM orders JOIN lineitem ON l_orderkey = o_orderkey
WHERE l_shipmode = 'RAIL' AND l_receiptdate >= date '1995-06-01' AND l_receiptdate < date '1995-08-01'
  AND l_commitdate < l_receiptdate GROUP BY l_shipmode;

-- name: T13 one customer's orders
SELECT o_orderkey, o_orderdate, o_totalprice FROM orders WHERE o_custkey = 4242 ORDER BY o_orderdate DESC;

-- name: T14 promotions of a fortnight
SELECT sum(CASE WHEN p_type LIKE 'PROMO%' THEN l_extendedprice * (1 - l_discount) ELSE 0 END)
       / sum(l_extendedprice * (1 - l_discount))
FROM lineitem JOIN part ON p_partkey = l_partkey
WHERE l_shipdate >= date '1996-08-01' AND l_shipdate < date '1996-08-15';

-- name: T15 the best supplier of a week
SELECT l_suppkey, sum(l_extendedprice * (1 - l_discount)) AS revenue FROM lineitem
WHERE l_shipdate >= date '1993-09-01' AND l_shipdate < date '1993-09-08'
GROUP BY l_suppkey ORDER BY revenue DESC LIMIT 1;

-- name: T16 suppliers by size of part
SELECT p_size, count(DISTINCT ps_suppkey) FROM partsupp JOIN part ON p_partkey = ps_partkey
WHERE p_brand = 'Brand#21' AND p_size IN (3, 14, 23, 45) GROUP BY p_size;

-- name: T17 small lines of a part's box
SELECT sum(l_extendedprice) / 7.0 FROM lineitem JOIN part ON p_partkey = l_partkey
WHERE p_brand = 'Brand#23' AND p_container = 'MED BOX' AND l_quantity < 3;

-- name: T18 the dearest orders of a clerk
SELECT o_orderkey, o_totalprice, sum(l_quantity) FROM orders JOIN lineitem ON l_orderkey = o_orderkey
WHERE o_clerk = 'Clerk#000000333' GROUP BY o_orderkey, o_totalprice ORDER BY o_totalprice DESC LIMIT 20;

-- name: T19 parts in air freight of a brand
SELECT sum(l_extendedprice * (1 - l_discount)) FROM lineitem JOIN part ON p_partkey = l_partkey
WHERE p_brand = 'Brand#12' AND p_container IN ('SM CASE', 'SM BOX') AND l_quantity BETWEEN 1 AND 11
  AND l_shipmode IN ('AIR', 'REG AIR');

-- name: T20 customers who never order, by country code
SELECT substring(c_phone FROM 1 FOR 2) AS code, count(*), sum(c_acctbal) FROM customer
WHERE c_acctbal > 9000 AND NOT EXISTS (SELECT 1 FROM orders WHERE o_custkey = c_custkey)
GROUP BY 1 ORDER BY 1;
