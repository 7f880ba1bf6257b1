-- The sums of the reward's terms per group, each term in [0, 1] as RewardSpec defines it.
SELECT g.grp,
  COUNT(*) AS n,
  SUM(CASE WHEN g.success THEN 1 ELSE 0 END) AS success,
  SUM(CASE WHEN g.latency_s / f.latency_s < $cap THEN g.latency_s / f.latency_s ELSE $cap END)
    / $cap AS latency,
  SUM(CASE WHEN g.attempts / f.attempts < $cap THEN g.attempts / f.attempts ELSE $cap END)
    / $cap AS attempts
FROM grouped AS g JOIN refs AS f ON f.grp = g.grp
WHERE g.counted GROUP BY g.grp
