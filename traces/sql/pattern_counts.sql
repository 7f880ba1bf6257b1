-- Each feature's support and successes among runs with a known outcome. Two features with
-- equal `marks` (a sum of one random 40-bit number per run) hold for the same set of runs.
SELECT f.agent, f.kind, f.tool, f.other, f.detail,
  COUNT(*) AS support,
  SUM(CASE WHEN r.success THEN 1 ELSE 0 END) AS successes,
  SUM(CASE WHEN r.attempts > 2 * n.attempts_median THEN 1 ELSE 0 END) AS longs,
  SUM(r.mark) AS marks
FROM features AS f
JOIN runs AS r ON r.agent = f.agent AND r.trace_id = f.trace_id
JOIN norms AS n ON n.agent = f.agent
WHERE r.counted AND r.success IS NOT NULL
  AND (CAST($agent AS VARCHAR) IS NULL OR f.agent = $agent)
GROUP BY f.agent, f.kind, f.tool, f.other, f.detail
HAVING COUNT(*) >= $min_support
