-- The runs whose words are looked at: those with the lowest marks of each agent and outcome; see
-- pattern_examples.sql for the bound on marks (here it is for about 1000 runs). Lowest marks first.
SELECT agent, success, trace_id, mark, own, task, attempts
FROM (
  SELECT r.agent, r.success, r.trace_id, r.mark, r.own, r.task, r.attempts,
    ROW_NUMBER() OVER (PARTITION BY r.agent, r.success ORDER BY r.mark, r.trace_id) AS place
  FROM runs AS r
  JOIN (
    SELECT agent, success, COUNT(*) AS runs FROM runs GROUP BY agent, success
  ) AS n ON n.agent = r.agent AND n.success = r.success
  WHERE (CAST($agent AS STRING) IS NULL OR r.agent = $agent)
    AND CAST(r.mark AS DOUBLE) * n.runs < 1099511627776000
) AS ordered
WHERE place <= 600
ORDER BY agent, success, place
