-- How many runs each agent has: all, failures of the infrastructure, with a known outcome (`runs`).
SELECT agent, COUNT(*) AS total,
  COUNT(CASE WHEN NOT counted THEN 1 END) AS infrastructure,
  COUNT(CASE WHEN counted AND success IS NOT NULL THEN 1 END) AS runs,
  COUNT(CASE WHEN counted AND success THEN 1 END) AS successes
FROM runs
WHERE CAST($agent AS STRING) IS NULL OR agent = $agent
GROUP BY agent
