-- The tools an agent called, in all of its runs; most called first.
SELECT name, COUNT(*) AS calls FROM calls WHERE agent = $agent
GROUP BY name ORDER BY calls DESC, name LIMIT 1000
