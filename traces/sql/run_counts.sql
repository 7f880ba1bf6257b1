-- Counts and sums per group: whole numbers, so that they merge exactly, in any order.
-- Money is in billionths. Sums are decimals, for 64 bits would not hold those of many runs on every
-- engine. Infrastructure failures (not counted) are in n and n_infrastructure only.
SELECT grp,
  COUNT(*) AS n,
  SUM(CASE WHEN counted THEN 0 ELSE 1 END) AS n_infrastructure,
  COUNT(CASE WHEN counted THEN success END) AS n_known,
  SUM(CASE WHEN counted AND success THEN 1 ELSE 0 END) AS successes,
  MAX(CASE WHEN counted AND success THEN turns END) AS turns_max_success,
  SUM(CASE WHEN counted THEN CAST(tokens_in AS DECIMAL(19, 0)) END) AS tokens_in_sum,
  COUNT(CASE WHEN counted THEN tokens_in END) AS tokens_in_n,
  SUM(CASE WHEN counted THEN CAST(tokens_out AS DECIMAL(19, 0)) END) AS tokens_out_sum,
  COUNT(CASE WHEN counted THEN tokens_out END) AS tokens_out_n,
  SUM(CASE WHEN counted THEN CAST(FLOOR(cost_usd * 1E9 + 0.5E0) AS DECIMAL(19, 0)) END) AS cost_sum,
  COUNT(CASE WHEN counted THEN cost_usd END) AS cost_n,
  SUM(CASE WHEN counted AND at_limit THEN 1 ELSE 0 END) AS at_limit_sum,
  COUNT(CASE WHEN counted THEN at_limit END) AS at_limit_n
FROM grouped GROUP BY grp
