-- Runs that are in a file twice: their agent and id. Marks are compared first: they are numbers.
SELECT agent, trace_id FROM read_parquet($staged)
WHERE mark IN (SELECT mark FROM read_parquet($staged) GROUP BY mark HAVING COUNT(*) > 1)
GROUP BY agent, trace_id HAVING COUNT(*) > 1
ORDER BY agent, trace_id LIMIT 1
