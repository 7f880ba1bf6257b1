-- Calls, failed calls, and the runs that used each tool, per group and tool.
SELECT g.grp, c.name,
  COUNT(*) AS calls,
  SUM(CASE WHEN c.failed THEN 1 ELSE 0 END) AS errors,
  SUM(CASE WHEN c.repeated THEN 0 ELSE 1 END) AS distinct_calls,
  SUM(CASE WHEN c.first_use THEN 1 ELSE 0 END) AS runs,
  COUNT(CASE WHEN c.first_use THEN g.success END) AS runs_known,
  SUM(CASE WHEN c.first_use AND g.success THEN 1 ELSE 0 END) AS successes
FROM grouped AS g JOIN calls AS c ON c.agent = g.agent AND c.trace_id = g.trace_id
WHERE g.counted
GROUP BY g.grp, c.name
