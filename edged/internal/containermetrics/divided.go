package containermetrics

// ticks is how many clock ticks a second has in the files of the kernel: Linux shows every program
// the same number.
const ticks = 100

// readDivided reads a group of version 1, which has a folder for each controller.
// https://docs.kernel.org/admin-guide/cgroup-v1/index.html
func (r *reader) readDivided(g *group) {
	for _, c := range []struct {
		controller string
		read       func(*group, folder)
	}{{"cpuacct", r.dividedUsage}, {"cpu", r.dividedCPU}, {"memory", r.dividedMemory}, {"blkio", r.dividedDisks}, {"pids", r.dividedTasks}} {
		if dir, ok := openFolder(r.mount + "/" + c.controller + g.dir); ok {
			c.read(g, dir)
			dir.close()
		}
	}
}

func (r *reader) dividedTasks(g *group, dir folder) { r.tasks(g, dir, dir) }

func (r *reader) dividedUsage(g *group, dir folder) {
	r.readNumber(g, cpuUsage, dir, "cpuacct.usage")
	eachNumber(r.files.read(dir, "cpuacct.stat"), func(name []byte, n uint64) {
		switch string(name) {
		case "user":
			g.set(cpuUser, n*(nanoseconds/ticks))
		case "system":
			g.set(cpuSystem, n*(nanoseconds/ticks))
		}
	})
}

func (r *reader) dividedCPU(g *group, dir folder) {
	r.readNumber(g, specShares, dir, "cpu.shares")
	r.readNumber(g, specPeriod, dir, "cpu.cfs_period_us")
	r.readNumber(g, specQuota, dir, "cpu.cfs_quota_us") // -1 is none
	if !g.has[specQuota] {
		return
	}
	eachNumber(r.files.read(dir, "cpu.stat"), func(name []byte, n uint64) {
		switch string(name) {
		case "nr_periods":
			g.set(cfsPeriods, n)
		case "nr_throttled":
			g.set(cfsThrottledPeriods, n)
		case "throttled_time":
			g.set(cfsThrottled, n)
		case "nr_bursts":
			g.set(cfsBurstPeriods, n)
		case "burst_time":
			g.set(cfsBurst, n)
		}
	})
}

func (r *reader) dividedMemory(g *group, dir folder) {
	r.started(g, dir, "cgroup.clone_children")
	r.readNumber(g, memoryUsage, dir, "memory.usage_in_bytes")
	r.readNumber(g, memoryMax, dir, "memory.max_usage_in_bytes")
	r.readNumber(g, memoryFailures, dir, "memory.failcnt")
	r.readNumber(g, memoryKernel, dir, "memory.kmem.usage_in_bytes")
	r.readLimit(g, specMemory, dir, "memory.limit_in_bytes")
	r.readLimit(g, specReservation, dir, "memory.soft_limit_in_bytes")
	r.readLimit(g, specSwap, dir, "memory.memsw.limit_in_bytes")
	eachNumber(r.files.read(dir, "memory.stat"), func(name []byte, n uint64) {
		var m metric
		switch string(name) { // with the groups below it
		case "total_cache":
			m = memoryCache
		case "total_rss":
			m = memoryRSS
		case "total_swap":
			m = memorySwap
		case "total_mapped_file":
			m = memoryMapped
		case "total_active_file":
			m = memoryActiveFile
		case "total_inactive_file":
			m = memoryInactiveFile
		case "total_pgfault":
			m = pageFaults
		case "total_pgmajfault":
			m = majorFaults
		case "total_dirty":
			m = fileDirty
		case "total_writeback":
			m = fileWriteback
		default:
			return
		}
		g.set(m, n)
	})
	eachNumber(r.files.read(dir, "memory.oom_control"), func(name []byte, n uint64) {
		if string(name) == "oom_kill" {
			g.set(oomEvents, n)
		}
	})
	g.workingSet()
}

// dividedDisks reads what was read and written. Which files there are depends on the kernel and on
// its scheduler of disks.
func (r *reader) dividedDisks(g *group, dir folder) {
	read := func(into func(d *disk, write bool, n uint64), names ...string) {
		for _, name := range names {
			text := r.files.read(dir, name)
			eachLine(text, func(w [][]byte) { // "8:0 Read 4096", and "Total 4096" at the end
				if len(w) != 3 || string(w[1]) != "Read" && string(w[1]) != "Write" {
					return
				}
				if n, ok := number(w[2]); ok {
					into(g.disk(w[0]), string(w[1]) == "Write", n)
				}
			})
			if len(text) > 0 {
				return
			}
		}
	}
	read(func(d *disk, write bool, n uint64) {
		if write {
			d.writeBytes = n
		} else {
			d.readBytes = n
		}
	}, "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes", "blkio.bfq.io_service_bytes_recursive")
	read(func(d *disk, write bool, n uint64) {
		if write {
			d.writes = n
		} else {
			d.reads = n
		}
	}, "blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced", "blkio.bfq.io_serviced_recursive")
}
