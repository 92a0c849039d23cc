-- Creates a table in a file that is mapped, and queries it.
PRAGMA mmap_size = 1073741824;
PRAGMA cache_size = -65536;
CREATE TABLE entry (id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 20000)
INSERT INTO entry SELECT n, hex(zeroblob(100)) || n FROM number;
CREATE INDEX by_name ON entry (name);
SELECT 'counted ' || count(*) || ' of ' || max(length(name)) FROM entry WHERE name LIKE '%7';
