-- How many runs have a loop from the same call on, and make as many calls in all. Calls that a
-- trace counts but does not hold may be fewer than those it holds: such runs tell nothing.
SELECT feature, since, attempts, COUNT(*) AS runs
FROM pattern_loops WHERE attempts >= since GROUP BY feature, since, attempts
