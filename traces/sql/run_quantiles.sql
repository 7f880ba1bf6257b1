-- Exact quantiles: local engine only. Elsewhere a histogram over FLOOR(LN(x) / LN(1.02)).
SELECT grp,
  quantile_cont(latency_s, 0.5) AS latency_p50,
  quantile_cont(latency_s, 0.95) AS latency_p95,
  quantile_cont(attempts, 0.5) AS attempts_p50,
  quantile_cont(attempts, 0.95) AS attempts_p95
FROM grouped WHERE counted GROUP BY grp
