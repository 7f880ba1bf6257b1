-- Calls, failed calls, and the runs that used each tool, per group and tool.
SELECT grp, name, SUM(calls) AS calls, SUM(errors) AS errors, SUM(distinct_calls) AS distinct_calls,
  COUNT(*) AS runs,
  COUNT(success) AS runs_known,
  SUM(CASE WHEN success THEN 1 ELSE 0 END) AS successes
FROM (
  SELECT g.grp, g.success, c.agent, c.trace_id, c.name, COUNT(*) AS calls,
    COUNT(DISTINCT c.args_key) AS distinct_calls,
    SUM(CASE WHEN c.failed THEN 1 ELSE 0 END) AS errors
  FROM grouped AS g JOIN calls AS c ON c.agent = g.agent AND c.trace_id = g.trace_id
  WHERE g.counted
  GROUP BY g.grp, g.success, c.agent, c.trace_id, c.name
) AS used
GROUP BY grp, name
ORDER BY grp, SUM(calls) DESC, name
