-- How many runs each agent has: all, failures that are not its own, with a known outcome (`runs`).
SELECT agent, COUNT(*) AS total,
  COUNT(CASE WHEN NOT own THEN 1 END) AS excused,
  COUNT(CASE WHEN own AND success IS NOT NULL THEN 1 END) AS runs,
  COUNT(CASE WHEN own AND success THEN 1 END) AS successes
FROM runs
WHERE CAST($agent AS STRING) IS NULL OR agent = $agent
GROUP BY agent
