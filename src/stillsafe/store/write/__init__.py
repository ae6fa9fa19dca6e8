"""Statements: every INSERT, UPDATE and DELETE. One module has each verb of each table.

| table | INSERT and UPDATE | DELETE |
|---|---|---|
| prediction_logs, refusals | predictions | retention |
| prunes | retention | |
| current_window_metrics, system_state, incidents, operator_actions, feature_schemas | decisions | |
| baseline_metrics | baselines | |
| llm_explanations, explanation_failures | explanations; erasures replaces texts | |
| services | services | |
| alerts | alerts | |
| labels | labels | labels |
| erasures, erasure_marks | erasures | |
| request_ids, request_duplicates | request_id | request_id |
"""
