"""Campaigns that decide while they run: agents submit tasks, learn from results as they come, and steer what is run next.

The words are Colmena's: a Thinker with agents, topics, resource counters, results with the times of all their stages.
There is no task server between: results are pushed to the agents, stale tasks are cancelled, urgent ones go first, and
a campaign that was killed goes on where it was (``TaskQueues(journal=...)``).
"""

from __future__ import annotations

from fedproxy.patterns.steering.agents import agent, event_responder, result_processor, task_submitter
from fedproxy.patterns.steering.flags import Flag
from fedproxy.patterns.steering.journal import read_journal
from fedproxy.patterns.steering.methods import Method
from fedproxy.patterns.steering.queues import TaskQueues
from fedproxy.patterns.steering.report import CampaignReport, campaign_report
from fedproxy.patterns.steering.resources import ResourceCounter
from fedproxy.patterns.steering.result import Result
from fedproxy.patterns.steering.thinker import BaseThinker

__all__ = [
    "BaseThinker",
    "CampaignReport",
    "Flag",
    "Method",
    "ResourceCounter",
    "Result",
    "TaskQueues",
    "agent",
    "campaign_report",
    "event_responder",
    "read_journal",
    "result_processor",
    "task_submitter",
]
