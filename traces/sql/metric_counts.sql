-- What the metrics of each group are made of: whole numbers, so that they merge exactly, in any
-- order. One statement, whose parts an engine plans at once and works on side by side. Numbers come
-- as texts: thousands of rows would be slow to hand over. Sums are decimals, for 64 bits would not
-- hold those of many runs on every engine. Infrastructure failures are not `counted`.

-- Of each tool: its calls, those that failed, and those that were new; the runs that used it, those
-- of them with a known outcome, and the successful ones.
SELECT g.grp, 'tool' AS kind, c.name, CONCAT_WS(',',
  COUNT(*),
  COUNT(*) FILTER (WHERE c.failed),
  COUNT(*) FILTER (WHERE NOT c.repeated),
  COUNT(*) FILTER (WHERE c.first_use),
  COUNT(g.success) FILTER (WHERE c.first_use),
  COUNT(*) FILTER (WHERE c.first_use AND g.success)) AS numbers
FROM grouped AS g JOIN calls AS c ON c.agent = g.agent AND c.trace_id = g.trace_id
WHERE g.counted
GROUP BY g.grp, c.name
UNION ALL
-- Of the runs that made as many attempts, those that the infrastructure failed apart: their number,
-- `SUMS` of partials.py, and the most turns of a successful one, if known. Money is in billionths.
SELECT grp, CASE WHEN counted THEN 'attempts' ELSE 'infrastructure' END, CAST(attempts AS STRING),
  CONCAT_WS(',',
    COUNT(*),
    COUNT(success),
    COUNT(*) FILTER (WHERE success),
    COALESCE(SUM(CAST(tokens_in AS DECIMAL(19, 0))), 0),
    COUNT(tokens_in),
    COALESCE(SUM(CAST(tokens_out AS DECIMAL(19, 0))), 0),
    COUNT(tokens_out),
    COALESCE(SUM(CAST(FLOOR(cost_usd * 1E9 + 0.5E0) AS DECIMAL(19, 0))), 0),
    COUNT(cost_usd),
    COUNT(*) FILTER (WHERE at_limit),
    COUNT(at_limit),
    MAX(turns) FILTER (WHERE success))
FROM grouped GROUP BY grp, attempts, counted
UNION ALL
-- Of each group's latencies: every bin with its runs and their sum in whole nanoseconds. Bin b
-- holds those from 1.005^b up to 1.005^(b+1) seconds. No time at all has no logarithm: bin -99999.
SELECT grp, 'latency', NULL, STRING_AGG(CONCAT_WS(',', bin, runs, nanos), ',')
FROM (
  SELECT grp, bin, COUNT(*) AS runs,
    SUM(CAST(FLOOR(latency_s * 1E9 + 0.5E0) AS DECIMAL(19, 0))) AS nanos
  FROM (
    SELECT grp, latency_s, CASE WHEN latency_s > 1E-9
      THEN CAST(FLOOR(LN(latency_s) / LN(1.005E0)) AS BIGINT) ELSE -99999 END AS bin
    FROM grouped WHERE counted AND latency_s IS NOT NULL
  ) AS timed
  GROUP BY grp, bin
) AS binned
GROUP BY grp
