//! Tables and indexes.

use headwater_model::exam::Check;

use super::{Ask, Of, limit, page};

/// A table of the information schema as statements name it.
macro_rules! quoted {
    ($alias:literal) => {
        concat!(
            "CONCAT('`', REPLACE(",
            $alias,
            ".table_schema, '`', '``'), '`.`', REPLACE(",
            $alias,
            ".table_name, '`', '``'), '`')"
        )
    };
}

pub(super) const CHECKS: &[Ask] = &[
    Ask {
        check: Check {
            id: "HW4001",
            page: page!("HW4001"),
            asks: concat!(
                "SELECT CONCAT(t.table_schema, '.', t.table_name) AS subject, 'high' AS severity,
       'has no primary key: replicas look for each changed row in all of it, and it cannot be followed' AS what,
       t.table_schema AS table_schema, t.table_name AS table_name, t.table_rows AS estimated_rows,
       CONCAT('ALTER TABLE ', ", quoted!("t"), ", ' ADD COLUMN row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST;') AS remedy,
       CONCAT('ALTER TABLE ', ", quoted!("t"), ", ' DROP COLUMN row_id;') AS \"undo\"
FROM information_schema.tables t
WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'
  AND NOT EXISTS (SELECT 1 FROM information_schema.table_constraints c
                  WHERE c.table_schema = t.table_schema AND c.table_name = t.table_name
                    AND c.constraint_type = 'PRIMARY KEY')
ORDER BY t.table_rows DESC"
            ),
            limits: &[],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4002",
            page: page!("HW4002"),
            asks: concat!(
                "WITH i AS (
  SELECT table_schema, table_name, index_name, MIN(non_unique) AS non_unique, MIN(index_type) AS method,
         GROUP_CONCAT(CONCAT('`', REPLACE(column_name, '`', '``'), '`', COALESCE(CONCAT('(', sub_part, ')'), ''),
                             IF(collation = 'D', ' DESC', '')) ORDER BY seq_in_index SEPARATOR ', ') AS cols
  FROM information_schema.statistics
  WHERE table_schema = DATABASE()
  GROUP BY table_schema, table_name, index_name
  -- Not those over expressions, which have no column.
  HAVING COUNT(column_name) = COUNT(*))
SELECT CONCAT(a.table_schema, '.', a.table_name, ' ', a.index_name) AS subject,
       IF(a.cols = b.cols, 'medium', 'low') AS severity,
       CONCAT(IF(a.cols = b.cols, 'is the same as ', 'is the beginning of '), b.index_name, ', which does all that this one does') AS what,
       a.table_schema AS table_schema, a.table_name AS table_name, a.cols AS columns, b.cols AS kept_columns,
       CONCAT('DROP INDEX `', REPLACE(a.index_name, '`', '``'), '` ON ', ", quoted!("a"), ", ';') AS remedy,
       CONCAT('CREATE ', IF(a.non_unique = 0, 'UNIQUE ', ''), 'INDEX `', REPLACE(a.index_name, '`', '``'), '` ON ', ", quoted!("a"), ", ' (', a.cols, ');') AS \"undo\"
FROM i a
JOIN i b ON b.table_schema = a.table_schema AND b.table_name = a.table_name AND b.index_name <> a.index_name
        AND b.method = a.method
WHERE a.index_name <> 'PRIMARY' AND a.method = 'BTREE'
  AND LEFT(CONCAT(b.cols, ', '), CHAR_LENGTH(a.cols) + 2) = CONCAT(a.cols, ', ')
  AND (a.non_unique = 1 OR b.non_unique = 0 AND a.cols = b.cols)
  -- Of two that are the same one is kept: the primary key, the unique one, the first by name.
  AND (a.cols <> b.cols OR b.index_name = 'PRIMARY' OR b.non_unique < a.non_unique
       OR b.non_unique = a.non_unique AND b.index_name < a.index_name)
ORDER BY subject"
            ),
            limits: &[],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4003",
            page: page!("HW4003"),
            asks: concat!(
                "SELECT CONCAT(t.table_schema, '.', t.table_name, '.', n.column_name) AS subject,
       IF(t.auto_increment > 0.95 * n.most, 'critical', 'high') AS severity,
       CONCAT('has given ', t.auto_increment - 1, ' of ', n.most, ' numbers: then every INSERT fails') AS what,
       t.table_schema AS table_schema, t.table_name AS table_name, n.column_type AS column_type,
       CONCAT('ALTER TABLE ', ", quoted!("t"), ", ' MODIFY `', REPLACE(n.column_name, '`', '``'), '` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT;') AS remedy
FROM information_schema.tables t
JOIN (SELECT c.table_schema, c.table_name, c.column_name, c.column_type,
             CASE c.data_type WHEN 'tinyint' THEN 127 WHEN 'smallint' THEN 32767 WHEN 'mediumint' THEN 8388607
                              WHEN 'int' THEN 2147483647 ELSE CAST(9223372036854775807 AS DECIMAL(20)) END
             * IF(c.column_type LIKE '%unsigned%', 2, 1) + IF(c.column_type LIKE '%unsigned%', 1, 0) AS most
      FROM information_schema.columns c
      WHERE c.table_schema = DATABASE() AND c.extra LIKE '%auto_increment%' AND c.data_type LIKE '%int') n
  ON n.table_schema = t.table_schema AND n.table_name = t.table_name
WHERE t.auto_increment > {share} * n.most
ORDER BY t.auto_increment / n.most DESC"
            ),
            limits: &[limit("share", 0.7)],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4004",
            page: page!("HW4004"),
            asks: concat!(
                "SELECT CONCAT(t.table_schema, '.', t.table_name) AS subject, 'high' AS severity,
       CONCAT('is kept by ', t.engine, ', which has no transactions: a crash leaves it half written, and it cannot be followed') AS what,
       t.table_schema AS table_schema, t.table_name AS table_name, t.table_rows AS estimated_rows,
       CONCAT('ALTER TABLE ', ", quoted!("t"), ", ' ENGINE = InnoDB;') AS remedy,
       CONCAT('ALTER TABLE ', ", quoted!("t"), ", ' ENGINE = ', t.engine, ';') AS \"undo\"
FROM information_schema.tables t
JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND COALESCE(e.transactions, 'NO') = 'NO'
ORDER BY subject"
            ),
            limits: &[],
        },
        of: Of::Both,
    },
    Ask {
        check: Check {
            id: "HW4005",
            page: page!("HW4005"),
            asks: concat!(
                "SELECT CONCAT(t.table_schema, '.', t.table_name) AS subject, 'low' AS severity,
       CONCAT('its text is ', c.character_set_name, ': a character beyond it is refused, or becomes a question mark') AS what,
       t.table_schema AS table_schema, t.table_name AS table_name, t.table_collation AS collation,
       CONCAT('ALTER TABLE ', ", quoted!("t"), ", ' CONVERT TO CHARACTER SET utf8mb4;') AS remedy,
       CONCAT('ALTER TABLE ', ", quoted!("t"), ", ' CONVERT TO CHARACTER SET ', c.character_set_name, ' COLLATE ', t.table_collation, ';') AS \"undo\"
FROM information_schema.tables t
JOIN (SELECT c.table_schema, c.table_name, MIN(c.character_set_name) AS character_set_name
      FROM information_schema.columns c
      WHERE c.table_schema = DATABASE() AND c.character_set_name IN ('utf8', 'utf8mb3', 'latin1')
      GROUP BY c.table_schema, c.table_name) c
  ON c.table_schema = t.table_schema AND c.table_name = t.table_name
WHERE t.table_type = 'BASE TABLE'
ORDER BY subject"
            ),
            limits: &[],
        },
        of: Of::Both,
    },
];
