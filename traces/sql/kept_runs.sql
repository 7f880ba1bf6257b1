-- An agent's runs that are kept whole, all or those of some ids: of the sample of all runs, or of
-- those with feedback. Lowest marks first.
SELECT trace_id, success, line FROM kept
WHERE agent = $agent AND CASE WHEN $commented THEN commented ELSE sampled END
  AND (CAST($ids AS VARCHAR[]) IS NULL OR list_contains($ids, trace_id))
ORDER BY mark, trace_id
