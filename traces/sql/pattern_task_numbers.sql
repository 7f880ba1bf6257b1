SELECT agent, task, number FROM pattern_tasks
