package containermetrics

import "bytes"

// readUnified reads a group of version 2.
// https://docs.kernel.org/admin-guide/cgroup-v2.html
func (r *reader) readUnified(g *group) {
	dir, ok := openFolder(r.mount + g.dir)
	if !ok {
		return
	}
	defer dir.close()
	r.started(g, dir, "cgroup.events")
	r.unifiedCPU(g, dir)
	r.unifiedMemory(g, dir)
	eachLine(r.files.read(dir, "io.stat"), func(w [][]byte) {
		if !bytes.Contains(w[0], []byte(":")) {
			return
		}
		var d *disk
		for _, pair := range w[1:] {
			key, value, _ := bytes.Cut(pair, []byte("="))
			n, ok := number(value)
			if !ok {
				continue
			}
			if d == nil { // a disk without numbers was never used
				d = g.disk(w[0])
			}
			switch string(key) {
			case "rbytes":
				d.readBytes = n
			case "wbytes":
				d.writeBytes = n
			case "rios":
				d.reads = n
			case "wios":
				d.writes = n
			}
		}
	})
	r.pressure(g, dir, "cpu.pressure", cpuWaiting, cpuStalled)
	r.pressure(g, dir, "memory.pressure", memoryWaiting, memoryStalled)
	r.pressure(g, dir, "io.pressure", ioWaiting, ioStalled)
	r.tasks(g, dir, dir)
}

func (r *reader) unifiedCPU(g *group, dir folder) {
	if f := words(r.files.read(dir, "cpu.max")); len(f) == 2 {
		r.setNumber(g, specQuota, f[0]) // "max" is none
		r.setNumber(g, specPeriod, f[1])
	}
	if weight, ok := number(r.files.read(dir, "cpu.weight")); ok && weight >= 1 && weight <= 10_000 {
		g.set(specShares, 2+((weight-1)*262_142)/9_999) // the inverse of KEP-2254's formula
	}
	limited := g.has[specQuota]
	eachNumber(r.files.read(dir, "cpu.stat"), func(name []byte, n uint64) {
		switch string(name) {
		case "usage_usec":
			g.set(cpuUsage, n*1000)
		case "user_usec":
			g.set(cpuUser, n*1000)
		case "system_usec":
			g.set(cpuSystem, n*1000)
		}
		if !limited {
			return
		}
		switch string(name) {
		case "nr_periods":
			g.set(cfsPeriods, n)
		case "nr_throttled":
			g.set(cfsThrottledPeriods, n)
		case "throttled_usec":
			g.set(cfsThrottled, n*1000)
		case "nr_bursts":
			g.set(cfsBurstPeriods, n)
		case "burst_usec":
			g.set(cfsBurst, n*1000)
		}
	})
}

func (r *reader) unifiedMemory(g *group, dir folder) {
	r.readNumber(g, memoryUsage, dir, "memory.current")
	r.readNumber(g, memoryMax, dir, "memory.peak")
	r.readNumber(g, memorySwap, dir, "memory.swap.current")
	r.readLimit(g, specMemory, dir, "memory.max")
	r.readLimit(g, specReservation, dir, "memory.min")
	r.readLimit(g, specSwap, dir, "memory.swap.max")
	eachNumber(r.files.read(dir, "memory.stat"), func(name []byte, n uint64) {
		var m metric
		switch string(name) {
		case "file":
			m = memoryCache
		case "anon":
			m = memoryRSS
		case "kernel":
			m = memoryKernel
		case "file_mapped":
			m = memoryMapped
		case "active_file":
			m = memoryActiveFile
		case "inactive_file":
			m = memoryInactiveFile
		case "pgfault":
			m = pageFaults
		case "pgmajfault":
			m = majorFaults
		case "file_dirty":
			m = fileDirty
		case "file_writeback":
			m = fileWriteback
		case "pgscan":
			m = pagesScanned
		case "pgsteal":
			m = pagesStolen
		case "workingset_refault_file":
			m = refaultFile
		case "workingset_refault_anon":
			m = refaultAnon
		default:
			return
		}
		g.set(m, n)
	})
	eachNumber(r.files.read(dir, "memory.events"), func(name []byte, n uint64) {
		switch string(name) {
		case "high":
			g.set(eventsHigh, n)
		case "max":
			g.set(eventsMax, n)
			g.set(memoryFailures, n) // what version 1 counts as failcnt
		case "oom_kill":
			g.set(oomEvents, n)
		}
	})
	g.workingSet()
}

// workingSet is what is used besides files that may be reclaimed.
func (g *group) workingSet() {
	if g.has[memoryUsage] {
		used := g.value[memoryUsage]
		g.set(memoryWorkingSet, used-min(g.value[memoryInactiveFile], used))
	}
}

// pressure reads how long tasks waited: https://docs.kernel.org/accounting/psi.html
func (r *reader) pressure(g *group, dir folder, file string, some, full metric) {
	eachLine(r.files.read(dir, file), func(w [][]byte) {
		text, ok := bytes.CutPrefix(w[len(w)-1], []byte("total="))
		n, isNumber := number(text)
		switch {
		case !ok || !isNumber:
		case string(w[0]) == "some":
			g.set(some, n)
		case string(w[0]) == "full":
			g.set(full, n)
		}
	})
}
