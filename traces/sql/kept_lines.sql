-- The lines of the runs asked for, of those that are kept whole as a sample of all.
SELECT k.agent, k.trace_id, k.line
FROM kept AS k
JOIN asked AS a ON a.agent = k.agent AND a.trace_id = k.trace_id
WHERE k.sampled
