-- Each agent's tools, numbered, the most called first; all that come after 65,534 others (an
-- agent that makes names up) share the number 65,535.
CREATE OR REPLACE TEMP TABLE pattern_tools AS
SELECT agent, name, CASE WHEN number < 65535 THEN number ELSE 65535 END AS number
FROM (
  SELECT agent, name, ROW_NUMBER() OVER (ORDER BY COUNT(*) DESC, agent, name) AS number
  FROM calls
  WHERE CAST($agent AS STRING) IS NULL OR agent = $agent
  GROUP BY agent, name
) AS called
