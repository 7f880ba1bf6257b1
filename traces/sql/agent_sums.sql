-- How many runs each agent has, and the sum of their digests, which has no order.
SELECT agent, COUNT(*) AS runs, SUM(digest) AS digest FROM runs GROUP BY agent ORDER BY agent
