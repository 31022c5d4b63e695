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
	divisor    float64  // of the value; 0 means 1
	labels     []string // further labels as they are written, one series for each; nil means one without
}

const (
	nanoseconds  = 1e9
	microseconds = 1e6
)

// families are all of the values of a group, in the order of their names.
func families() []family {
	counter := func(name, help string, of metric, divisor float64, labels ...string) family {
		return family{"container_" + name, help, true, of, divisor, labels}
	}
	gauge := func(name, help string, of metric) family { return family{"container_" + name, help, false, of, 0, nil} }
	return []family{
		counter("cpu_cfs_burst_periods_total", "Number of periods when burst occurs.", cfsBurstPeriods, 0),
		counter("cpu_cfs_burst_seconds_total", "Total time for which the CPU quota was exceeded by bursts.", cfsBurst, nanoseconds),
		counter("cpu_cfs_periods_total", "Number of elapsed periods of the CPU quota.", cfsPeriods, 0),
		counter("cpu_cfs_throttled_periods_total", "Number of periods in which the CPU quota was used up.", cfsThrottledPeriods, 0),
		counter("cpu_cfs_throttled_seconds_total", "Total time for which the CPU quota stopped the container.", cfsThrottled, nanoseconds),
		counter("cpu_system_seconds_total", "Cumulative CPU time in the kernel.", cpuSystem, nanoseconds),
		counter("cpu_usage_seconds_total", "Cumulative CPU time.", cpuUsage, nanoseconds, `cpu="total"`),
		counter("cpu_user_seconds_total", "Cumulative CPU time in user mode.", cpuUser, nanoseconds),
		gauge("creation_time_seconds", "When the container was made, since the epoch.", created),
		gauge("last_seen", "When the container was last seen, since the epoch.", lastSeen),
		gauge("memory_cache", "Bytes of page cache.", memoryCache),
		counter("memory_events_high_total", "How often the memory was throttled, being above memory.high.", eventsHigh, 0),
		counter("memory_events_max_total", "How often the memory was about to go over its limit.", eventsMax, 0),
		counter("memory_failcnt", "How often the memory hit its limit.", memoryFailures, 0),
		counter("memory_failures_total", "Cumulative count of page faults.", pageFaults, 0,
			`failure_type="pgfault",scope="container"`, `failure_type="pgfault",scope="hierarchy"`),
		counter("memory_failures_total", "", majorFaults, 0,
			`failure_type="pgmajfault",scope="container"`, `failure_type="pgmajfault",scope="hierarchy"`),
		gauge("memory_file_dirty_bytes", "Bytes of files that wait to be written to a disk.", fileDirty),
		gauge("memory_file_writeback_bytes", "Bytes of files that are being written to a disk.", fileWriteback),
		gauge("memory_kernel_usage", "Bytes of kernel memory.", memoryKernel),
		gauge("memory_mapped_file", "Bytes of files that are mapped.", memoryMapped),
		gauge("memory_max_usage_bytes", "The most memory ever in use, in bytes.", memoryMax),
		counter("memory_pgscan_total", "Pages that were scanned to reclaim memory.", pagesScanned, 0),
		counter("memory_pgsteal_total", "Pages that were reclaimed.", pagesStolen, 0),
		gauge("memory_rss", "Bytes of anonymous memory.", memoryRSS),
		gauge("memory_swap", "Bytes of swap in use.", memorySwap),
		gauge("memory_total_active_file_bytes", "Bytes of files in active use.", memoryActiveFile),
		gauge("memory_total_inactive_file_bytes", "Bytes of files that may be reclaimed.", memoryInactiveFile),
		gauge("memory_usage_bytes", "Memory in use in bytes, caches included.", memoryUsage),
		gauge("memory_working_set_bytes", "Memory in use in bytes that cannot be reclaimed at once.", memoryWorkingSet),
		counter("memory_workingset_refault_anon_total", "Anonymous pages that were reclaimed and needed again.", refaultAnon, 0),
		counter("memory_workingset_refault_file_total", "Pages of files that were reclaimed and needed again.", refaultFile, 0),
		counter("oom_events_total", "How many processes were killed for want of memory.", oomEvents, 0),
		counter("pressure_cpu_stalled_seconds_total", "Total time for which all tasks waited for a CPU.", cpuStalled, microseconds),
		counter("pressure_cpu_waiting_seconds_total", "Total time for which some task waited for a CPU.", cpuWaiting, microseconds),
		counter("pressure_io_stalled_seconds_total", "Total time for which all tasks waited for a disk.", ioStalled, microseconds),
		counter("pressure_io_waiting_seconds_total", "Total time for which some task waited for a disk.", ioWaiting, microseconds),
		counter("pressure_memory_stalled_seconds_total", "Total time for which all tasks waited for memory.", memoryStalled, microseconds),
		counter("pressure_memory_waiting_seconds_total", "Total time for which some task waited for memory.", memoryWaiting, microseconds),
		gauge("processes", "Number of processes.", processes),
		gauge("spec_cpu_period", "Period of the CPU quota, in microseconds.", specPeriod),
		gauge("spec_cpu_quota", "CPU quota in a period, in microseconds.", specQuota),
		gauge("spec_cpu_shares", "CPU shares.", specShares),
		gauge("spec_memory_limit_bytes", "Limit of the memory; 0 without one.", specMemory),
		gauge("spec_memory_reservation_limit_bytes", "Memory that is kept for the container; 0 without any.", specReservation),
		gauge("spec_memory_swap_limit_bytes", "Limit of swap; 0 without one.", specSwap),
		gauge("start_time_seconds", "When the container was started, since the epoch.", started),
		gauge("threads", "Number of threads.", threads),
		gauge("threads_max", "Limit of the number of threads; 0 without one.", threadsMax),
	}
}
