-- Counts and sums per group: they merge by addition (turns_max_success by MAX).
-- Infrastructure failures (not counted) appear in n and n_infrastructure only.
SELECT grp,
  COUNT(*) AS n,
  SUM(CASE WHEN counted THEN 0 ELSE 1 END) AS n_infrastructure,
  COUNT(CASE WHEN counted THEN success END) AS n_known,
  SUM(CASE WHEN counted AND success THEN 1 ELSE 0 END) AS successes,
  COUNT(CASE WHEN counted THEN latency_s END) AS latency_n,
  SUM(CASE WHEN counted THEN attempts END) AS attempts_sum,
  COUNT(CASE WHEN counted THEN attempts END) AS attempts_n,
  MAX(CASE WHEN counted AND success THEN turns END) AS turns_max_success,
  SUM(CASE WHEN counted THEN tokens_in END) AS tokens_in_sum,
  COUNT(CASE WHEN counted THEN tokens_in END) AS tokens_in_n,
  SUM(CASE WHEN counted THEN tokens_out END) AS tokens_out_sum,
  COUNT(CASE WHEN counted THEN tokens_out END) AS tokens_out_n,
  SUM(CASE WHEN counted THEN cost_usd END) AS cost_sum,
  COUNT(CASE WHEN counted THEN cost_usd END) AS cost_n,
  SUM(CASE WHEN counted AND at_limit THEN 1 ELSE 0 END) AS at_limit_sum,
  COUNT(CASE WHEN counted THEN at_limit END) AS at_limit_n
FROM grouped GROUP BY grp
