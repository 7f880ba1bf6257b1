-- The calls of the numbered runs, with numbers for names, and with what is asked of their runs:
-- no join is needed for any of them again. The tools that share a number are no pair of two.
CREATE OR REPLACE TEMP TABLE pattern_calls AS
SELECT r.run, r.task_number, r.attempts, r.success,
  CAST(t.number AS INT) AS tool, CAST(p.number AS INT) AS prev, CAST(b.number AS INT) AS before_prev,
  CAST(e.number AS INT) AS error, c.failed, c.seq = 0 AS is_first, c.is_last, c.first_use,
  c.first_pair AND t.number < 65535 AND p.number < 65535 AS first_pair,
  c.first_triple AND t.number < 65535 AND p.number < 65535 AND b.number < 65535 AS first_triple
FROM calls AS c
JOIN pattern_runs AS r ON r.agent = c.agent AND r.trace_id = c.trace_id
JOIN pattern_tools AS t ON t.agent = c.agent AND t.name = c.name
LEFT JOIN pattern_tools AS p ON p.agent = c.agent AND p.name = c.prev_name
LEFT JOIN pattern_tools AS b ON b.agent = c.agent AND b.name = c.before_prev_name
LEFT JOIN pattern_errors AS e ON e.agent = c.agent AND e.error_key = c.error_key
