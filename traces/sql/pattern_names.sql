-- What the numbers of agents (without a name) and of their tools stand for.
SELECT agent, NULL AS name, number FROM pattern_agents
UNION ALL
SELECT agent, name, number FROM pattern_tools
