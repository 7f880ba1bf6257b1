-- Latencies by bin, per group: bin b holds those from 1.005^b up to 1.005^(b+1) seconds. The sum is
-- in whole nanoseconds, so that it merges exactly, and a decimal, as in run_counts.sql. No time at
-- all has no logarithm: bin -99999.
SELECT grp, bin, COUNT(*) AS runs,
  SUM(CAST(FLOOR(latency_s * 1E9 + 0.5E0) AS DECIMAL(19, 0))) AS nanos
FROM (
  SELECT grp, latency_s, CASE WHEN latency_s > 1E-9
    THEN CAST(FLOOR(LN(latency_s) / LN(1.005E0)) AS BIGINT) ELSE -99999 END AS bin
  FROM grouped WHERE counted AND latency_s IS NOT NULL
) AS binned
GROUP BY grp, bin
