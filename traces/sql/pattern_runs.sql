-- The runs with a known outcome, numbered. Their numbers come from their random marks: no engine
-- has to put all runs into one order for them.
CREATE OR REPLACE TEMP TABLE pattern_runs AS
SELECT r.agent, r.trace_id, r.success, r.mark, r.at_limit,
  r.mark * 4096 + ROW_NUMBER() OVER (PARTITION BY r.mark ORDER BY r.agent, r.trace_id) - 1 AS run,
  CAST(a.number AS INT) AS agent_number,
  CAST(COALESCE(t.number, 0) AS INT) AS task_number,
  CAST(
    CASE
      WHEN r.attempts < 0 OR r.attempts IS NULL THEN -1
      WHEN r.attempts > 2000000000 THEN 2000000000
      ELSE r.attempts
    END AS INT) AS attempts
FROM runs AS r
JOIN pattern_agents AS a ON a.agent = r.agent
LEFT JOIN pattern_tasks AS t ON t.agent = r.agent AND t.task = r.task
WHERE r.own AND r.success IS NOT NULL
