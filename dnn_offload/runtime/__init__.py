"""Running a plan: backends, frame table, plan switch, rescue, profiler."""
