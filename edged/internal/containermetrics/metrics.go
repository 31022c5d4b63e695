package containermetrics

// metric is the index of a value of a group.
type metric int

// The values of a group.
const (
	lastSeen metric = iota
	cpuUser
	cpuSystem
	cpuUsage
	cfsPeriods
	cfsThrottledPeriods
	cfsThrottled
	cfsBurstPeriods
	cfsBurst
	memoryCache
	memoryRSS
	memoryKernel
	memoryMapped
	memorySwap
	memoryFailures
	memoryUsage
	memoryMax
	memoryWorkingSet
	memoryActiveFile
	memoryInactiveFile
	pageFaults
	majorFaults
	eventsHigh
	eventsMax
	fileDirty
	fileWriteback
	pagesScanned
	pagesStolen
	refaultFile
	refaultAnon
	processes
	threadsMax
	threads
	oomEvents
	cpuStalled
	cpuWaiting
	memoryStalled
	memoryWaiting
	ioStalled
	ioWaiting
	created
	started
	specPeriod
	specQuota
	specShares
	specMemory
	specReservation
	specSwap
	metricCount
)

// family says how a value is shown.
type family struct {
	name, help string
	counter    bool
	of         metric
	divisor    float64   // of the value
	labels     [2]string // further labels as they are written, one series for each
}

const (
	nanoseconds  = 1e9
	microseconds = 1e6
)

// families are all of the values of a group, in the order of their names. One without help goes on
// with the one before it. All of it is constant, so that the linker lays it out.
func families() []family {
	return []family{
		{"container_cpu_cfs_burst_periods_total", "Number of periods when burst occurs.", true, cfsBurstPeriods, 1, [2]string{}},
		{"container_cpu_cfs_burst_seconds_total", "Total time for which the CPU quota was exceeded by bursts.", true, cfsBurst, nanoseconds, [2]string{}},
		{"container_cpu_cfs_periods_total", "Number of elapsed periods of the CPU quota.", true, cfsPeriods, 1, [2]string{}},
		{"container_cpu_cfs_throttled_periods_total", "Number of periods in which the CPU quota was used up.", true, cfsThrottledPeriods, 1, [2]string{}},
		{"container_cpu_cfs_throttled_seconds_total", "Total time for which the CPU quota stopped the container.", true, cfsThrottled, nanoseconds, [2]string{}},
		{"container_cpu_system_seconds_total", "Cumulative CPU time in the kernel.", true, cpuSystem, nanoseconds, [2]string{}},
		{"container_cpu_usage_seconds_total", "Cumulative CPU time.", true, cpuUsage, nanoseconds, [2]string{`cpu="total"`, ""}},
		{"container_cpu_user_seconds_total", "Cumulative CPU time in user mode.", true, cpuUser, nanoseconds, [2]string{}},
		{"container_creation_time_seconds", "When the container was made, since the epoch.", false, created, 1, [2]string{}},
		{"container_last_seen", "When the container was last seen, since the epoch.", false, lastSeen, 1, [2]string{}},
		{"container_memory_cache", "Bytes of page cache.", false, memoryCache, 1, [2]string{}},
		{"container_memory_events_high_total", "How often the memory was throttled, being above memory.high.", true, eventsHigh, 1, [2]string{}},
		{"container_memory_events_max_total", "How often the memory was about to go over its limit.", true, eventsMax, 1, [2]string{}},
		{"container_memory_failcnt", "How often the memory hit its limit.", true, memoryFailures, 1, [2]string{}},
		{"container_memory_failures_total", "Cumulative count of page faults.", true, pageFaults, 1, [2]string{`failure_type="pgfault",scope="container"`, `failure_type="pgfault",scope="hierarchy"`}},
		{"container_memory_failures_total", "", true, majorFaults, 1, [2]string{`failure_type="pgmajfault",scope="container"`, `failure_type="pgmajfault",scope="hierarchy"`}},
		{"container_memory_file_dirty_bytes", "Bytes of files that wait to be written to a disk.", false, fileDirty, 1, [2]string{}},
		{"container_memory_file_writeback_bytes", "Bytes of files that are being written to a disk.", false, fileWriteback, 1, [2]string{}},
		{"container_memory_kernel_usage", "Bytes of kernel memory.", false, memoryKernel, 1, [2]string{}},
		{"container_memory_mapped_file", "Bytes of files that are mapped.", false, memoryMapped, 1, [2]string{}},
		{"container_memory_max_usage_bytes", "The most memory ever in use, in bytes.", false, memoryMax, 1, [2]string{}},
		{"container_memory_pgscan_total", "Pages that were scanned to reclaim memory.", true, pagesScanned, 1, [2]string{}},
		{"container_memory_pgsteal_total", "Pages that were reclaimed.", true, pagesStolen, 1, [2]string{}},
		{"container_memory_rss", "Bytes of anonymous memory.", false, memoryRSS, 1, [2]string{}},
		{"container_memory_swap", "Bytes of swap in use.", false, memorySwap, 1, [2]string{}},
		{"container_memory_total_active_file_bytes", "Bytes of files in active use.", false, memoryActiveFile, 1, [2]string{}},
		{"container_memory_total_inactive_file_bytes", "Bytes of files that may be reclaimed.", false, memoryInactiveFile, 1, [2]string{}},
		{"container_memory_usage_bytes", "Memory in use in bytes, caches included.", false, memoryUsage, 1, [2]string{}},
		{"container_memory_working_set_bytes", "Memory in use in bytes that cannot be reclaimed at once.", false, memoryWorkingSet, 1, [2]string{}},
		{"container_memory_workingset_refault_anon_total", "Anonymous pages that were reclaimed and needed again.", true, refaultAnon, 1, [2]string{}},
		{"container_memory_workingset_refault_file_total", "Pages of files that were reclaimed and needed again.", true, refaultFile, 1, [2]string{}},
		{"container_oom_events_total", "How many processes were killed for want of memory.", true, oomEvents, 1, [2]string{}},
		{"container_pressure_cpu_stalled_seconds_total", "Total time for which all tasks waited for a CPU.", true, cpuStalled, microseconds, [2]string{}},
		{"container_pressure_cpu_waiting_seconds_total", "Total time for which some task waited for a CPU.", true, cpuWaiting, microseconds, [2]string{}},
		{"container_pressure_io_stalled_seconds_total", "Total time for which all tasks waited for a disk.", true, ioStalled, microseconds, [2]string{}},
		{"container_pressure_io_waiting_seconds_total", "Total time for which some task waited for a disk.", true, ioWaiting, microseconds, [2]string{}},
		{"container_pressure_memory_stalled_seconds_total", "Total time for which all tasks waited for memory.", true, memoryStalled, microseconds, [2]string{}},
		{"container_pressure_memory_waiting_seconds_total", "Total time for which some task waited for memory.", true, memoryWaiting, microseconds, [2]string{}},
		{"container_processes", "Number of processes.", false, processes, 1, [2]string{}},
		{"container_spec_cpu_period", "Period of the CPU quota, in microseconds.", false, specPeriod, 1, [2]string{}},
		{"container_spec_cpu_quota", "CPU quota in a period, in microseconds.", false, specQuota, 1, [2]string{}},
		{"container_spec_cpu_shares", "CPU shares.", false, specShares, 1, [2]string{}},
		{"container_spec_memory_limit_bytes", "Limit of the memory; 0 without one.", false, specMemory, 1, [2]string{}},
		{"container_spec_memory_reservation_limit_bytes", "Memory that is kept for the container; 0 without any.", false, specReservation, 1, [2]string{}},
		{"container_spec_memory_swap_limit_bytes", "Limit of swap; 0 without one.", false, specSwap, 1, [2]string{}},
		{"container_start_time_seconds", "When the container was started, since the epoch.", false, started, 1, [2]string{}},
		{"container_threads", "Number of threads.", false, threads, 1, [2]string{}},
		{"container_threads_max", "Limit of the number of threads; 0 without one.", false, threadsMax, 1, [2]string{}},
	}
}
