-- Runs with a known outcome, per agent.
SELECT r.agent, COUNT(*) AS runs,
  SUM(CASE WHEN r.success THEN 1 ELSE 0 END) AS successes,
  SUM(CASE WHEN r.attempts > 2 * n.attempts_median THEN 1 ELSE 0 END) AS longs
FROM runs AS r JOIN norms AS n ON n.agent = r.agent
WHERE r.counted AND r.success IS NOT NULL
  AND (CAST($agent AS VARCHAR) IS NULL OR r.agent = $agent)
GROUP BY r.agent
