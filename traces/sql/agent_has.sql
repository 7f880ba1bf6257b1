-- How many runs of an agent have an id: one or none.
SELECT COUNT(*) AS runs FROM runs WHERE agent = $agent AND trace_id = $id
