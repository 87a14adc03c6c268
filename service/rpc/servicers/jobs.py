"""JobService."""

from collections.abc import AsyncIterator

from typing_extensions import override

from service import forks, jobs, queue
from service.calling import requests
from service.calling.calls import CALLER, Calls
from service.watching import Watching
from traind.v1 import jobs_pb2, jobs_pb2_grpc


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """Jobs over both doors; the contract says what each method does."""

    def __init__(self, calls: Calls, watching: Watching) -> None:
        self._calls = calls
        self._watching = watching

    @override
    async def CreateJob(self, request: jobs_pb2.CreateJobRequest, context: object) -> jobs_pb2.Job:
        return await self._calls.run(jobs.create_job, request)

    @override
    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: object) -> jobs_pb2.Job:
        return await self._calls.run(jobs.get_job, request)

    @override
    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: object) -> jobs_pb2.ListJobsResponse:
        return await self._calls.run(jobs.list_jobs, request)

    @override
    async def ListQueue(self, request: jobs_pb2.ListQueueRequest, context: object) -> jobs_pb2.ListQueueResponse:
        return await self._calls.run(queue.list_queue, request)

    @override
    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: object) -> jobs_pb2.Job:
        return await self._calls.run(jobs.cancel_job, request)

    @override
    async def PauseJob(self, request: jobs_pb2.PauseJobRequest, context: object) -> jobs_pb2.Job:
        return await self._calls.run(jobs.pause_job, request)

    @override
    async def ResumeJob(self, request: jobs_pb2.ResumeJobRequest, context: object) -> jobs_pb2.Job:
        return await self._calls.run(jobs.resume_job, request)

    @override
    async def RetryJob(self, request: jobs_pb2.RetryJobRequest, context: object) -> jobs_pb2.Job:
        return await self._calls.run(forks.retry_job, request)

    @override
    async def ForkJob(self, request: jobs_pb2.ForkJobRequest, context: object) -> jobs_pb2.Job:
        return await self._calls.run(forks.fork_job, request)

    @override
    async def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: object) -> AsyncIterator[jobs_pb2.JobEvent]:
        requests.check(request)
        async for event in self._watching.watch(self._calls.app, CALLER.get(), request):
            yield event

    @override
    async def GetHistory(self, request: jobs_pb2.GetHistoryRequest, context: object) -> jobs_pb2.History:
        return await self._calls.run(jobs.get_history, request)
