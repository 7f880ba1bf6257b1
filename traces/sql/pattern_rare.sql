-- What few runs have, or few of their calls: see pattern_features.sql.
CREATE OR REPLACE TEMP TABLE pattern_rare AS
-- 2 and 3: an error of a tool, without its text and with it
SELECT DISTINCT run, task_number, attempts, success, feature
FROM (
  SELECT run, task_number, attempts, success,
    281474976710656 * kind + CAST(tool AS BIGINT) * 4294967296
      + CASE WHEN kind = 3 THEN error ELSE 0 END AS feature
  FROM pattern_calls CROSS JOIN (VALUES (2), (3)) AS kinds(kind)
  WHERE failed
) AS failing
WHERE feature IS NOT NULL
UNION ALL
-- 4: an error of any tool
SELECT r.run, r.task_number, r.attempts, r.success, 281474976710656 * 4 + r.agent_number
FROM pattern_runs AS r
JOIN (SELECT run FROM pattern_calls WHERE failed GROUP BY run) AS c ON c.run = r.run
UNION ALL
-- 9: a loop
SELECT run, task_number, attempts, success, feature FROM pattern_loops
UNION ALL
-- 10: the step limit
SELECT run, task_number, attempts, success, 281474976710656 * 10 + agent_number
FROM pattern_runs WHERE at_limit
