-- What is usual for an agent. Exact quantiles: local engine only.
SELECT agent, quantile_cont(attempts, 0.5) AS attempts_median
FROM runs WHERE counted AND success IS NOT NULL GROUP BY agent
