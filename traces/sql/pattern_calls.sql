-- The calls of the numbered runs, with numbers for names: grouping by them is fast.
CREATE OR REPLACE TEMP TABLE pattern_calls AS
SELECT r.run, CAST(c.seq AS INT) AS seq, c.failed, c.is_last, c.first_use,
  CAST(t.number AS INT) AS tool, CAST(p.number AS INT) AS prev, CAST(e.number AS INT) AS error
FROM calls AS c
JOIN pattern_runs AS r ON r.agent = c.agent AND r.trace_id = c.trace_id
JOIN pattern_tools AS t ON t.agent = c.agent AND t.name = c.name
LEFT JOIN pattern_tools AS p ON p.agent = c.agent AND p.name = c.prev_name
LEFT JOIN pattern_errors AS e ON e.agent = c.agent AND e.error_key = c.error_key
