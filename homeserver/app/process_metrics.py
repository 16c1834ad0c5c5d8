"""What the process as a whole tells Prometheus: memory, CPU, and what is waiting."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from homeserver.app.services import Runtime

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def add_process_metrics(runtime: Runtime, connections: Callable[[], int]) -> None:
    """The names that begin with `process_` are those every Prometheus client uses."""
    metrics, database = runtime.metrics, runtime.database
    started = time.time()
    metrics.gauge("process_start_time_seconds", "When the process began", lambda: started)
    metrics.gauge("process_cpu_seconds_total", "CPU time used", cpu_seconds)
    metrics.gauge("process_resident_memory_bytes", "Memory in use", resident_bytes)
    metrics.gauge("process_open_fds", "Open files and connections", open_files)
    metrics.gauge("postroom_http_connections", "Connections of clients", connections)
    metrics.gauge("postroom_background_tasks", "Background work", lambda: len(runtime.tasks.names()))
    metrics.gauge("postroom_database_waiting_writes", "Writes in line", lambda: database.waiting_writes)
    metrics.gauge("postroom_database_waiting_reads", "Reads that wait or run", lambda: database.waiting_reads)
    metrics.gauge("postroom_blocking_jobs", "File jobs that wait or run", lambda: runtime.blocking.unanswered)
    metrics.gauge("postroom_hashing_jobs", "Hashes that wait or run", lambda: runtime.hashing.unanswered)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
