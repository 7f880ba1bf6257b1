-- An agent's runs that are kept whole: all, or those of some ids. Lowest marks first.
SELECT trace_id, success, line FROM kept
WHERE agent = $agent AND (CAST($ids AS VARCHAR[]) IS NULL OR list_contains($ids, trace_id))
ORDER BY mark, trace_id
