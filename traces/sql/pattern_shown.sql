-- The runs that are examples.
SELECT r.run, r.mark, r.trace_id
FROM pattern_runs AS r
JOIN (SELECT run FROM pattern_examples GROUP BY run) AS e ON e.run = r.run
