-- Each agent's normalised error texts, numbered.
CREATE OR REPLACE TEMP TABLE pattern_errors AS
SELECT agent, error_key, ROW_NUMBER() OVER (ORDER BY agent, error_key) AS number
FROM calls
WHERE error_key IS NOT NULL AND (CAST($agent AS STRING) IS NULL OR agent = $agent)
GROUP BY agent, error_key
